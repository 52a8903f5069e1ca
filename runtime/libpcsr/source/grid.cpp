/* float32 in the published order of operations: exact ties at fractional scales depend on it. Built
   without contraction to fused multiply-adds, but for the one that is written out. */
#include "grid.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace pcsr {
namespace {

constexpr double SHIFT = 1e-6; /* of a local ensemble: no coordinate lies between two pixels */

/* The centre of pixel i of n in [-1, 1]. */
float centre(int64_t n, int64_t i) {
    float count = static_cast<float>(i);
    float first = static_cast<float>(-1 + 1 / static_cast<double>(n));
    float step = static_cast<float>(2 / static_cast<double>(n));
    float moved = step * count;
    return first + moved;
}

/* A coordinate in [-1, 1] in input pixels: the product and the subtraction are rounded once. */
float position(float coordinate, int64_t inputs) {
    double shifted = static_cast<double>(coordinate + 1.0f);
    return static_cast<float>((shifted * static_cast<double>(inputs) - 1) / 2);
}

void find(float own, float at, int64_t inputs, int32_t *nearest, float *offset) {
    float last = static_cast<float>(inputs - 1);
    float found = std::clamp(std::nearbyint(position(at, inputs)), 0.0f, last);
    *nearest = static_cast<int32_t>(found);
    *offset = (own - centre(inputs, *nearest)) * static_cast<float>(inputs);
}

Place made(int64_t outputs) {
    return {std::vector<int32_t>(static_cast<size_t>(outputs)),
            std::vector<float>(static_cast<size_t>(outputs))};
}

Place side(int64_t inputs, int64_t outputs, int direction) {
    const float least = static_cast<float>(-1 + SHIFT), most = static_cast<float>(1 - SHIFT);
    const float shift = static_cast<float>(direction / static_cast<double>(inputs) + SHIFT);
    Place place = made(outputs);
    for (int64_t i = 0; i < outputs; i++) {
        float own = centre(outputs, i), at = std::clamp(own + shift, least, most);
        find(own, at, inputs, &place.nearest[static_cast<size_t>(i)],
             &place.offset[static_cast<size_t>(i)]);
    }
    return place;
}

}  // namespace

Axis::Axis(int64_t inputs, int64_t outputs, bool has_sides)
    : centre(made(outputs)), lower(static_cast<size_t>(outputs)), upper(lower),
      weight(static_cast<size_t>(outputs)) {
    const float last = static_cast<float>(inputs - 1);
    for (size_t i = 0; i < lower.size(); i++) {
        float own = pcsr::centre(outputs, static_cast<int64_t>(i));
        find(own, own, inputs, &centre.nearest[i], &centre.offset[i]);
        float inside = std::clamp(position(own, inputs), 0.0f, last);
        lower[i] = static_cast<int32_t>(std::floor(inside));
        upper[i] = std::min(lower[i] + 1, static_cast<int32_t>(inputs - 1));
        weight[i] = inside - static_cast<float>(lower[i]);
    }
    cell = static_cast<float>(2 / static_cast<double>(outputs)) * static_cast<float>(inputs);
    if (!has_sides) return;
    sides[0] = side(inputs, outputs, -1);
    sides[1] = side(inputs, outputs, 1);
}

pcsr_axis Axis::view() const {
    auto of = [](const Place &place) {
        return pcsr_place{place.nearest.data(), place.offset.data()};
    };
    return {of(centre), {of(sides[0]), of(sides[1])}, lower.data(), upper.data(), weight.data()};
}

Grid::Grid(int64_t h, int64_t w, double scale, bool has_sides)
    : height(h), width(w), out_height(scaled(h, scale)), out_width(scaled(w, scale)),
      rows(h, out_height, has_sides), columns(w, out_width, has_sides) {}

int64_t Grid::reach_px() const {
    int64_t reach = 0;
    for (const Place &place : rows.sides)
        for (size_t i = 0; i < place.nearest.size(); i++)
            reach = std::max<int64_t>(reach, std::abs(place.nearest[i] - rows.centre.nearest[i]));
    return reach;
}

int64_t scaled(int64_t side, double scale) {
    return static_cast<int64_t>(std::nearbyint(static_cast<double>(side) * scale));
}

}  // namespace pcsr
