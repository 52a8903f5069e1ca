/* pcsr.h for C++17: handles that close themselves, errors as exceptions, callbacks as functions.
   Structures are those of pcsr.h, with their sizes set. All of it is in this header. */
#ifndef PCSR_HPP
#define PCSR_HPP

#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "pcsr/pcsr.h"

namespace pcsr {

/* A call that failed: what() is the line that pcsr_message has on it. */
class Error : public std::runtime_error {
public:
    Error(pcsr_status status, const std::string &message)
        : std::runtime_error(message), status_(status) {}
    /* PCSR_ERROR_... */
    pcsr_status status() const noexcept { return status_; }

private:
    pcsr_status status_;
};

/* A structure of pcsr.h, zero but for its size. */
template <typename Structure>
struct Sized : Structure {
    Sized() noexcept : Structure() { this->struct_size = sizeof(Structure); }
};
using OpenOptions = Sized<pcsr_open_options>;
using RunOptions = Sized<pcsr_run_options>;
using Info = Sized<pcsr_info>;
using Statistics = Sized<pcsr_statistics>;

/* Pixels in the caller's memory, which has to outlive the call: interleaved RGB without gaps
   unless fields are set. */
struct Image : Sized<pcsr_image> {
    Image() noexcept = default;
    Image(void *pixels, int32_t columns, int32_t rows, int32_t channel_count,
          int32_t type = PCSR_U8) noexcept {
        data = pixels;
        width = columns;
        height = rows;
        channels = channel_count;
        format = type;
    }
    /* Of an input, which is only read. */
    Image(const void *pixels, int32_t columns, int32_t rows, int32_t channel_count,
          int32_t type = PCSR_U8) noexcept
        : Image(const_cast<void *>(pixels), columns, rows, channel_count, type) {}
};

struct Size {
    int32_t width = 0, height = 0;
};

/* Takes rows as they are finished, as pcsr_on_rows does; `false` cancels the run. What it throws
   comes out of the call. */
using Rows = std::function<bool(int32_t first, const pcsr_image &rows)>;

/* Throws what a status says. */
inline void check(pcsr_status status, const pcsr_upscaler *upscaler = nullptr) {
    if (status != PCSR_OK) {
        const char *message = pcsr_message(upscaler);
        throw Error(status, *message ? message : pcsr_status_text(status));
    }
}

/* Cancels the runs that it was given to. */
class Cancellation {
public:
    Cancellation() {
        pcsr_cancellation *made = nullptr;
        check(pcsr_cancellation_create(&made));
        handle_.reset(made);
    }
    /* From any thread. */
    void cancel() const noexcept { pcsr_cancel(handle_.get()); }
    /* For RunOptions::cancellation. */
    pcsr_cancellation *get() const noexcept { return handle_.get(); }

private:
    struct Destroy {
        void operator()(pcsr_cancellation *handle) const noexcept {
            pcsr_cancellation_destroy(handle);
        }
    };
    std::unique_ptr<pcsr_cancellation, Destroy> handle_;
};

/* An open bundle. Any number of threads may call it at once; it has to outlive their calls. */
class Upscaler {
public:
    /* Opens the bundle in a directory. Throws Error. */
    explicit Upscaler(const std::string &directory, const OpenOptions &options = {}) {
        pcsr_upscaler *opened = nullptr;
        check(pcsr_open(directory.c_str(), &options, &opened));
        handle_.reset(opened);
    }

    /* Upscales an image into memory of the caller's. Throws Error. */
    Statistics run(const Image &input, const Image &output, const RunOptions &options = {}) const {
        Statistics statistics;
        check(pcsr_run(get(), &input, &output, &options, &statistics), get());
        return statistics;
    }

    /* The same, and hands rows to a function as they are finished. */
    Statistics run(const Image &input, const Image &output, const RunOptions &options,
                   const Rows &rows) const {
        return handed(input, &output, options, rows);
    }

    /* Upscales an image that is never whole in memory: a function takes its rows. */
    Statistics stream(const Image &input, const RunOptions &options, const Rows &rows) const {
        return handed(input, nullptr, options, rows);
    }

    /* The size of an image's result; scale 0 is the trained one. Throws Error. */
    Size output_size(int32_t width, int32_t height, double scale = 0) const {
        Size size;
        check(pcsr_output_size(get(), width, height, scale, &size.width, &size.height), get());
        return size;
    }

    Info info() const {
        Info found;
        check(pcsr_get_info(get(), &found), get());
        return found;
    }

    /* For the functions of pcsr.h. */
    pcsr_upscaler *get() const noexcept { return handle_.get(); }

private:
    struct Close {
        void operator()(pcsr_upscaler *handle) const noexcept { pcsr_close(handle); }
    };
    struct Taker {
        const Rows &rows;
        std::exception_ptr thrown;
    };

    /* No exception may pass through C: it waits in the taker. */
    static int32_t take(void *context, int32_t first, const pcsr_image *rows) noexcept {
        Taker &taker = *static_cast<Taker *>(context);
        try {
            return taker.rows(first, *rows) ? 0 : 1;
        } catch (...) {
            taker.thrown = std::current_exception();
            return 1;
        }
    }

    Statistics handed(const Image &input, const Image *output, RunOptions options,
                      const Rows &rows) const {
        Taker taker{rows, nullptr};
        options.on_rows = take;
        options.on_rows_context = &taker;
        Statistics statistics;
        const pcsr_status status = pcsr_run(get(), &input, output, &options, &statistics);
        if (taker.thrown) std::rethrow_exception(taker.thrown);
        check(status, get());
        return statistics;
    }

    std::unique_ptr<pcsr_upscaler, Close> handle_;
};

}  // namespace pcsr
#endif
