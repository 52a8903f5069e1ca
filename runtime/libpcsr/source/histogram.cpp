/* Adaptive decision making (paper section 3.3): Lloyd's algorithm on a histogram of difficulty, as
   runtime/routing/adaptive.py has it. */
#include <algorithm>
#include <cmath>

#include "compiled_passes.h"
#include "routing.h"

namespace pcsr {
namespace {

constexpr int LANES = 16;
constexpr int ITERATIONS = 20;
constexpr double TOLERANCE = 1e-4;

}  // namespace

Histogram::Histogram(double first, double last)
    : first_(first), last_(last), table_(2 * static_cast<size_t>(BINS)) {}

void Histogram::add(const float *difficulty, int64_t count) {
    pcsr_histogram(difficulty, count, static_cast<float>(first_), static_cast<float>(last_), BINS,
                   table_.data());
    float low[LANES], high[LANES]; /* several at once: one alone waits for each comparison */
    std::fill_n(low, LANES, INFINITY);
    std::fill_n(high, LANES, -INFINITY);
    for (int64_t i = 0; i < count; i++) {
        low[i % LANES] = std::min(low[i % LANES], difficulty[i]);
        high[i % LANES] = std::max(high[i % LANES], difficulty[i]);
    }
    low_ = std::min(low_, static_cast<double>(*std::min_element(low, low + LANES)));
    high_ = std::max(high_, static_cast<double>(*std::max_element(high, high + LANES)));
}

void Histogram::add(const Histogram &other) {
    for (size_t i = 0; i < table_.size(); i++) table_[i] += other.table_[i];
    low_ = std::min(low_, other.low_);
    high_ = std::max(high_, other.high_);
}

bool Histogram::is_coarse() const {
    return high_ - low_ > 0 && high_ - low_ < (last_ - first_) / 2;
}

std::vector<double> Histogram::thresholds(int clusters) const {
    const auto count = static_cast<size_t>(clusters);
    const double span = high_ - low_;
    if (span == 0) return std::vector<double>(count - 1, INFINITY);
    std::vector<double> prefix(2 * static_cast<size_t>(BINS + 1));
    for (size_t i = 0; i < table_.size(); i++) prefix[i + 2] = prefix[i] + table_[i];
    const double members = prefix[2 * BINS], total = prefix[2 * BINS + 1];

    std::vector<double> centroids(count), cuts(count - 1);
    for (size_t j = 0; j < count; j++)
        centroids[j] = 1 + static_cast<double>(j) * (-1 / static_cast<double>(count - 1));
    centroids[count - 1] = 0;
    if (clusters == 2) centroids[0] = (total / members - low_) / span;
    for (int iteration = 1; iteration < ITERATIONS; iteration++) {
        for (size_t j = 0; j + 1 < count; j++) cuts[j] = (centroids[j] + centroids[j + 1]) / 2;
        Sums above = {members, total};
        double shift = 0;
        for (size_t j = 0; j < count; j++) {
            Sums under = j + 1 < count ? below(prefix, cuts[j]) : Sums{0, 0};
            double inside = above.count - under.count, sum = above.total - under.total;
            double mean = inside > 0 ? (sum - inside * low_) / (inside * span) : centroids[j];
            shift += (mean - centroids[j]) * (mean - centroids[j]);
            centroids[j] = mean;
            above = under;
        }
        if (shift <= TOLERANCE) break;
    }
    for (double &cut : cuts) cut = low_ + cut * span;
    return cuts;
}

/* Count and sum of all below a normalised cut: inside its bin the values count as evenly spread
   about their mean. */
Histogram::Sums Histogram::below(const std::vector<double> &prefix, double cut) const {
    const double width = (last_ - first_) / BINS, difficulty = low_ + cut * (high_ - low_);
    const double place = (difficulty - first_) / width;
    const auto index = static_cast<size_t>(std::clamp(static_cast<int>(place), 0, BINS - 1));
    const double count = table_[2 * index], total = table_[2 * index + 1];
    if (count == 0) return {prefix[2 * index], prefix[2 * index + 1]};
    double share = std::clamp(place - static_cast<double>(index), 0.0, 1.0);
    if (count == 1) share = total / count < difficulty;
    double middle = total / count - (1 - share) * width / 2;
    return {prefix[2 * index] + share * count, prefix[2 * index + 1] + share * count * middle};
}

}  // namespace pcsr
