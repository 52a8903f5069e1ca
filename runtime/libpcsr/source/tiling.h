/* Exact tiles of the input, as runtime/geometry/tiling.py makes them. */
#pragma once
#include <cstdint>
#include <optional>
#include <vector>

namespace pcsr {

struct Range {
    int64_t start, stop;
    int64_t length() const { return stop - start; }
};

struct Tile {
    Range rows_seen, columns_seen;   /* what the backbone computes, halo included */
    Range columns_kept;              /* the columns of the image that its result is kept for */
    Range rows_inner, columns_inner; /* where that lies in what was seen */
};

/* Whole rows of the image, and the tiles that make them. */
struct Band {
    Range rows;
    std::vector<Tile> tiles;
};

constexpr int64_t LEAST_CORE_PX = 16;

/* Bands whose tiles have cores of at most tile_px x tile_px. halo_px: none where the backbone looks
   everywhere. Crops begin at multiples of `multiple`, and end at one or with the image. */
std::vector<Band> square_bands(int64_t height, int64_t width, std::optional<int64_t> halo_px,
                               int64_t tile_px, int64_t multiple);

/* Bands of at most about band_pixels, whose tiles see at most crop_pixels each, halo included, with
   the least work in sum. */
std::vector<Band> least_work_bands(int64_t height, int64_t width, std::optional<int64_t> halo_px,
                                   int64_t crop_pixels, int64_t band_pixels, int64_t multiple);

}  // namespace pcsr
