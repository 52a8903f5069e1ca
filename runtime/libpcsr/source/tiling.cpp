#include "tiling.h"

#include <algorithm>
#include <tuple>

namespace pcsr {
namespace {

int64_t divided_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* The length of a crop where `count` parts are made. */
int64_t seen(int64_t length, int64_t halo_px, int64_t count) {
    return std::min(length, divided_up(length, count) + 2 * halo_px);
}

struct Part {
    Range crop, core, inner;
};

/* Nearly equal parts along one axis. All crops have the same length: at the image's ends they look
   further inwards. */
std::vector<Part> parts(int64_t length, int64_t halo_px, int64_t core_px) {
    const int64_t count = divided_up(length, core_px), crop = seen(length, halo_px, count);
    std::vector<Part> made;
    for (int64_t i = 0; i < count; i++) {
        int64_t start = length * i / count, stop = length * (i + 1) / count;
        int64_t first = std::min(std::max<int64_t>(0, start - halo_px), length - crop);
        made.push_back({{first, first + crop}, {start, stop}, {start - first, stop - first}});
    }
    return made;
}

/* The parts of an image that is padded to a multiple, without what is padded. */
std::vector<Part> aligned(int64_t length, int64_t halo_px, int64_t core_px, int64_t multiple) {
    auto made = parts(divided_up(length, multiple), divided_up(halo_px, multiple),
                      std::max<int64_t>(1, core_px / multiple));
    for (Part &part : made) {
        int64_t begins = part.crop.start * multiple;
        int64_t stop = std::min(length, part.core.stop * multiple);
        part = {{begins, std::min(length, part.crop.stop * multiple)},
                {part.core.start * multiple, stop},
                {part.inner.start * multiple, stop - begins}};
    }
    return made;
}

std::vector<Band> bands(int64_t height, int64_t width, std::optional<int64_t> halo_px,
                        int64_t core_height, int64_t core_width, int64_t multiple) {
    if (!halo_px) core_height = height, core_width = width;
    std::vector<Band> made;
    const auto across = aligned(width, halo_px.value_or(0), core_width, multiple);
    for (const Part &row : aligned(height, halo_px.value_or(0), core_height, multiple)) {
        Band band{row.core, {}};
        for (const Part &column : across)
            band.tiles.push_back({row.crop, column.crop, column.core, row.inner, column.inner});
        made.push_back(std::move(band));
    }
    return made;
}

}  // namespace

std::vector<Band> square_bands(int64_t height, int64_t width, std::optional<int64_t> halo_px,
                               int64_t tile_px, int64_t multiple) {
    return bands(height, width, halo_px, tile_px, tile_px, multiple);
}

std::vector<Band> least_work_bands(int64_t height, int64_t width, std::optional<int64_t> halo_px,
                                   int64_t crop_pixels, int64_t band_pixels, int64_t multiple) {
    if (!halo_px || height * width <= std::min(crop_pixels, band_pixels))
        return bands(height, width, std::nullopt, height, width, 1);
    const int64_t highest = std::max(LEAST_CORE_PX, band_pixels / width);
    /* Work, rows and columns of the cores; the least work wins, then fewer rows, then columns. */
    std::optional<std::tuple<int64_t, int64_t, int64_t>> best;
    for (int64_t across = 1; across <= divided_up(width, LEAST_CORE_PX); across++) {
        int64_t wide = seen(width, *halo_px, across);
        int64_t rows = std::min({height, highest, crop_pixels / wide - 2 * *halo_px});
        if (rows < std::min(height, LEAST_CORE_PX)) continue;
        int64_t down = divided_up(height, rows);
        int64_t work = across * wide * down * seen(height, *halo_px, down);
        std::tuple choice(work, rows, divided_up(width, across));
        if (!best || choice < *best) best = choice;
    }
    auto [work, rows, columns] = best.value_or(std::tuple(0, LEAST_CORE_PX, LEAST_CORE_PX));
    return bands(height, width, halo_px, rows, columns, multiple);
}

}  // namespace pcsr
