/* The backbone in ONNX Runtime, everything behind it in compiled passes over bands of rows, so that
   an image of any size runs in bounded memory, as cpu/native_pipeline.py.

   Without statistics of the whole image (mode k) each band is computed once. ADM and heavy_ratio
   classify all bands first; the features are kept for the second pass where they are small enough,
   else computed again. */
#include <algorithm>
#include <cmath>
#include <functional>

#include "buffer.h"
#include "failure.h"
#include "held_rows.h"
#include "passes_view.h"
#include "pipeline.h"
#include "statistics.h"

namespace pcsr {
namespace {

constexpr int64_t WORKING_BYTES = 900 * MIB; /* of a tile and what is kept for the second pass */
constexpr int64_t TILE_BYTES = 640 * MIB, LEAST_TILE_BYTES = 256 * MIB;
constexpr int64_t OUTPUT_PIXELS_PER_BAND = int64_t{1} << 23;
constexpr int64_t FEATURE_BYTES_PER_BAND = 384 * MIB;

/* Some rows of an image, as the passes need them, and what the classifier said of them. */
struct FeatureBand {
    std::vector<float> image;
    std::optional<Tensor> tensor; /* of the one tile; or else the tiles joined */
    std::vector<float> joined;
    pcsr_band view{};
    std::map<int64_t, std::vector<float>> logits; /* by the first output row of each chunk */
};

/* Memory of one thread at a time. */
struct Scratch {
    Buffer<float> passes, logits, difficulty_logits, difficulty, finished, lines;
};

class PcsrPipeline;

class BandedRun {
public:
    BandedRun(PcsrPipeline &pipeline, const Task &task, Times &times);
    Rule rule();
    Routed compose(const Rule &rule, Output &output);

private:
    using Chunk = std::function<void(Range rows, Scratch &scratch, Times &times)>;
    void plan();
    void over(const std::vector<Range> &ranges, const Chunk &chunk);
    void classify(size_t index, Statistics &statistics);
    const float *logits(const FeatureBand &band, Range rows, Scratch &scratch) const;
    const float *difficulty_logits(const float *logits, int64_t count, Scratch &scratch) const;
    void fill(const FeatureBand &band, Range rows, const Rule &rule, const HeldRows &held,
              Output &output, std::vector<int64_t> &counts);
    void route(const FeatureBand &band, Range rows, const Rule &rule, uint8_t *labels,
               Output &output, Scratch &scratch, Times &times) const;
    void finish(const HeldRows &held, int64_t first, const View &rows, int64_t out_first,
                Output &output);
    FeatureBand band(size_t index);
    void encode(const Band &band, const float *image, int64_t image_rows, FeatureBand &made);
    Range out_rows(Range rows) const;
    std::vector<Range> chunks(Range rows) const;
    pcsr_band view(const FeatureBand &band, Range rows) const;

    PcsrPipeline &pipeline_;
    const Task &task_;
    Times &times_;
    const Clock::time_point begin_ = Clock::now();
    const Grid grid_;
    const PassesView passes_;
    const std::vector<float> cost_;
    const bool two_passes_;
    const int64_t reach_px_;
    bool keeps_ = false;
    std::vector<Band> bands_;
    std::map<size_t, FeatureBand> kept_;
};

class PcsrPipeline : public Pipeline {
public:
    explicit PcsrPipeline(const Parts &parts)
        : parts(parts), mlps(parts.bundle.mlps()),
          count(static_cast<int>(parts.bundle.upsamplers.size())),
          logits(classifier_outputs(parts.bundle.upsamplers.size())),
          depth(parts.bundle.feature_width) {
        for (const Upsampler &each : parts.bundle.upsamplers) reaches |= each.neighbours == 4;
    }

    Routed run(const Task &task, Output &output, Times &times) override {
        BandedRun run(*this, task, times);
        return run.compose(run.rule(), output);
    }

