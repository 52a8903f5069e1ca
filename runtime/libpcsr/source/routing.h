/* Routes pixels to upsamplers, as runtime/routing does (paper sections 3.2 and 3.3). */
#pragma once
#include <cstdint>
#include <limits>
#include <vector>

namespace pcsr {

enum class Way { fixed, adaptive, heavy_ratio };

struct Request {
    Way way = Way::fixed;
    double k = 0, heavy_ratio = 0;
    bool is_refined = true;

    /* Whether the whole image must be classified before its first pixel can be routed. */
    bool needs_statistics() const { return way != Way::fixed; }
};

/* The heavier half of M upsamplers, floor((M + 1) / 2). */
inline int heavy_count(int upsamplers) { return (upsamplers + 1) / 2; }

/* Shares of the FLOPs of (backbone + upsampler j) at a 16x16 input, in float32. */
std::vector<float> cost_table(double backbone_flops, const std::vector<double> &upsampler_flops,
                              double scale);

/* The logits of the heavier half from logits [K][count], heaviest first, to out [count]. Throws
   Failure where a logit is not finite. */
void difficulty_logits(const float *logits, int outputs, int64_t count, int upsamplers, float *out);

/* Difficulties in equal bins, for Lloyd's algorithm. */
class Histogram {
public:
    static constexpr int BINS = 1 << 16;
    explicit Histogram(double first = 0, double last = 1);

    void add(const float *difficulty, int64_t count);
    void add(const Histogram &other);
    /* Whether another histogram from low() to high() tells more. */
    bool is_coarse() const;
    double low() const { return low_; }
    double high() const { return high_; }

    /* The thresholds between M clusters, hardest first; infinite where the image is flat. */
    std::vector<double> thresholds(int clusters) const;

private:
    struct Sums {
        double count, total;
    };
    Sums below(const std::vector<double> &prefix, double cut) const;

    double first_, last_;
    double low_ = std::numeric_limits<double>::infinity(), high_ = -low_;
    std::vector<double> table_; /* [BINS][2] count and sum */
};

/* What a request, the costs and the statistics of the whole image amount to. */
class Rule {
public:
    static Rule fixed(const std::vector<float> &cost, double k);
    static Rule adaptive(const std::vector<float> &cost, const Histogram &histogram);
    /* logits: the difficulty logits of all pixels, in any order; they are reordered. */
    static Rule heavy_ratio(const std::vector<float> &cost, std::vector<float> &logits,
                            double ratio);

    /* Routes pixels by their logits [K][count] and their difficulty: labels [count]. */
    void route(const float *logits, const float *difficulty_logit, const float *difficulty,
               int64_t count, uint8_t *labels) const;

    /* The difficulty above which pixels are heavy; NaN where no single one decides. */
    double threshold() const { return threshold_; }

private:
    enum class Kind { bounds, cut, utilities, halves };
    Rule() = default;

    Kind kind_ = Kind::cut;
    int count_ = 2;
    float cut_ = 0;
    std::vector<float> bounds_;    /* ADM's thresholds as the least float32 not below them */
    std::vector<float> penalties_; /* k times the logarithm of each cost */
    double threshold_ = std::numeric_limits<double>::quiet_NaN();
};

}  // namespace pcsr
