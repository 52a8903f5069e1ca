#include "workers.h"

#include <atomic>
#include <exception>
#include <system_error>

#include "failure.h"

namespace pcsr {

/* Indices are taken one by one, by whoever is free. */
struct Workers::Job {
    size_t count;
    const std::function<void(size_t)> &work;
    std::atomic<size_t> next{0};
    std::atomic<bool> has_failed{false};
    std::exception_ptr failure; /* of the first that failed */
    size_t busy = 0;            /* threads in it; guarded by the lock of the workers */
    std::condition_variable left;

    Job(size_t n, const std::function<void(size_t)> &w) : count(n), work(w) {}

    void one(size_t index) {
        if (has_failed) return;
        try {
            work(index);
        } catch (...) {
            if (!has_failed.exchange(true)) failure = std::current_exception();
        }
    }
};

Workers::Workers(int threads, pcsr_parallel_for executor, void *context)
    : threads_(threads), executor_(executor), context_(context) {
    try {
        for (int i = 1; i < threads && !executor; i++) pool_.emplace_back([this] { serve(); });
    } catch (const std::system_error &error) {
        end();
        throw Failure(PCSR_ERROR_MEMORY, std::string("the system starts no thread (") +
                                             error.what() +
                                             "); pass fewer threads, or raise the limit of "
                                             "processes (ulimit -u)");
    }
}

Workers::~Workers() { end(); }

void Workers::end() {
    {
        std::lock_guard<std::mutex> guard(lock_);
        ends_ = true;
    }
    wake_.notify_all();
    for (std::thread &thread : pool_) thread.join();
}

void Workers::over(size_t count, const std::function<void(size_t)> &work) {
    Job job(count, work);
    auto task = [](void *argument, size_t index) { static_cast<Job *>(argument)->one(index); };
    if (count < 2)
        run_here(job);
    else if (executor_)
        executor_(context_, count, task, &job);
    else if (threads_ < 2)
        run_here(job);
    else {
        std::unique_lock<std::mutex> guard(lock_);
        auto place = jobs_.insert(jobs_.end(), &job);
        wake_.notify_all();
        guard.unlock();
        run_here(job);
        guard.lock();
        jobs_.erase(place);
        job.left.wait(guard, [&] { return job.busy == 0; });
    }
    if (job.failure) std::rethrow_exception(job.failure);
}

void Workers::run_here(Job &job) {
    for (size_t index; (index = job.next++) < job.count;) job.one(index);
}

void Workers::serve() {
    std::unique_lock<std::mutex> guard(lock_);
    auto unfinished = [this]() -> Job * {
        for (Job *job : jobs_)
            if (job->next < job->count) return job;
        return nullptr;
    };
    while (true) {
        Job *job = nullptr;
        wake_.wait(guard, [&] { return (job = unfinished()) || ends_; });
        if (!job) return;
        job->busy++;
        guard.unlock();
        run_here(*job);
        guard.lock();
        if (--job->busy == 0) job->left.notify_all();
    }
}

}  // namespace pcsr
