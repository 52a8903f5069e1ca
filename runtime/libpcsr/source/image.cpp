#include "image.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <string>

#include "failure.h"

namespace pcsr {
namespace {

constexpr float LEAST = -1, MOST = 2; /* of float images: data on another scale lie outside */
constexpr float LUMA[3] = {0.299f, 0.587f, 0.114f};
constexpr int64_t MOST_BYTES = int64_t{1} << 47; /* of an address space */
const int SIZES[] = {1, 2, 4}; /* bytes by format */

[[noreturn]] void refuse(const char *name, const std::string &what) {
    throw Failure(PCSR_ERROR_ARGUMENT, std::string(name) + what);
}

void check_range(const char *name, const char *field, int64_t value, int64_t least, int64_t most) {
    if (value < least || value > most)
        refuse(name, std::string("->") + field + " must be from " + std::to_string(least) + " to " +
                         std::to_string(most) + ", found " + std::to_string(value));
}

template <typename T>
const T &typed(const uint8_t *bytes) {
    return *reinterpret_cast<const T *>(bytes);
}

/* x in [0, 1] to 0 .. peak. */
template <typename T>
T converted(float x, float peak) {
    if constexpr (std::is_same_v<T, float>) return x;
    float scaled = std::nearbyint(x * peak);
    return static_cast<T>(std::clamp(scaled, 0.0f, peak));
}

template <typename T>
void read_channel(const View &view, int64_t first, int64_t stop, int channel, float peak,
                  float *plane) {
    for (int64_t y = first; y < stop; y++) {
        const uint8_t *at = view.at(y, 0, channel);
        for (int64_t x = 0; x < view.width; x++, at += view.pixel_stride)
            *plane++ = static_cast<float>(typed<T>(at)) / peak;
    }
}

template <typename T>
void store_as(const FloatView &rgb, const View &view, float peak) {
    for (int64_t y = 0; y < view.height; y++) {
        const float *from = rgb.data + y * rgb.row_stride;
        uint8_t *to = view.at(y, 0, 0);
        const float *red = from, *green = red + rgb.channel_stride;
        const float *blue = green + rgb.channel_stride;
        const int64_t step = rgb.pixel_stride;
        if (view.is_gray()) {
            for (int64_t x = 0; x < view.width; x++, to += view.pixel_stride) {
                float sum = red[x * step] * LUMA[0] + green[x * step] * LUMA[1];
                *reinterpret_cast<T *>(to) = converted<T>(sum + blue[x * step] * LUMA[2], peak);
            }
            continue;
        }
        for (int c = 0; c < 3; c++) {
            const float *channel = from + c * rgb.channel_stride;
            uint8_t *at = to + view.colour[c] * view.channel_stride;
            for (int64_t x = 0; x < view.width; x++, at += view.pixel_stride)
                *reinterpret_cast<T *>(at) = converted<T>(channel[x * step], peak);
        }
    }
}

template <typename T>
void copy_packed(const T *rgb, const View &view) {
    for (int64_t y = 0; y < view.height; y++, rgb += 3 * view.width)
        for (int c = 0; c < 3; c++) {
            uint8_t *at = view.at(y, 0, view.colour[c]);
            for (int64_t x = 0; x < view.width; x++, at += view.pixel_stride)
                *reinterpret_cast<T *>(at) = rgb[3 * x + c];
        }
}

}  // namespace

int View::peak() const { return format == PCSR_F32 ? 0 : format == PCSR_U16 ? 65535 : 255; }

bool View::is_packed_rgb() const {
    int size = SIZES[format];
    return channels == 3 && colour[0] == 0 && channel_stride == size && pixel_stride == 3 * size &&
           row_stride == width * pixel_stride;
}

double View::value(int64_t row, int64_t column, int index) const {
    const uint8_t *from = at(row, column, index);
    if (format == PCSR_U8) return *from;
    return format == PCSR_U16 ? typed<uint16_t>(from) : static_cast<double>(typed<float>(from));
}

void View::set(int64_t row, int64_t column, int index, double value) const {
    uint8_t *to = at(row, column, index);
    if (format == PCSR_U8) *to = static_cast<uint8_t>(value);
    if (format == PCSR_U16) *reinterpret_cast<uint16_t *>(to) = static_cast<uint16_t>(value);
    if (format == PCSR_F32) *reinterpret_cast<float *>(to) = static_cast<float>(value);
}

View View::rows(int64_t first, int64_t stop) const {
    View part = *this;
    part.data += first * row_stride, part.height = stop - first;
    return part;
}

View View::columns(int64_t first, int64_t stop) const {
    View part = *this;
    part.data += first * pixel_stride, part.width = stop - first;
    return part;
}

View View::channel(int index) const {
    View part = *this;
    part.data += index * channel_stride, part.channels = 1;
    std::fill_n(part.colour, 3, 0);
    return part;
}

View viewed(const pcsr_image &image, const char *name) {
    if (!image.data) refuse(name, "->data is NULL; pass the address of the top row");
    check_range(name, "width", image.width, 1, INT32_MAX);
    check_range(name, "height", image.height, 1, INT32_MAX);
    check_range(name, "channels", image.channels, 1, 4);
    check_range(name, "format", image.format, PCSR_U8, PCSR_F32);
    check_range(name, "order", image.order, PCSR_RGB, PCSR_BGR);
    check_range(name, "layout", image.layout, PCSR_INTERLEAVED, PCSR_PLANAR);
    const int64_t size = SIZES[image.format];
    const bool is_planar = image.layout == PCSR_PLANAR;
    View view;
    view.data = static_cast<uint8_t *>(image.data);
    view.height = image.height, view.width = image.width;
    view.channels = image.channels, view.format = image.format;
    view.pixel_stride = is_planar ? size : size * image.channels;
    const int64_t row_bytes = view.width * view.pixel_stride;
    view.row_stride = image.row_stride ? image.row_stride : row_bytes;
    check_range(name, "row_stride", view.row_stride, -MOST_BYTES, MOST_BYTES);
    check_range(name, "plane_stride", image.plane_stride, -MOST_BYTES, MOST_BYTES);
    const int64_t gap = std::abs(view.row_stride);
    if (gap > MOST_BYTES / view.height) refuse(name, " is larger than any memory");
    if (gap < row_bytes)
        refuse(name, "->row_stride must be 0 or at least " + std::to_string(row_bytes) +
                         " bytes, found " + std::to_string(image.row_stride));
    view.channel_stride = size;
    if (is_planar) view.channel_stride = image.plane_stride ? image.plane_stride : view.height * gap;
    const int64_t apart = std::abs(view.channel_stride), others = view.channels - 1;
    const bool is_by_plane = apart >= (view.height - 1) * gap + row_bytes;
    const bool is_by_row = apart >= row_bytes && gap >= others * apart + row_bytes;
    if (is_planar && others && !is_by_plane && !is_by_row)
        refuse(name, "->plane_stride must be 0, or such that no two rows overlap, found " +
                         std::to_string(image.plane_stride));
    if (reinterpret_cast<uintptr_t>(view.data) % static_cast<uintptr_t>(size) ||
        view.row_stride % size || view.channel_stride % size)
        refuse(name, "->data and its strides must be multiples of " + std::to_string(size) +
                         " bytes, the size of a value");
    if (view.is_gray()) std::fill_n(view.colour, 3, 0);
    else if (image.order == PCSR_BGR) std::swap(view.colour[0], view.colour[2]);
    return view;
}

pcsr_image described(const View &view) {
    pcsr_image image = {};
    image.struct_size = sizeof image;
    image.data = view.data;
    image.width = static_cast<int32_t>(view.width), image.height = static_cast<int32_t>(view.height);
    image.channels = view.channels, image.format = view.format;
    image.order = view.colour[0] > view.colour[2] ? PCSR_BGR : PCSR_RGB;
    bool is_planar = view.pixel_stride == SIZES[view.format] && view.channels > 1;
    image.layout = is_planar ? PCSR_PLANAR : PCSR_INTERLEAVED;
    image.row_stride = view.row_stride;
    image.plane_stride = is_planar ? view.channel_stride : 0;
    return image;
}

OwnRows::OwnRows(const View &like, int64_t width, int64_t rows) : view_(like) {
    const int64_t size = SIZES[like.format];
    const bool is_planar = like.pixel_stride == size && like.channels > 1;
    const int64_t bytes = width * rows * like.channels * size;
    bytes_.resize(static_cast<size_t>(bytes + 7) / 8);
    view_.data = reinterpret_cast<uint8_t *>(bytes_.data());
    view_.height = rows, view_.width = width;
    view_.pixel_stride = is_planar ? size : size * like.channels;
    view_.row_stride = width * view_.pixel_stride;
    view_.channel_stride = is_planar ? rows * view_.row_stride : size;
}

void check_values(const View &view) {
    if (view.format != PCSR_F32) return;
    for (int c = 0; c < view.channels; c++)
        for (int64_t y = 0; y < view.height; y++) {
            const uint8_t *at = view.at(y, 0, c);
            for (int64_t x = 0; x < view.width; x++, at += view.pixel_stride)
                if (float value = typed<float>(at); !(value >= LEAST && value <= MOST))
                    throw Failure(PCSR_ERROR_IMAGE,
                                  "the image holds NaN or values beyond -1..2 (found " +
                                      shown(static_cast<double>(value)) +
                                      "); expected nominally [0, 1]: divide 0..255 by 255");
        }
}

void read_rows(const View &view, int64_t first, int64_t stop, float *planes, int64_t plane) {
    check_values(view.rows(first, stop));
    for (int c = 0; c < 3; c++) {
        float *to = planes + c * plane;
        if (c > 0 && view.is_gray())
            std::memcpy(to, planes, static_cast<size_t>((stop - first) * view.width) * sizeof *to);
        else if (view.format == PCSR_U8)
            read_channel<uint8_t>(view, first, stop, view.colour[c], 255, to);
        else if (view.format == PCSR_U16)
            read_channel<uint16_t>(view, first, stop, view.colour[c], 65535, to);
        else
            read_channel<float>(view, first, stop, view.colour[c], 1, to);
    }
}

void store(const FloatView &rgb, const View &view) {
    if (view.format == PCSR_U8) store_as<uint8_t>(rgb, view, 255);
    if (view.format == PCSR_U16) store_as<uint16_t>(rgb, view, 65535);
    if (view.format == PCSR_F32) store_as<float>(rgb, view, 1);
}

void store_packed(const void *rgb, const View &view) {
    if (view.format == PCSR_U8) copy_packed(static_cast<const uint8_t *>(rgb), view);
    if (view.format == PCSR_U16) copy_packed(static_cast<const uint16_t *>(rgb), view);
    if (view.format == PCSR_F32) copy_packed(static_cast<const float *>(rgb), view);
}

void refuse_infinite(const float *values, int64_t count) {
    float sums[16] = {0};
    int64_t i = 0;
    for (; i + 16 <= count; i += 16)
        for (int lane = 0; lane < 16; lane++) sums[lane] += values[i + lane];
    for (; i < count; i++) sums[0] += values[i];
    for (int lane = 1; lane < 16; lane++) sums[0] += sums[lane];
    if (!std::isfinite(sums[0]))
        throw Failure(PCSR_ERROR_IMAGE,
                      "the network gives NaN or infinite values for this image; its weights may "
                      "be damaged");
}

}  // namespace pcsr
