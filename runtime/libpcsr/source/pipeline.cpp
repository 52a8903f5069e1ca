#include "pipeline.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "failure.h"
#include "limits.h"

namespace pcsr {
namespace {

constexpr size_t KEPT_SIZES = 1024;

std::string shown(const std::vector<int64_t> &shape) {
    std::string text = "[";
    for (int64_t side : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(side);
    return text + "]";
}

}  // namespace

View Output::begin(int64_t first, int64_t stop) {
    first_ = first;
    if (whole_.data) return rows_ = whole_.rows(first, stop);
    own_.emplace(whole_, whole_.width, stop - first);
    return rows_ = own_->view();
}

void Output::finished(Times &times) {
    if (!on_rows_ || rows_.height == 0) return;
    Span span(times, ROWS);
    pcsr_image rows = described(rows_);
    if (on_rows_(context_, static_cast<int32_t>(first_), &rows))
        throw Failure(PCSR_ERROR_CANCELLED, "the run was cancelled by on_rows");
}

Backbone::Backbone(const Bundle &bundle, const std::string &precision, const OnnxRuntime &library,
                   int threads)
    : bundle_(bundle), precision_(precision), graph_(bundle.image_graph(precision)),
      channels_(bundle.is_plain ? 3 : bundle.feature_width),
      enlarged_(bundle.is_plain ? std::lround(bundle.trained_scale) : 1) {
    const std::string output = bundle.is_plain ? "upscaled" : "features";
    session_ = std::make_unique<Session>(library, with_output(graph_, output), output, threads,
                                         bundle.path);
    graph_.file = {};
}

Tensor Backbone::run(const float *image, int64_t height, int64_t width,
                     Cancellation *cancellation) const {
    foresee(height, width);
    Tensor found = session_->run(image, height, width, cancellation);
    const std::vector<int64_t> expected{1, channels_, height * enlarged_, width * enlarged_};
    if (std::vector<int64_t> shape = found.shape(); shape != expected)
        throw Failure(PCSR_ERROR_BUNDLE, bundle_.path + ": the graph gives " + shown(shape) +
                                             " instead of float32 " + shown(expected) +
                                             "; export the bundle again");
    return found;
}

void Backbone::foresee(int64_t height, int64_t width) const {
    const std::pair size(height, width);
    {
        std::lock_guard<std::mutex> guard(lock_);
        if (foreseen_.count(size)) return;
    }
    bundle_.foresee(graph_, precision_, static_cast<int32_t>(height), static_cast<int32_t>(width));
    std::lock_guard<std::mutex> guard(lock_);
    if (foreseen_.size() >= KEPT_SIZES) foreseen_.clear();
    foreseen_[size] = true;
}

void read_planes(const Task &task, Workers &workers, int64_t first, int64_t stop, float *planes) {
    const int64_t width = task.input.width, plane = (stop - first) * width;
    const int64_t step = std::max<int64_t>(1, PIXELS_PER_CHUNK / width);
    const auto chunks = static_cast<size_t>((stop - first + step - 1) / step);
    workers.over(chunks, [&](size_t chunk) {
        int64_t begin = first + static_cast<int64_t>(chunk) * step;
        float *to = planes + (begin - first) * width;
        read_rows(task.input, begin, std::min(stop, begin + step), to, plane);
    });
}

std::vector<float> cropped(const float *planes, int64_t height, int64_t width, Range rows,
                           Range columns) {
    std::vector<float> crop;
    crop.reserve(static_cast<size_t>(3 * rows.length() * columns.length()));
    for (int64_t c = 0; c < 3; c++)
        for (int64_t y = rows.start; y < rows.stop; y++) {
            const float *row = planes + (c * height + y) * width;
            crop.insert(crop.end(), row + columns.start, row + columns.stop);
        }
    return crop;
}

int64_t budget_bytes(const Parts &parts, int64_t most, int64_t enough) {
    if (parts.memory_bytes) return parts.memory_bytes;
    constexpr int64_t SURELY_FREE = 64 * MIB;
    return enough <= SURELY_FREE ? most : std::min(most, available_bytes() / 2);
}

}  // namespace pcsr
