/* The graph that takes the image, in ONNX Runtime, which is loaded when a bundle is opened. */
#pragma once
#include <cstdint>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "onnxruntime_api.h"

namespace pcsr {

/* ONNX Runtime's library and its table of functions. */
class OnnxRuntime {
public:
    /* Takes the library at a path (from an option, or the environment); "": one that this process
       has loaded already, else the loader's. Throws Failure (PCSR_ERROR_BACKEND). */
    explicit OnnxRuntime(const std::string &path);
    ~OnnxRuntime();
    OnnxRuntime(const OnnxRuntime &) = delete;
    OnnxRuntime &operator=(const OnnxRuntime &) = delete;

    const std::string &version() const { return version_; }

    /* Calls an entry that gives nothing, or no status. */
    template <typename Result = void, typename... Arguments>
    Result call(ort::Entry entry, Arguments... arguments) const {
        return reinterpret_cast<Result (*)(Arguments...)>(table_[entry])(arguments...);
    }

    /* Calls an entry that gives a status; returns what went wrong, in one line, or "". */
    template <typename... Arguments>
    std::string attempt(ort::Entry entry, Arguments... arguments) const {
        return taken(call<ort::Status *>(entry, arguments...));
    }

private:
    std::string taken(ort::Status *status) const;

    void *library_ = nullptr;
    const ort::Function *table_ = nullptr;
    std::string version_;
};

/* Lets another thread end runs that are in progress. */
class Cancellation {
public:
    void cancel();
    bool is_cancelled();

    /* Throws Failure (PCSR_ERROR_CANCELLED) where it was cancelled. */
    void check();

    /* A run in progress; where it was cancelled before, the run ends at once. */
    void add(const OnnxRuntime &library, ort::RunOptions *run);
    void remove(ort::RunOptions *run);

private:
    std::mutex lock_;
    bool cancelled_ = false;
    std::set<std::pair<const OnnxRuntime *, ort::RunOptions *>> runs_;
};

/* A result of a run, in ONNX Runtime's memory. */
class Tensor {
public:
    Tensor(const OnnxRuntime &library, ort::OrtValue *value) : library_(&library), value_(value) {}
    Tensor(Tensor &&other) noexcept : library_(other.library_), value_(other.value_) {
        other.value_ = nullptr;
    }
    Tensor(const Tensor &) = delete;
    Tensor &operator=(const Tensor &) = delete;
    Tensor &operator=(Tensor &&) = delete;
    ~Tensor();

    const float *floats() const;
    /* Its shape; empty where it is not of float32. */
    std::vector<int64_t> shape() const;

private:
    const OnnxRuntime *library_;
    ort::OrtValue *value_;
};

/* One graph with one input `image` [1, 3, h, w] and one output, both float32. Several threads may
   run it at once. */
class Session {
public:
    /* Throws Failure where ONNX Runtime refuses the model. what: the bundle, for messages. */
    Session(const OnnxRuntime &library, const std::vector<uint8_t> &model, std::string output,
            int threads, const std::string &what);
    ~Session();
    Session(const Session &) = delete;
    Session &operator=(const Session &) = delete;

    /* image [3][height][width]. Throws Failure where it fails or is cancelled. */
    Tensor run(const float *image, int64_t height, int64_t width, Cancellation *cancellation) const;

private:
    void close();

    const OnnxRuntime &library_;
    std::string output_;
    ort::Env *env_ = nullptr;
    ort::Session *session_ = nullptr;
    ort::MemoryInfo *memory_ = nullptr;
};

}  // namespace pcsr
