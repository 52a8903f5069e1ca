/* Output rows between their composition and their refinement, and the memory that they lie in. */
#pragma once
#include <algorithm>
#include <cstring>
#include <vector>

#include "buffer.h"

namespace pcsr {

/* Rows of a band and, before them, the last two of the band above: a row is refined together with
   its neighbours. Of two bands with the rows 0-4 and 5-9, the first holds 0-4; rows 0-3 are finished
   and row 4 waits for row 5. After follow(5) rows 3-9 are held, and rows 4-9 are finished. */
class HeldRows {
public:
    void begin(int64_t width) { width_ = width, rows_ = 0; }

    /* Keeps the last two rows, with room for as many more behind them. */
    void follow(int64_t more) {
        const int64_t kept = std::min<int64_t>(2, rows_), rows = kept + more;
        const auto values = static_cast<size_t>(kept * width_);
        std::vector<float> last(3 * values);
        std::vector<uint8_t> last_labels(values);
        const auto row_bytes = values * sizeof(float);
        for (size_t c = 0; c < 3 && kept; c++)
            std::memcpy(&last[c * values], plane(static_cast<int>(c), rows_ - kept), row_bytes);
        if (kept) std::memcpy(last_labels.data(), labels(rows_ - kept), values);
        rows_ = rows;
        planes_.take(3 * rows * width_);
        labels_.take(rows * width_);
        for (size_t c = 0; c < 3 && kept; c++)
            std::memcpy(plane(static_cast<int>(c), 0), &last[c * values], row_bytes);
        if (kept) std::memcpy(labels(0), last_labels.data(), values);
    }

    int64_t rows() const { return rows_; }
    float *plane(int channel, int64_t row) const {
        return planes_.data() + (channel * rows_ + row) * width_;
    }
    uint8_t *labels(int64_t row) const { return labels_.data() + row * width_; }

private:
    int64_t width_ = 0, rows_ = 0;
    Buffer<float> planes_;    /* [3][rows][width] */
    Buffer<uint8_t> labels_;  /* [rows][width], the upsampler of each pixel */
};

}  // namespace pcsr
