/* Memory that is not cleared, and is kept for the next use. */
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>

namespace pcsr {

template <typename T>
class Buffer {
public:
    /* At least so many values; what was there before is lost where it grows. */
    T *take(int64_t count) {
        if (count > count_) {
            values_.reset();
            count_ = 0;
            values_.reset(new T[static_cast<size_t>(count)]);
            count_ = count;
        }
        return values_.get();
    }
    T *data() const { return values_.get(); }

private:
    std::unique_ptr<T[]> values_;
    int64_t count_ = 0;
};

}  // namespace pcsr
