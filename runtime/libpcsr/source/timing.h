/* Wall-clock time of the stages of a run. */
#pragma once
#include <array>
#include <chrono>
#include <cstddef>
#include <mutex>
#include <numeric>
#include <vector>

namespace pcsr {

enum Stage { PREPARE, BACKBONE, CLASSIFIER, ROUTING, COMPOSE, REFINEMENT, CONVERT, ALPHA, ROWS, STAGES };

using Clock = std::chrono::steady_clock;

inline double seconds_since(Clock::time_point begin) {
    return std::chrono::duration<double>(Clock::now() - begin).count();
}

struct Times {
    std::array<double, STAGES> stages{};
    std::vector<double> upsamplers;

    explicit Times(size_t count = 0) : upsamplers(count) {}
    double total() const {
        return std::accumulate(stages.begin(), stages.end(), 0.0) +
               std::accumulate(upsamplers.begin(), upsamplers.end(), 0.0);
    }
    void add(const Times &other, double share) {
        for (size_t i = 0; i < stages.size(); i++) stages[i] += share * other.stages[i];
        for (size_t j = 0; j < upsamplers.size(); j++)
            upsamplers[j] += share * other.upsamplers[j];
    }
};

/* Adds the time of its life to a stage. */
class Span {
public:
    Span(Times &times, Stage stage) : times_(times), stage_(stage), begin_(Clock::now()) {}
    ~Span() { times_.stages[static_cast<size_t>(stage_)] += seconds_since(begin_); }
    Span(const Span &) = delete;
    Span &operator=(const Span &) = delete;

private:
    Times &times_;
    Stage stage_;
    Clock::time_point begin_;
};

/* Shares the wall-clock time of its life among the stages in proportion to what they took on all
   threads. */
class SharedSpan {
public:
    explicit SharedSpan(Times &times)
        : times_(times), threads_(times.upsamplers.size()), begin_(Clock::now()) {}
    ~SharedSpan() {
        double total = threads_.total(), wall = seconds_since(begin_);
        if (total > 0)
            times_.add(threads_, wall / total);
        else
            times_.stages[PREPARE] += wall;
    }
    SharedSpan(const SharedSpan &) = delete;
    SharedSpan &operator=(const SharedSpan &) = delete;

    void add(const Times &thread) {
        std::lock_guard<std::mutex> guard(lock_);
        threads_.add(thread, 1);
    }
    Times thread() const { return Times(times_.upsamplers.size()); }

private:
    Times &times_;
    Times threads_;
    std::mutex lock_;
    Clock::time_point begin_;
};

}  // namespace pcsr