    const Parts parts;
    const std::vector<Mlp> mlps;
    const int count;
    const int32_t logits; /* per pixel */
    const int32_t depth;
    bool reaches = false;
    Pool<HeldRows> held;
    Pool<Scratch> scratch;
};

BandedRun::BandedRun(PcsrPipeline &pipeline, const Task &task, Times &times)
    : pipeline_(pipeline), task_(task), times_(times),
      grid_(task.input.height, task.input.width, task.scale, pipeline.reaches),
      passes_(pipeline.mlps, pipeline.count > 1, grid_, pipeline.depth),
      cost_(cost_table(pipeline.parts.bundle.backbone_flops, pipeline.parts.bundle.upsampler_flops,
                       task.scale)),
      two_passes_(task.request.needs_statistics() && pipeline.count > 1),
      reach_px_(pipeline.reaches ? grid_.reach_px() : 0) {
    plan();
    times_.stages[PREPARE] += seconds_since(begin_);
}

/* Cuts the image into bands, and says whether features are kept for the second pass. */
void BandedRun::plan() {
    const Parts &parts = pipeline_.parts;
    const int64_t pixels = grid_.height * grid_.width;
    const int64_t working = parts.memory_bytes ? parts.memory_bytes : WORKING_BYTES;
    const int64_t least_tile = std::min(LEAST_TILE_BYTES, working / 2);
    const int64_t kept_bytes = 4 * (pipeline_.depth * pixels + grid_.pixels());
    std::optional<int64_t> halo_px;
    if (parts.bundle.receptive_radius_px) halo_px = *parts.bundle.receptive_radius_px + reach_px_;
    keeps_ = two_passes_ && kept_bytes + least_tile <= working;
    if (parts.tile_px) {
        bands_ = square_bands(grid_.height, grid_.width, halo_px, parts.tile_px, 1);
        return;
    }
    const auto bytes_per_px = static_cast<double>(parts.bundle.working_bytes_per_px);
    const double needed = ARENA_GROWTH * bytes_per_px * static_cast<double>(pixels);
    const int64_t enough = static_cast<int64_t>(needed) + (keeps_ ? kept_bytes : 0);
    const int64_t budget = budget_bytes(parts, WORKING_BYTES, enough);
    const int64_t left =
        std::max(budget - (keeps_ ? kept_bytes : 0), std::min(least_tile, budget));
    const int64_t tile_bytes = std::min(left, TILE_BYTES);
    const auto crop_pixels =
        static_cast<int64_t>(static_cast<double>(tile_bytes) / (ARENA_GROWTH * bytes_per_px));
    const int64_t band_pixels = std::min(OUTPUT_PIXELS_PER_BAND * pixels / grid_.pixels(),
                                         FEATURE_BYTES_PER_BAND / (4 * pipeline_.depth));
    bands_ = least_work_bands(grid_.height, grid_.width, halo_px, crop_pixels, band_pixels, 1);
}

/* The rule of routing; classifies all pixels where the request needs that. */
Rule BandedRun::rule() {
    if (!two_passes_) return Rule::fixed(cost_, task_.request.k);
    Statistics statistics(task_.request, grid_.pixels());
    for (size_t index = 0; index < bands_.size(); index++) classify(index, statistics);
    if (!statistics.needs_difficulty()) {
        Span span(times_, ROUTING);
        return statistics.ratio_rule(cost_);
    }
    const Histogram &coarse = statistics.histogram();
    Statistics finer(task_.request, grid_.pixels(), coarse.low(), coarse.high());
    const bool is_coarse = coarse.is_coarse();
    for (size_t index = 0; index < bands_.size() && is_coarse; index++) classify(index, finer);
    Span span(times_, ROUTING);
    return Rule::adaptive(cost_, is_coarse ? finer.histogram() : coarse);
}

void BandedRun::classify(size_t index, Statistics &statistics) {
    auto known = kept_.find(index);
    std::optional<FeatureBand> made;
    if (known == kept_.end()) made.emplace(band(index));
    FeatureBand &here = made ? *made : known->second;
    const std::vector<Range> parts = chunks(out_rows(bands_[index].rows));
    if (keeps_) /* the map is whole before several threads look into it */
        for (const Range &rows : parts) here.logits[rows.start];
    over(parts, [&](Range rows, Scratch &scratch, Times &times) {
        const int64_t count = rows.length() * grid_.out_width;
        const float *found = nullptr;
        {
            Span span(times, CLASSIFIER);
            found = logits(here, rows, scratch);
        }
        Span span(times, ROUTING);
        const float *heavy = difficulty_logits(found, count, scratch);
        float *difficulty = nullptr;
        if (statistics.needs_difficulty()) {
            difficulty = scratch.difficulty.take(count);
            pcsr_sigmoid(heavy, count, difficulty);
        }
        statistics.add(heavy, difficulty, rows.start * grid_.out_width, count);
        if (!keeps_) return;
        std::vector<float> &kept = here.logits.at(rows.start);
        if (kept.empty()) kept.assign(found, found + pipeline_.logits * count);
    });
    if (keeps_ && made) kept_.emplace(index, std::move(*made));
}

/* Computes and hands on all output rows: the second pass, or the only one. */
Routed BandedRun::compose(const Rule &rule, Output &output) {
    std::vector<int64_t> counts(static_cast<size_t>(pipeline_.count));
    int64_t finished = 0;
    auto held = pipeline_.held.lend();
    held->begin(grid_.out_width);
    for (size_t index = 0; index < bands_.size(); index++) {
        const Range rows = out_rows(bands_[index].rows);
        std::optional<FeatureBand> here;
        if (auto known = kept_.find(index); known != kept_.end()) {
            here.emplace(std::move(known->second));
            kept_.erase(known);
        } else
            here.emplace(band(index));
        const int64_t stop = rows.stop == grid_.out_height ? rows.stop : rows.stop - 1;
        View target;
        {
            Span span(times_, PREPARE);
            held->follow(rows.length());
            target = output.begin(finished, std::max(finished, stop));
        }
        fill(*here, rows, rule, *held, output, counts);
        here.reset();
        finish(*held, held->rows() - (rows.stop - finished), target, finished, output);
        output.finished(times_);
        finished = std::max(finished, stop);
    }
    return {std::move(counts), pipeline_.count > 1 ? rule.threshold()
                                                   : std::numeric_limits<double>::quiet_NaN()};
}

/* Routes and composes a band's output rows, the last of those held. */
void BandedRun::fill(const FeatureBand &band, Range rows, const Rule &rule, const HeldRows &held,
                     Output &output, std::vector<int64_t> &counts) {
    std::mutex lock;
    over(chunks(rows), [&](Range part, Scratch &scratch, Times &times) {
        const int64_t local = held.rows() - (rows.stop - part.start);
        const int64_t count = part.length() * grid_.out_width;
        uint8_t *labels = held.labels(local);
        route(band, part, rule, labels, output, scratch, times);
        std::vector<int64_t> found(counts.size());
        {
            Span span(times, ROUTING);
            for (size_t j = 0; j < found.size(); j++)
                found[j] = std::count(labels, labels + count, static_cast<uint8_t>(j));
        }
        Clock::time_point begin = Clock::now();
        const pcsr_band view = this->view(band, part);
        std::vector<double> seconds(counts.size());
        float *planes = held.plane(0, local);
        const int64_t plane = held.rows() * grid_.out_width;
        pcsr_compose(&view, passes_.upsamplers(), passes_.count(), labels, planes, plane,
                     seconds.data(), scratch.passes.take(passes_.scratch_floats()));
        for (int64_t c = 0; c < 3; c++) refuse_infinite(planes + c * plane, count);
        times.stages[COMPOSE] += seconds_since(begin);
        for (size_t j = 0; j < seconds.size(); j++) {
            times.upsamplers[j] += seconds[j];
            times.stages[COMPOSE] -= seconds[j];
        }
        std::lock_guard<std::mutex> guard(lock);
        for (size_t j = 0; j < found.size(); j++) counts[j] += found[j];
    });
}

/* Gives each pixel its upsampler, and fills the map of difficulties. */
void BandedRun::route(const FeatureBand &band, Range rows, const Rule &rule, uint8_t *labels,
                      Output &output, Scratch &scratch, Times &times) const {
    const int64_t count = rows.length() * grid_.out_width;
    float *map = output.difficulty ? output.difficulty + rows.start * grid_.out_width : nullptr;
    if (pipeline_.count == 1) {
        std::fill_n(labels, count, uint8_t{0});
        if (map) std::fill_n(map, count, 1.0f);
        return;
    }
    const float *found = nullptr;
    {
        Span span(times, CLASSIFIER);
        found = logits(band, rows, scratch);
    }
    Span span(times, ROUTING);
    const float *heavy = difficulty_logits(found, count, scratch);
    float *difficulty = map ? map : scratch.difficulty.take(count);
    if (map || task_.request.way == Way::adaptive) pcsr_sigmoid(heavy, count, difficulty);
    rule.route(found, heavy, difficulty, count, labels);
}

/* Refines and converts held rows from `first` on, as many as `rows` has. */
void BandedRun::finish(const HeldRows &held, int64_t first, const View &rows, int64_t out_first,
                       Output &output) {
    const bool refines = task_.request.is_refined && pipeline_.count > 1;
    const int32_t refined_below = refines ? heavy_count(pipeline_.count) : 0;
    const int64_t width = grid_.out_width, step = std::max<int64_t>(1, PIXELS_PER_CHUNK / width);
    std::vector<Range> ranges;
    for (int64_t start = 0; start < rows.height; start += step)
        ranges.push_back({start, std::min(rows.height, start + step)});
    over(ranges, [&](Range part, Scratch &scratch, Times &times) {
        Span span(times, REFINEMENT);
        const View target = rows.rows(part.start, part.stop);
        const bool is_direct = target.is_packed_rgb();
        void *out = is_direct ? static_cast<void *>(target.data)
                              : scratch.finished.take(3 * part.length() * width);
        pcsr_finish(held.plane(0, 0), held.labels(0), static_cast<int32_t>(held.rows()),
                    static_cast<int32_t>(width), static_cast<int32_t>(first + part.start),
                    static_cast<int32_t>(first + part.stop), refined_below,
                    target.is_gray() ? 0 : target.peak(), out, scratch.lines.take(5 * width));
        if (target.is_gray())
            store({static_cast<const float *>(out), 1, 3 * width, 3}, target);
        else if (!is_direct)
            store_packed(out, target);
        if (output.assignment)
            std::copy_n(held.labels(first + part.start), part.length() * width,
                        output.assignment + (out_first + part.start) * width);
    });
}

const float *BandedRun::logits(const FeatureBand &band, Range rows, Scratch &scratch) const {
    auto known = band.logits.find(rows.start);
    if (known != band.logits.end() && !known->second.empty())
        return known->second.data();
    const int64_t count = rows.length() * grid_.out_width;
    float *out = scratch.logits.take(pipeline_.logits * count);
    const pcsr_band view = this->view(band, rows);
    pcsr_dense(&view, passes_.classifier(), out, scratch.passes.take(passes_.scratch_floats()));
    return out;
}

const float *BandedRun::difficulty_logits(const float *logits, int64_t count,
                                          Scratch &scratch) const {
    float *out = scratch.difficulty_logits.take(count);
    pcsr::difficulty_logits(logits, pipeline_.logits, count, pipeline_.count, out);
    return out;
}

void BandedRun::over(const std::vector<Range> &ranges, const Chunk &chunk) {
    SharedSpan shared(times_);
    pipeline_.parts.workers.over(ranges.size(), [&](size_t index) {
        task_.check_cancelled();
        auto scratch = pipeline_.scratch.lend();
        Times times = shared.thread();
        chunk(ranges[index], *scratch, times);
        shared.add(times);
    });
}

FeatureBand BandedRun::band(size_t index) {
    const Band &band = bands_[index];
    const Range seen = band.tiles[0].rows_seen;
    const int64_t first = std::min(std::max<int64_t>(0, band.rows.start - 1), seen.start);
    const int64_t stop = std::max(std::min(grid_.height, band.rows.stop + 1), seen.stop);
    FeatureBand made;
    task_.check_cancelled();
    {
        Span span(times_, PREPARE);
        made.image.resize(static_cast<size_t>(3 * (stop - first) * grid_.width));
        read_planes(task_, pipeline_.parts.workers, first, stop, made.image.data());
    }
    Span span(times_, BACKBONE);
    made.view.image = made.image.data();
    made.view.image_plane = (stop - first) * grid_.width;
    made.view.image_top = static_cast<int32_t>(first);
    encode(band, made.image.data(), stop - first, made);
    return made;
}

/* Computes the features of a band's rows, tile by tile, with `reach_px_` rows above and below where
   the image has them. image: [3][image_rows][width], from made.view.image_top on. */
void BandedRun::encode(const Band &band, const float *image, int64_t image_rows,
                       FeatureBand &made) {
    const int64_t width = grid_.width, depth = pipeline_.depth;
    const Tile &front = band.tiles[0];
    const int64_t height = front.rows_seen.length();
    const Range seen{front.rows_seen.start - made.view.image_top,
                     front.rows_seen.stop - made.view.image_top};
    const Range rows{std::max<int64_t>(0, front.rows_inner.start - reach_px_),
                     std::min(height, front.rows_inner.stop + reach_px_)};
    made.view.top = static_cast<int32_t>(front.rows_seen.start + rows.start);
    const bool is_one = band.tiles.size() == 1;
    if (!is_one) made.joined.resize(static_cast<size_t>(depth * rows.length() * width));
    for (const Tile &tile : band.tiles) {
        std::vector<float> crop;
        const float *input = image;
        if (!is_one || height < image_rows)
            crop = cropped(image, image_rows, width, seen, tile.columns_seen), input = crop.data();
        const int64_t wide = tile.columns_seen.length();
        Tensor found = pipeline_.parts.backbone.run(input, height, wide, task_.cancellation);
        if (is_one) {
            made.view.features = found.floats() + rows.start * width;
            made.view.feature_plane = height * width;
            made.tensor.emplace(std::move(found));
            return;
        }
        for (int64_t d = 0; d < depth; d++)
            for (int64_t y = rows.start; y < rows.stop; y++) {
                const float *from = found.floats() + (d * height + y) * wide;
                std::copy_n(from + tile.columns_inner.start, tile.columns_kept.length(),
                            made.joined.begin() + (d * rows.length() + y - rows.start) * width +
                                tile.columns_kept.start);
            }
    }
    made.view.features = made.joined.data();
    made.view.feature_plane = rows.length() * width;
}

pcsr_band BandedRun::view(const FeatureBand &band, Range rows) const {
    pcsr_band view = band.view;
    view.depth = pipeline_.depth;
    view.lr_width = static_cast<int32_t>(grid_.width);
    view.width = static_cast<int32_t>(grid_.out_width);
    view.first = static_cast<int32_t>(rows.start), view.last = static_cast<int32_t>(rows.stop);
    view.rows = passes_.rows(), view.columns = passes_.columns();
    return view;
}

/* The output rows whose nearest input row is one of these. */
Range BandedRun::out_rows(Range rows) const {
    const auto &nearest = grid_.rows.centre.nearest;
    auto place = [&](int64_t row) {
        return std::lower_bound(nearest.begin(), nearest.end(), row) - nearest.begin();
    };
    return {place(rows.start), place(rows.stop)};
}

/* Cuts output rows into ranges, each of whole input rows, for one thread at a time. */
std::vector<Range> BandedRun::chunks(Range rows) const {
    const int64_t step = std::max<int64_t>(1, PIXELS_PER_CHUNK * grid_.height / grid_.pixels());
    std::vector<Range> made;
    while (rows.start < rows.stop) {
        const int64_t row = grid_.rows.centre.nearest[static_cast<size_t>(rows.start)];
        const int64_t stop = std::min(rows.stop, out_rows({row, row + step}).stop);
        made.push_back({rows.start, stop});
        rows.start = stop;
    }
    return made;
}

}  // namespace

std::unique_ptr<Pipeline> pcsr_pipeline(const Parts &parts) {
    return std::make_unique<PcsrPipeline>(parts);
}

}  // namespace pcsr
