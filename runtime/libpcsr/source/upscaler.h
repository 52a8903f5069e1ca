/* An open bundle: images in, images out. */
#pragma once
#include <atomic>
#include <memory>
#include <string>

#include "pipeline.h"

namespace pcsr {

struct OpenOptions {
    std::string precision, onnxruntime;
    int threads;
    int64_t tile_px, memory_bytes;
    pcsr_parallel_for executor;
    void *context;
};

class Upscaler {
public:
    Upscaler(const std::string &directory, const OpenOptions &options);

    /* scale: 0 is the trained one. Throws Failure where it is out of range. */
    double checked_scale(double scale) const;
    /* Throws Failure where the result has more pixels than one call takes. */
    void refuse_huge(int64_t height, int64_t width, double scale) const;
    /* Throws Failure where the bundle has nothing to route. */
    void check_routing(const Request &request) const;

    /* Upscales the colours of an image, and its alpha where it has one. */
    Routed run(const Task &task, Output &output, Times &times);

    const int threads;
    const Bundle bundle;
    const std::string precision, graph_set; /* as the caller names it, as the bundle does */
    const OnnxRuntime library;

private:
    void run_alpha(const Task &task, const View &whole, Times &times);

    Workers workers_;
    Backbone backbone_;
    std::unique_ptr<Pipeline> pipeline_;
};

}  // namespace pcsr
