/* Each fully transparent pixel takes the mean colour of the visible ones near it: those of the
   smallest block of 2x2, 4x4, 8x8 ... that has any. */
#include <algorithm>
#include <cmath>

#include "image.h"

namespace pcsr {
namespace {

/* Colours [height][width][channels], and how much each pixel counts. */
struct Level {
    int64_t height, width;
    int channels;
    std::vector<float> colours, weights;

    Level(int64_t h, int64_t w, int c)
        : height(h), width(w), channels(c), colours(static_cast<size_t>(h * w * c)),
          weights(static_cast<size_t>(h * w)) {}
    float weight(int64_t y, int64_t x) const {
        return y < height && x < width ? weights[static_cast<size_t>(y * width + x)] : 0;
    }
    float weighted(int64_t y, int64_t x, int c) const {
        if (y >= height || x >= width) return 0;
        auto at = static_cast<size_t>(y * width + x);
        return colours[at * static_cast<size_t>(channels) + static_cast<size_t>(c)] * weights[at];
    }
    float *colour(int64_t y, int64_t x) {
        return &colours[static_cast<size_t>((y * width + x) * channels)];
    }
};

/* The weighted mean colours of blocks of 2x2, and their weights. */
Level halved(const Level &from) {
    Level to((from.height + 1) / 2, (from.width + 1) / 2, from.channels);
    for (int64_t y = 0; y < to.height; y++)
        for (int64_t x = 0; x < to.width; x++) {
            auto sum = [&](auto value) {
                return (value(2 * y, 2 * x) + value(2 * y, 2 * x + 1)) +
                       (value(2 * y + 1, 2 * x) + value(2 * y + 1, 2 * x + 1));
            };
            float total = sum([&](int64_t v, int64_t u) { return from.weight(v, u); });
            to.weights[static_cast<size_t>(y * to.width + x)] = total * 0.25f;
            for (int c = 0; c < to.channels && total > 0; c++)
                to.colour(y, x)[c] =
                    sum([&](int64_t v, int64_t u) { return from.weighted(v, u, c); }) / total;
        }
    return to;
}

/* Gives pixels that do not count the colours of larger blocks. */
void fill(Level &level) {
    bool is_full = std::all_of(level.weights.begin(), level.weights.end(),
                               [](float weight) { return weight > 0; });
    if (is_full || level.weights.size() == 1) return;
    Level larger = halved(level);
    fill(larger);
    for (int64_t y = 0; y < level.height; y++)
        for (int64_t x = 0; x < level.width; x++)
            if (!(level.weight(y, x) > 0))
                std::copy_n(larger.colour(y / 2, x / 2), level.channels, level.colour(y, x));
}

Level first_level(const View &view) {
    const int colours = view.channels - 1;
    Level level(view.height, view.width, colours);
    for (int64_t y = 0; y < view.height; y++)
        for (int64_t x = 0; x < view.width; x++) {
            auto alpha = static_cast<float>(view.value(y, x, colours));
            level.weights[static_cast<size_t>(y * view.width + x)] = std::max(alpha, 0.0f);
            for (int c = 0; c < colours; c++)
                level.colour(y, x)[c] = static_cast<float>(view.value(y, x, c));
        }
    return level;
}

}  // namespace

BledImage::BledImage(const View &view) {
    int64_t hidden = 0;
    const int alpha = view.channels - 1;
    for (int64_t y = 0; y < view.height; y++)
        for (int64_t x = 0; x < view.width; x++) hidden += view.value(y, x, alpha) <= 0;
    if (hidden == 0 || hidden == view.height * view.width) return;
    rows_.emplace_back(view, view.width, view.height);
    const View &own = rows_.front().view();
    Level level = first_level(view);
    fill(level);
    for (int64_t y = 0; y < view.height; y++)
        for (int64_t x = 0; x < view.width; x++) {
            bool is_hidden = view.value(y, x, alpha) <= 0;
            for (int c = 0; c < view.channels; c++) {
                double value = view.value(y, x, c);
                if (is_hidden && c < alpha) value = static_cast<double>(level.colour(y, x)[c]);
                bool is_whole = view.format != PCSR_F32;
                own.set(y, x, c, is_whole ? std::nearbyint(value) : value);
            }
        }
}

}  // namespace pcsr
