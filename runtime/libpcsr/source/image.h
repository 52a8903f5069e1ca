/* Images in the caller's memory: from there to the network's planes, and back. */
#pragma once
#include <cstdint>
#include <vector>

#include "pcsr/pcsr.h"

namespace pcsr {

/* Pixels of any layout: where each value lies, and of what type it is. */
struct View {
    uint8_t *data = nullptr;
    int64_t height = 0, width = 0;
    int channels = 0, format = PCSR_U8;
    int64_t row_stride = 0, pixel_stride = 0, channel_stride = 0; /* bytes */
    int colour[3] = {0, 1, 2}; /* the channels of red, green and blue; of gray all the same */

    bool has_alpha() const { return channels == 2 || channels == 4; }
    bool is_gray() const { return channels < 3; }
    bool is_packed_rgb() const;
    int peak() const; /* 255, 65535; 0 for float32 */
    uint8_t *at(int64_t row, int64_t column, int channel) const {
        return data + row * row_stride + column * pixel_stride + channel * channel_stride;
    }
    double value(int64_t row, int64_t column, int channel) const;
    void set(int64_t row, int64_t column, int channel, double value) const;
    View rows(int64_t first, int64_t stop) const;
    View columns(int64_t first, int64_t stop) const;
    View channel(int index) const; /* as a gray image */
};

/* Checks a caller's image. name: of the argument, for messages. Throws Failure. */
View viewed(const pcsr_image &image, const char *name);

/* The same as the caller sees it. */
pcsr_image described(const View &view);

/* Memory for `rows` rows in the layout of another image. */
class OwnRows {
public:
    OwnRows(const View &like, int64_t width, int64_t rows);
    const View &view() const { return view_; }

private:
    std::vector<uint64_t> bytes_;
    View view_;
};

/* Throws Failure for a float image with NaN or values far from [0, 1], in any channel. */
void check_values(const View &view);

/* Some rows as planes [3][stop - first][width] of RGB in [0, 1], gray repeated. Throws as
   check_values. */
void read_rows(const View &view, int64_t first, int64_t stop, float *planes, int64_t plane);

/* Where floats of an RGB image lie; strides count floats. */
struct FloatView {
    const float *data;
    int64_t channel_stride, row_stride, pixel_stride;
};

/* Writes RGB floats to all pixels of a view: as they are in float32, else clipped and rounded, ties
   to even; as luma where the view is gray. Alpha stays. */
void store(const FloatView &rgb, const View &view);

/* Writes interleaved RGB of the view's own type. */
void store_packed(const void *rgb, const View &view);

/* Throws Failure where a value is NaN or infinite. */
void refuse_infinite(const float *values, int64_t count);

/* Colours under transparent pixels, which nobody sees, must not reach the picture: the image with
   other colours there, in memory of its own; nothing where it needs none. As cpu/alpha.py. */
class BledImage {
public:
    explicit BledImage(const View &view);
    bool is_needed() const { return !rows_.empty(); }
    const View &view() const { return rows_.front().view(); }

private:
    std::vector<OwnRows> rows_;
};

}  // namespace pcsr
