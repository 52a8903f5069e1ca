#include "routing.h"

#include <algorithm>
#include <cmath>

#include "compiled_passes.h"
#include "failure.h"

namespace pcsr {
namespace {

constexpr int COST_LR_SIZE = 16;

/* The sum of float32 numbers in NumPy's order, on which the last digit depends. */
float pairwise_sum(const std::vector<float> &values) {
    size_t n = values.size(), i = 0;
    if (n > 128) {
        size_t half = n / 2 - n / 2 % 8;
        std::vector<float> first(values.begin(), values.begin() + static_cast<long>(half));
        std::vector<float> rest(values.begin() + static_cast<long>(half), values.end());
        return pairwise_sum(first) + pairwise_sum(rest);
    }
    float sum = 0;
    if (n >= 8) {
        float part[8];
        std::copy_n(values.begin(), 8, part);
        for (i = 8; i < n - n % 8; i++) part[i % 8] += values[i];
        sum = ((part[0] + part[1]) + (part[2] + part[3])) +
              ((part[4] + part[5]) + (part[6] + part[7]));
    }
    for (; i < n; i++) sum += values[i];
    return sum;
}

float sigmoid(float logit) {
    float decay = std::exp(-std::fabs(logit));
    return (logit >= 0 ? 1.0f : decay) / (1.0f + decay);
}

/* Comparing float32 values with it is as exact as with the bound. */
float least_float(double bound) {
    float rounded = static_cast<float>(bound);
    return static_cast<double>(rounded) < bound ? std::nextafter(rounded, INFINITY) : rounded;
}

/* The best of the utilities first .. last - 1, the lightest where some are level. */
int lightest_best(const float *utility, int first, int last) {
    int best = last - 1;
    for (int j = last - 2; j >= first; j--)
        if (utility[j] > utility[best]) best = j;
    return best;
}

}  // namespace

std::vector<float> cost_table(double backbone_flops, const std::vector<double> &upsampler_flops,
                              double scale) {
    double side = std::nearbyint(COST_LR_SIZE * scale);
    std::vector<float> cost;
    for (double flops : upsampler_flops) {
        float work = static_cast<float>(flops) * static_cast<float>(side * side);
        cost.push_back(work + static_cast<float>(backbone_flops));
    }
    float sum = pairwise_sum(cost);
    for (float &each : cost) each /= sum;
    return cost;
}

void difficulty_logits(const float *logits, int outputs, int64_t count, int upsamplers,
                       float *out) {
    for (int64_t i = 0; i < outputs * count; i++)
        if (!std::isfinite(logits[i]))
            throw Failure(PCSR_ERROR_IMAGE,
                          "the classifier gives NaN or infinite values for this image; its "
                          "weights may be damaged");
    if (outputs == 1) {
        std::copy_n(logits, count, out);
        return;
    }
    const int heavy = heavy_count(upsamplers);
    const float tiny = std::numeric_limits<float>::min();
    for (int64_t i = 0; i < count; i++) {
        float most = logits[i];
        for (int j = 1; j < outputs; j++) most = std::max(most, logits[j * count + i]);
        float half[2] = {0, 0};
        for (int j = 0; j < outputs; j++) half[j >= heavy] += std::exp(logits[j * count + i] - most);
        out[i] = std::log(std::max(half[0], tiny)) - std::log(std::max(half[1], tiny));
    }
}

Rule Rule::fixed(const std::vector<float> &cost, double k) {
    Rule rule;
    rule.count_ = static_cast<int>(cost.size());
    if (rule.count_ == 2) {
        double ratio = static_cast<double>(cost[0]) / static_cast<double>(cost[1]);
        rule.cut_ = static_cast<float>(k * std::log(ratio));
        rule.threshold_ = sigmoid(rule.cut_);
        return rule;
    }
    rule.kind_ = Kind::utilities;
    for (float each : cost) rule.penalties_.push_back(static_cast<float>(k) * std::log(each));
    return rule;
}

Rule Rule::adaptive(const std::vector<float> &cost, const Histogram &histogram) {
    Rule rule;
    rule.kind_ = Kind::bounds;
    rule.count_ = static_cast<int>(cost.size());
    std::vector<double> bounds = histogram.thresholds(rule.count_);
    rule.threshold_ = bounds[static_cast<size_t>(heavy_count(rule.count_) - 1)];
    for (double bound : bounds) rule.bounds_.push_back(least_float(bound));
    return rule;
}

Rule Rule::heavy_ratio(const std::vector<float> &cost, std::vector<float> &logits, double ratio) {
    Rule rule;
    rule.count_ = static_cast<int>(cost.size());
    auto above = static_cast<size_t>(std::nearbyint(ratio * static_cast<double>(logits.size())));
    rule.cut_ = -INFINITY;
    if (above < logits.size()) {
        auto rank = logits.begin() + static_cast<long>(logits.size() - above - 1);
        std::nth_element(logits.begin(), rank, logits.end());
        rule.cut_ = *rank;
    }
    rule.threshold_ = sigmoid(rule.cut_);
    if (rule.count_ > 2) {
        rule.kind_ = Kind::halves;
        rule.penalties_.assign(cost.size(), 0.0f);
    }
    return rule;
}

void Rule::route(const float *logits, const float *difficulty_logit, const float *difficulty,
                 int64_t count, uint8_t *labels) const {
    if (kind_ == Kind::cut) {
        for (int64_t i = 0; i < count; i++) labels[i] = difficulty_logit[i] <= cut_;
        return;
    }
    if (kind_ == Kind::bounds) {
        std::fill_n(labels, count, uint8_t{0});
        for (float bound : bounds_)
            for (int64_t i = 0; i < count; i++)
                labels[i] = static_cast<uint8_t>(labels[i] + (difficulty[i] < bound));
        return;
    }
    std::vector<float> utility(static_cast<size_t>(count_));
    for (int64_t i = 0; i < count; i++) {
        for (int j = 0; j < count_; j++) {
            auto each = static_cast<size_t>(j);
            utility[each] = logits[j * count + i] - penalties_[each];
        }
        int first = 0, last = count_, heavy = heavy_count(count_);
        if (kind_ == Kind::halves) (difficulty_logit[i] > cut_ ? last : first) = heavy;
        labels[i] = static_cast<uint8_t>(lightest_best(utility.data(), first, last));
    }
}

}  // namespace pcsr
