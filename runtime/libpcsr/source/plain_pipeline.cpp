/* A network with its own upsampling tail: one graph, one scale and no routing, as PlainPipeline of
   cpu/graph_pipeline.py. */
#include <algorithm>
#include <cmath>
#include <limits>

#include "pipeline.h"

namespace pcsr {
namespace {

constexpr int64_t TILE_BYTES = 900 * MIB;
constexpr int64_t MOST_REPEATED = 2; /* pixels computed, halos included, over those of the image */

class PlainPipeline : public Pipeline {
public:
    explicit PlainPipeline(const Parts &parts)
        : parts_(parts), scale_(std::lround(parts.bundle.trained_scale)) {
        if (parts.bundle.receptive_radius_px) halo_px_ = *parts.bundle.receptive_radius_px;
    }

    Routed run(const Task &task, Output &output, Times &times) override {
        std::vector<float> planes;
        for (const Band &band : plan(task.input.height, task.input.width)) {
            const Range seen = band.tiles[0].rows_seen;
            {
                Span span(times, PREPARE);
                planes.resize(static_cast<size_t>(3 * seen.length() * task.input.width));
                read_planes(task, parts_.workers, seen.start, seen.stop, planes.data());
            }
            View rows = output.begin(band.rows.start * scale_, band.rows.stop * scale_);
            for (const Tile &tile : band.tiles) run_tile(task, tile, planes.data(), rows, times);
            output.finished(times);
        }
        return {{}, std::numeric_limits<double>::quiet_NaN()};
    }

private:
    std::vector<Band> plan(int64_t height, int64_t width) const {
        const int multiple = parts_.bundle.size_multiple;
        if (parts_.tile_px)
            return square_bands(height, width, halo_px_, parts_.tile_px, multiple);
        const double needed = ARENA_GROWTH * bytes_per_px() * static_cast<double>(height * width);
        const auto enough = static_cast<int64_t>(needed);
        constexpr int64_t all = std::numeric_limits<int64_t>::max();
        auto bands = within(height, width, budget_bytes(parts_, TILE_BYTES, enough));
        int64_t computed = 0;
        for (const Band &band : bands)
            for (const Tile &tile : band.tiles)
                computed += tile.rows_seen.length() * tile.columns_seen.length();
        if (computed <= MOST_REPEATED * height * width) return bands;
        return within(height, width, budget_bytes(parts_, all, all));
    }

    /* Tiles that take so many bytes; larger ones where cores would be smaller than their halo. */
    std::vector<Band> within(int64_t height, int64_t width, int64_t bytes) const {
        auto crop_pixels =
            static_cast<int64_t>(static_cast<double>(bytes) / (ARENA_GROWTH * bytes_per_px()));
        int64_t side = 3 * std::max(LEAST_CORE_PX, halo_px_.value_or(0));
        int64_t least = std::min(height, side) * std::min(width, side);
        return least_work_bands(height, width, halo_px_, std::max(crop_pixels, least),
                                std::numeric_limits<int64_t>::max(), parts_.bundle.size_multiple);
    }

    double bytes_per_px() const { return static_cast<double>(parts_.bundle.working_bytes_per_px); }

    void run_tile(const Task &task, const Tile &tile, const float *planes, const View &rows,
                  Times &times) const {
        const int64_t height = tile.rows_seen.length(), width = task.input.width;
        const int64_t seen = tile.columns_seen.length();
        task.check_cancelled();
        Clock::time_point begin = Clock::now();
        std::vector<float> crop;
        if (seen < width)
            crop = cropped(planes, height, width, {0, height}, tile.columns_seen), planes = crop.data();
        Tensor found = parts_.backbone.run(planes, height, seen, task.cancellation);
        times.stages[BACKBONE] += seconds_since(begin);
        Span span(times, CONVERT);
        const int64_t stride = seen * scale_, plane = height * scale_ * stride;
        const float *inner = found.floats() + tile.rows_inner.start * scale_ * stride +
                             tile.columns_inner.start * scale_;
        View part = rows.columns(tile.columns_kept.start * scale_, tile.columns_kept.stop * scale_);
        const int64_t step = std::max<int64_t>(1, PIXELS_PER_CHUNK / part.width);
        const auto chunks = static_cast<size_t>((part.height + step - 1) / step);
        parts_.workers.over(chunks, [&](size_t chunk) {
            const int64_t first = static_cast<int64_t>(chunk) * step;
            const int64_t stop = std::min(part.height, first + step);
            for (int64_t c = 0; c < 3; c++)
                for (int64_t y = first; y < stop; y++)
                    refuse_infinite(inner + c * plane + y * stride, part.width);
            store({inner + first * stride, plane, stride, 1}, part.rows(first, stop));
        });
    }

    const Parts parts_;
    const int64_t scale_;
    std::optional<int64_t> halo_px_;
};

}  // namespace

std::unique_ptr<Pipeline> plain_pipeline(const Parts &parts) {
    return std::make_unique<PlainPipeline>(parts);
}

}  // namespace pcsr
