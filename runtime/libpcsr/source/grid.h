/* Where each output pixel lies on the input, as runtime/geometry/grid.py says it. */
#pragma once
#include <cstdint>
#include <vector>

#include "compiled_passes.h"

namespace pcsr {

struct Place {
    std::vector<int32_t> nearest; /* input pixel, per output pixel */
    std::vector<float> offset;    /* to its centre, in input pixels times 2 */
};

/* One dimension of the output. */
struct Axis {
    Place centre;
    Place sides[2]; /* of a local ensemble; empty where no upsampler has one */
    std::vector<int32_t> lower, upper; /* taps of the bilinear, and the share of `upper` */
    std::vector<float> weight;
    float cell; /* size of an output pixel in the unit of the offsets */

    Axis(int64_t inputs, int64_t outputs, bool has_sides);
    pcsr_axis view() const;
};

struct Grid {
    int64_t height, width, out_height, out_width;
    Axis rows, columns;

    Grid(int64_t height, int64_t width, double scale, bool has_sides);
    int64_t pixels() const { return out_height * out_width; }
    /* How many rows a local ensemble reads above or below the nearest one. */
    int64_t reach_px() const;
};

/* round(side * scale), ties to even. */
int64_t scaled(int64_t side, double scale);

}  // namespace pcsr
