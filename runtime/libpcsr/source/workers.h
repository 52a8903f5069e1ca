/* Runs work on the threads of a handle, or on the caller's executor. */
#pragma once
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "pcsr/pcsr.h"

namespace pcsr {

class Workers {
public:
    /* threads: with the caller's, which works, too. executor: NULL starts threads of its own.
       Throws Failure (PCSR_ERROR_MEMORY) where the system starts none. */
    Workers(int threads, pcsr_parallel_for executor, void *context);
    ~Workers();
    Workers(const Workers &) = delete;
    Workers &operator=(const Workers &) = delete;

    /* Runs work(0) ... work(count - 1), each once, and returns when all have returned. Throws what
       the first of them threw; work that has not begun by then is left out. */
    void over(size_t count, const std::function<void(size_t)> &work);

private:
    struct Job;
    void end();
    void serve();
    void run_here(Job &job);

    const int threads_;
    const pcsr_parallel_for executor_;
    void *const context_;
    std::mutex lock_;
    std::condition_variable wake_;
    std::list<Job *> jobs_;
    bool ends_ = false;
    std::vector<std::thread> pool_;
};

/* Memory that is lent and used again: as many pieces exist as were lent at one time. */
template <typename T>
class Pool {
public:
    class Loan {
    public:
        Loan(Pool &pool, std::unique_ptr<T> piece) : pool_(pool), piece_(std::move(piece)) {}
        ~Loan() { pool_.give_back(std::move(piece_)); }
        Loan(const Loan &) = delete;
        Loan &operator=(const Loan &) = delete;
        T &operator*() const { return *piece_; }
        T *operator->() const { return piece_.get(); }

    private:
        Pool &pool_;
        std::unique_ptr<T> piece_;
    };

    Loan lend() {
        std::lock_guard<std::mutex> guard(lock_);
        if (spare_.empty()) return {*this, std::make_unique<T>()};
        std::unique_ptr<T> piece = std::move(spare_.back());
        spare_.pop_back();
        return {*this, std::move(piece)};
    }

private:
    void give_back(std::unique_ptr<T> piece) {
        std::lock_guard<std::mutex> guard(lock_);
        try {
            spare_.push_back(std::move(piece));
        } catch (const std::bad_alloc &) { /* it is freed instead */
        }
    }

    std::mutex lock_;
    std::vector<std::unique_ptr<T>> spare_;
};

}  // namespace pcsr
