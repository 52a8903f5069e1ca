/* What ADM or heavy_ratio needs to know of all pixels of an image before they are routed. */
#pragma once
#include <algorithm>
#include <memory>
#include <mutex>
#include <vector>

#include "routing.h"

namespace pcsr {

class Statistics {
public:
    /* pixels: of the result. first, last: where the histogram of difficulties begins and ends. */
    Statistics(const Request &request, int64_t pixels, double first = 0, double last = 1)
        : request_(request), first_(first), last_(last),
          logits_(request.way == Way::heavy_ratio ? static_cast<size_t>(pixels) : 0) {}

    bool needs_difficulty() const { return request_.way == Way::adaptive; }

    /* Adds `count` pixels, the first of which is number `at`. difficulty: where it is needed. */
    void add(const float *logits, const float *difficulty, int64_t at, int64_t count) {
        if (!needs_difficulty()) {
            std::copy_n(logits, count, logits_.begin() + at);
            return;
        }
        std::unique_ptr<Histogram> part = taken();
        part->add(difficulty, count);
        std::lock_guard<std::mutex> guard(lock_);
        parts_.push_back(std::move(part));
    }

    /* Of all difficulties that were added. */
    const Histogram &histogram() {
        for (; parts_.size() > 1; parts_.pop_back()) parts_[0]->add(*parts_.back());
        return *parts_[0];
    }

    Rule ratio_rule(const std::vector<float> &cost) {
        return Rule::heavy_ratio(cost, logits_, request_.heavy_ratio);
    }

private:
    std::unique_ptr<Histogram> taken() {
        std::lock_guard<std::mutex> guard(lock_);
        if (parts_.empty()) return std::make_unique<Histogram>(first_, last_);
        std::unique_ptr<Histogram> part = std::move(parts_.back());
        parts_.pop_back();
        return part;
    }

    const Request request_;
    const double first_, last_;
    std::vector<float> logits_;
    std::mutex lock_;
    std::vector<std::unique_ptr<Histogram>> parts_; /* as many as threads added at one time */
};

}  // namespace pcsr
