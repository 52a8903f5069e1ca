#include "upscaler.h"

#include <cmath>
#include <cstdlib>

#include "failure.h"
#include "grid.h"
#include "limits.h"

namespace pcsr {
namespace {

constexpr int64_t MOST_PIXELS = INT32_MAX;
constexpr double LARGEST_SCALE = 1000;
constexpr int MOST_THREADS = 256;

[[noreturn]] void refuse(const std::string &what) { throw Failure(PCSR_ERROR_ARGUMENT, what); }

/* The set of graphs for what a caller names. */
std::string set_of(const Bundle &bundle, const std::string &precision) {
    if (precision.empty() || precision == "fp32") return "fp32";
    if (precision != "int8")
        refuse("precision must be fp32 or int8, found " + precision.substr(0, 40));
    if (!bundle.has_precision("int8-cpu"))
        throw Failure(PCSR_ERROR_BUNDLE, bundle.path +
                                             " has no int8 graphs for the CPU; make them with "
                                             "pcsr-calibrate precision BUNDLE IMAGES");
    return "int8-cpu";
}

int thread_count(int asked) {
    if (asked < 0 || asked > MOST_THREADS)
        refuse("threads must be from 1 to 256, or 0, found " + std::to_string(asked));
    return asked ? asked : usable_cores();
}

std::string library_path(const std::string &asked) {
    const char *variable = std::getenv("PCSR_ONNXRUNTIME");
    return asked.empty() && variable ? variable : asked;
}

/* Checks the options that depend on the bundle, and gives the set of graphs. */
std::string checked_set(const Bundle &bundle, const OpenOptions &options) {
    const std::string found = ", found " + std::to_string(options.tile_px);
    if (options.tile_px && options.tile_px < LEAST_CORE_PX)
        refuse("tile_px must be at least 16, or 0" + found);
    if (options.tile_px && !bundle.receptive_radius_px)
        refuse(bundle.path + " is for whole images: it states no receptive radius, so that tiles "
                             "would not be exact; leave tile_px at 0");
    if (options.memory_bytes < 0) refuse("memory_bytes must be less than 2^63");
    return set_of(bundle, options.precision);
}

}  // namespace

Upscaler::Upscaler(const std::string &directory, const OpenOptions &options)
    : threads(thread_count(options.threads)), bundle(directory),
      precision(options.precision.empty() ? "fp32" : options.precision),
      graph_set(checked_set(bundle, options)), library(library_path(options.onnxruntime)),
      workers_(threads, options.executor, options.context),
      backbone_(bundle, graph_set, library, threads) {
    const Parts parts{bundle, backbone_, workers_, options.tile_px, options.memory_bytes};
    pipeline_ = bundle.is_plain ? plain_pipeline(parts) : pcsr_pipeline(parts);
}

double Upscaler::checked_scale(double scale) const {
    if (scale == 0) return bundle.trained_scale;
    if (!(scale >= 1 && scale <= LARGEST_SCALE))
        refuse("scale must be a number from 1 to 1000, or 0 for the trained one, found " +
               shown(scale));
    if (bundle.is_plain && scale != bundle.trained_scale)
        refuse(bundle.path + " is a plain network that upscales by " + shown(bundle.trained_scale) +
               " only, found scale " + shown(scale));
    return scale;
}

void Upscaler::refuse_huge(int64_t height, int64_t width, double scale) const {
    const double pixels = static_cast<double>(scaled(height, scale)) *
                          static_cast<double>(scaled(width, scale));
    if (pixels > static_cast<double>(MOST_PIXELS))
        refuse("scale " + shown(scale) + " makes " + std::to_string(scaled(width, scale)) + "x" +
               std::to_string(scaled(height, scale)) +
               " pixels of this image, more than the 2147483647 that one call takes; choose a "
               "smaller scale or upscale parts");
}

void Upscaler::check_routing(const Request &request) const {
    if (request.way == Way::fixed && request.k == 0) return;
    if (bundle.is_plain)
        refuse(bundle.path + " is a plain network without routing (k, adaptive, heavy_ratio); "
                             "export a PCSR checkpoint for that");
    if (bundle.upsamplers.size() == 1)
        refuse(bundle.path + " has one upsampler and nothing to route (k, adaptive, heavy_ratio); "
                             "export a checkpoint with two or more for that");
}

Routed Upscaler::run(const Task &task, Output &output, Times &times) {
    if (!task.input.has_alpha()) return pipeline_->run(task, output, times);
    std::optional<BledImage> bled;
    {
        Span span(times, ALPHA);
        check_values(task.input);
        bled.emplace(task.input);
    }
    const View &shown = bled->is_needed() ? bled->view() : task.input;
    Routed routed = pipeline_->run({shown, task.scale, task.request, task.cancellation}, output,
                                   times);
    Span span(times, ALPHA);
    run_alpha(task, output.like(), times);
    return routed;
}

/* Upscales alpha as a gray image of its own. */
void Upscaler::run_alpha(const Task &task, const View &whole, Times &times) {
    const View alpha = task.input.channel(task.input.channels - 1);
    const View target = whole.channel(whole.channels - 1);
    const double first = alpha.value(0, 0, 0);
    bool is_constant = true;
    for (int64_t y = 0; y < alpha.height && is_constant; y++)
        for (int64_t x = 0; x < alpha.width; x++) is_constant &= alpha.value(y, x, 0) == first;
    if (!is_constant) {
        Output output(target, nullptr, nullptr, nullptr, nullptr);
        Times own(times.upsamplers.size());
        pipeline_->run({alpha, task.scale, task.request, task.cancellation}, output, own);
        return;
    }
    for (int64_t y = 0; y < target.height; y++)
        for (int64_t x = 0; x < target.width; x++) target.set(y, x, 0, first);
}

}  // namespace pcsr
