/* What runs an image through the graphs and the passes of one bundle, and where its rows go. */
#pragma once
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "bundle/bundle.h"
#include "image.h"
#include "onnxruntime.h"
#include "routing.h"
#include "tiling.h"
#include "timing.h"
#include "workers.h"

namespace pcsr {

constexpr double ARENA_GROWTH = 1.5; /* what ONNX Runtime takes, in units of what it needs */
constexpr int64_t MIB = 1 << 20;
constexpr int64_t PIXELS_PER_CHUNK = 32768;

struct Task {
    const View &input;
    double scale;
    Request request;
    Cancellation *cancellation; /* or NULL */

    void check_cancelled() const {
        if (cancellation) cancellation->check();
    }
};

struct Routed {
    std::vector<int64_t> counts; /* pixels per upsampler */
    double threshold;
};

/* Takes the rows of one image, from top to bottom. */
class Output {
public:
    /* whole: the caller's image; its data is NULL where on_rows alone takes the rows, and its
       layout is that of the rows. Maps may be NULL. */
    Output(const View &whole, pcsr_on_rows on_rows, void *context, float *difficulty,
           uint8_t *assignment)
        : difficulty(difficulty), assignment(assignment), whole_(whole), on_rows_(on_rows),
          context_(context) {}

    const View &like() const { return whole_; }
    /* Memory for rows first .. stop - 1, until `finished` is called. */
    View begin(int64_t first, int64_t stop);
    /* Hands them on. Throws Failure where the caller wants no more. */
    void finished(Times &times);

    float *const difficulty;
    uint8_t *const assignment;

private:
    View whole_, rows_;
    int64_t first_ = 0;
    std::optional<OwnRows> own_;
    pcsr_on_rows on_rows_;
    void *context_;
};

/* The graph that takes the image, what is known of its bundle, and the threads for the rest. */
class Backbone {
public:
    Backbone(const Bundle &bundle, const std::string &precision, const OnnxRuntime &library,
             int threads);

    /* Computes image [3][height][width] to [channels][height * enlarged][width * enlarged]. Throws
       Failure where the graph does not give that. */
    Tensor run(const float *image, int64_t height, int64_t width, Cancellation *cancellation) const;

private:
    void foresee(int64_t height, int64_t width) const;

    const Bundle &bundle_;
    const std::string precision_;
    Graph graph_;
    std::unique_ptr<Session> session_;
    int64_t channels_, enlarged_;
    mutable std::mutex lock_;
    mutable std::map<std::pair<int64_t, int64_t>, bool> foreseen_;
};

class Pipeline {
public:
    virtual ~Pipeline() = default;
    virtual Routed run(const Task &task, Output &output, Times &times) = 0;
};

struct Parts {
    const Bundle &bundle;
    const Backbone &backbone;
    Workers &workers;
    int64_t tile_px;      /* 0: by memory */
    int64_t memory_bytes; /* 0: by what is free */
};

std::unique_ptr<Pipeline> pcsr_pipeline(const Parts &parts);
std::unique_ptr<Pipeline> plain_pipeline(const Parts &parts);

/* Reads input rows as planes, on all threads: [3][stop - first][width]. */
void read_planes(const Task &task, Workers &workers, int64_t first, int64_t stop, float *planes);

/* A window of planes [3][rows][width] without gaps. */
std::vector<float> cropped(const float *planes, int64_t height, int64_t width, Range rows,
                           Range columns);

/* The bytes that may be taken for one image: the limit, or half of what is free, at most `most`.
   Does not ask the system where `enough` is surely there. */
int64_t budget_bytes(const Parts &parts, int64_t most, int64_t enough);

}  // namespace pcsr
