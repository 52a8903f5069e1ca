/* The surface in C: checks what the caller hands in, and lets no exception out. */
#include <cmath>
#include <cstring>
#include <map>
#include <new>
#include <string>

#include "failure.h"
#include "grid.h"
#include "limits.h"
#include "compiled_passes.h"
#include "upscaler.h"

struct pcsr_cancellation : pcsr::Cancellation {};

struct pcsr_upscaler {
    uint64_t number; /* never used again, unlike an address */
    pcsr::Upscaler upscaler;
};

namespace pcsr {
namespace {

constexpr double LARGEST_K = 1e6;
constexpr size_t KEPT_MESSAGES = 64;
constexpr size_t LARGEST_STRUCTURE = 8192; /* a size that was not set is hardly less */

/* What failed last on this thread, by the number of the handle; 0 is the last of all. */
std::map<uint64_t, std::string> &messages() {
    thread_local std::map<uint64_t, std::string> kept;
    return kept;
}

pcsr_status failed(uint64_t handle, pcsr_status status, const char *message) noexcept {
    try {
        auto &kept = messages();
        if (kept.size() > KEPT_MESSAGES) kept.clear();
        kept[0] = message;
        if (handle) kept[handle] = message;
    } catch (const std::bad_alloc &) { /* the status says enough */
    }
    return status;
}

/* Runs a call of the surface, and turns what it throws into a status. */
template <typename Call>
pcsr_status guarded(const pcsr_upscaler *upscaler, const Call &call) noexcept {
    const uint64_t handle = upscaler ? upscaler->number : 0;
    try {
        call();
        return PCSR_OK;
    } catch (const Failure &failure) {
        return failed(handle, failure.status(), failure.what());
    } catch (const std::bad_alloc &) {
        return failed(handle, PCSR_ERROR_MEMORY, "out of memory; try a smaller image or scale");
    } catch (const std::exception &error) {
        return failed(handle, PCSR_ERROR_INTERNAL, error.what());
    } catch (...) {
        return failed(handle, PCSR_ERROR_INTERNAL, "a fault of the library");
    }
}

[[noreturn]] void refuse(const std::string &what) { throw Failure(PCSR_ERROR_ARGUMENT, what); }

void require(const void *pointer, const char *name) {
    if (!pointer) refuse(std::string(name) + " must not be NULL");
}

/* Checks the size of the caller's structure; one of another version may be smaller or larger. */
template <typename T>
size_t checked_size(const T *given, const char *name) {
    const size_t size = given->struct_size;
    if (size < sizeof size || size > LARGEST_STRUCTURE)
        refuse(std::string(name) + "->struct_size must be sizeof *" + name + ", " +
               std::to_string(sizeof *given) + ", found " + std::to_string(size));
    return size;
}

/* The caller's structure in the size of this version: what an older one lacks is zero, and what a
   newer one has besides must be. */
template <typename T>
T taken(const T *given, const char *name) {
    T own = {};
    if (!given) return own;
    const size_t size = checked_size(given, name);
    const auto *bytes = reinterpret_cast<const unsigned char *>(given);
    for (size_t i = sizeof own; i < size; i++)
        if (bytes[i]) refuse(std::string(name) + " has fields that this version does not know");
    std::memcpy(&own, given, std::min(size, sizeof own));
    return own;
}

/* Fills in as much of the caller's structure as it has. */
template <typename T>
void give(const T &own, T *to) {
    const size_t size = to->struct_size;
    std::memcpy(to, &own, std::min(size, sizeof own));
    to->struct_size = size;
}

Request request_of(const pcsr_run_options &options, bool refines) {
    Request request;
    if (!(std::fabs(options.k) <= LARGEST_K))
        refuse("k must be a number within 1e6 of 0; use 0 for the classifier's own choice");
    if (!(options.heavy_ratio >= 0 && options.heavy_ratio <= 1))
        refuse("heavy_ratio must lie in [0, 1]");
    if (options.routing < PCSR_ROUTE_K || options.routing > PCSR_ROUTE_HEAVY_RATIO)
        refuse("routing must be one of PCSR_ROUTE_K, PCSR_ROUTE_ADAPTIVE, "
               "PCSR_ROUTE_HEAVY_RATIO, found " + std::to_string(options.routing));
    if (options.refine < PCSR_REFINE_AS_EXPORTED || options.refine > PCSR_REFINE_OFF)
        refuse("refine must be one of PCSR_REFINE_AS_EXPORTED, PCSR_REFINE_ON, PCSR_REFINE_OFF, "
               "found " + std::to_string(options.refine));
    if (options.routing != PCSR_ROUTE_K && options.k != 0)
        refuse("k is not used with PCSR_ROUTE_ADAPTIVE or PCSR_ROUTE_HEAVY_RATIO; leave it at 0");
    if (options.routing != PCSR_ROUTE_HEAVY_RATIO && options.heavy_ratio != 0)
        refuse("heavy_ratio needs PCSR_ROUTE_HEAVY_RATIO; set routing to it");
    request.way = static_cast<Way>(options.routing);
    request.k = options.k;
    request.heavy_ratio = options.heavy_ratio;
    request.is_refined =
        options.refine == PCSR_REFINE_AS_EXPORTED ? refines : options.refine == PCSR_REFINE_ON;
    return request;
}

/* Where the rows go: the caller's image, or else rows of the input's layout. */
View target_of(const pcsr_image *output, const View &input, double scale, bool takes_rows) {
    const int64_t height = scaled(input.height, scale), width = scaled(input.width, scale);
    if (!output) {
        if (!takes_rows) refuse("output must not be NULL where no on_rows takes the rows");
        if (input.has_alpha()) refuse("on_rows takes no image with alpha; pass an output");
        OwnRows none(input, width, 0);
        View view = none.view();
        view.data = nullptr, view.height = height;
        return view;
    }
    View view = viewed(taken(output, "output"), "output");
    auto same = [](int64_t expected, int64_t found, const char *what) {
        if (found != expected)
            refuse(std::string("output->") + what + " must be " + std::to_string(expected) +
                   ", found " + std::to_string(found));
    };
    if (view.data == input.data) refuse("input and output must not overlap; they are one memory");
    same(width, view.width, "width");
    same(height, view.height, "height");
    same(input.channels, view.channels, "channels, as of the input,");
    same(input.format, view.format, "format, as of the input,");
    if (takes_rows && input.has_alpha())
        refuse("on_rows takes no image with alpha; leave it NULL");
    return view;
}

void fill(const Times &times, const Routed &routed, double total, const View &target,
          pcsr_statistics &statistics) {
    auto ms = [&](Stage stage) { return 1e3 * times.stages[static_cast<size_t>(stage)]; };
    statistics.width = static_cast<int32_t>(target.width);
    statistics.height = static_cast<int32_t>(target.height);
    statistics.upsamplers = static_cast<int32_t>(routed.counts.size());
    statistics.threshold = routed.threshold;
    statistics.total_ms = 1e3 * total;
    statistics.prepare_ms = ms(PREPARE) + 1e3 * (total - times.total());
    statistics.backbone_ms = ms(BACKBONE);
    statistics.classifier_ms = ms(CLASSIFIER);
    statistics.routing_ms = ms(ROUTING);
    statistics.compose_ms = ms(COMPOSE);
    statistics.refinement_ms = ms(REFINEMENT);
    statistics.convert_ms = ms(CONVERT);
    statistics.alpha_ms = ms(ALPHA);
    statistics.rows_ms = ms(ROWS);
    for (size_t j = 0; j < routed.counts.size() && j < PCSR_MOST_UPSAMPLERS; j++) {
        statistics.pixels[j] = routed.counts[j];
        statistics.upsampler_ms[j] = 1e3 * times.upsamplers[j];
    }
}

void run(Upscaler &upscaler, const pcsr_image *input, const pcsr_image *output,
         const pcsr_run_options &options, pcsr_statistics *statistics) {
    const Clock::time_point begin = Clock::now();
    require(input, "input");
    if (statistics) checked_size(statistics, "statistics");
    const double scale = upscaler.checked_scale(options.scale);
    const Request request = request_of(options, upscaler.bundle.refine);
    upscaler.check_routing(request);
    const View view = viewed(taken(input, "input"), "input");
    upscaler.refuse_huge(view.height, view.width, scale);
    const View target = target_of(output, view, scale, options.on_rows);
    if (upscaler.bundle.is_plain && (options.difficulty || options.assignment))
        refuse("a plain network has no difficulty and no assignment; leave them NULL");
    if (options.cancellation) options.cancellation->check();
    Output out(target, options.on_rows, options.on_rows_context, options.difficulty,
               options.assignment);
    Times times(upscaler.bundle.upsamplers.size());
    Routed routed =
        upscaler.run({view, scale, request, options.cancellation}, out, times);
    if (!statistics) return;
    pcsr_statistics own = {};
    fill(times, routed, seconds_since(begin), target, own);
    give(own, statistics);
}

uint64_t next_number() {
    static std::atomic<uint64_t> last{0};
    return ++last;
}

}  // namespace
}  // namespace pcsr

extern "C" {

#define PCSR_TEXT_OF(number) #number
#define PCSR_TEXT(number) PCSR_TEXT_OF(number)

const char *pcsr_version(void) {
    return PCSR_TEXT(PCSR_VERSION_MAJOR) "." PCSR_TEXT(PCSR_VERSION_MINOR) "." PCSR_TEXT(
        PCSR_VERSION_PATCH);
}

const char *pcsr_status_text(pcsr_status status) {
    switch (status) {
    case PCSR_OK: return "done";
    case PCSR_ERROR_ARGUMENT: return "wrong argument";
    case PCSR_ERROR_BUNDLE: return "no bundle, or a damaged one";
    case PCSR_ERROR_BACKEND: return "ONNX Runtime is not there";
    case PCSR_ERROR_IMAGE: return "not an image for this network";
    case PCSR_ERROR_MEMORY: return "out of memory";
    case PCSR_ERROR_CANCELLED: return "cancelled";
    case PCSR_ERROR_INTERNAL: return "a fault of the library";
    default: return "unknown status";
    }
}

const char *pcsr_message(const pcsr_upscaler *upscaler) {
    try {
        const auto &kept = pcsr::messages();
        auto found = kept.find(upscaler ? upscaler->number : 0);
        return found == kept.end() ? "" : found->second.c_str();
    } catch (...) {
        return "";
    }
}

pcsr_status pcsr_open(const char *directory, const pcsr_open_options *options,
                      pcsr_upscaler **upscaler) {
    return pcsr::guarded(nullptr, [&] {
        pcsr::require(upscaler, "upscaler");
        *upscaler = nullptr;
        pcsr::require(directory, "directory");
        const pcsr_open_options own = pcsr::taken(options, "options");
        const pcsr::OpenOptions how{own.precision ? own.precision : "",
                                    own.onnxruntime ? own.onnxruntime : "",
                                    own.threads,
                                    own.tile_px,
                                    static_cast<int64_t>(own.memory_bytes),
                                    own.parallel_for,
                                    own.parallel_context};
        *upscaler = new pcsr_upscaler{pcsr::next_number(), {directory, how}};
    });
}

void pcsr_close(pcsr_upscaler *upscaler) { delete upscaler; }

pcsr_status pcsr_get_info(const pcsr_upscaler *upscaler, pcsr_info *info) {
    return pcsr::guarded(upscaler, [&] {
        pcsr::require(upscaler, "upscaler");
        pcsr::require(info, "info");
        pcsr::checked_size(info, "info");
        pcsr_info own = {};
        const pcsr::Upscaler &open = upscaler->upscaler;
        own.scale = open.bundle.trained_scale;
        own.upsamplers = static_cast<int32_t>(open.bundle.upsamplers.size());
        own.receptive_radius_px = open.bundle.receptive_radius_px.value_or(-1);
        own.refine = open.bundle.refine;
        own.threads = open.threads;
        own.precision = open.precision.c_str();
        own.instructions = pcsr_instructions();
        own.onnxruntime = open.library.version().c_str();
        pcsr::give(own, info);
    });
}

pcsr_status pcsr_output_size(const pcsr_upscaler *upscaler, int32_t width, int32_t height,
                             double scale, int32_t *out_width, int32_t *out_height) {
    return pcsr::guarded(upscaler, [&] {
        pcsr::require(upscaler, "upscaler");
        pcsr::require(out_width, "out_width");
        pcsr::require(out_height, "out_height");
        if (width < 1 || height < 1) pcsr::refuse("width and height must be at least 1");
        scale = upscaler->upscaler.checked_scale(scale);
        upscaler->upscaler.refuse_huge(height, width, scale);
        *out_width = static_cast<int32_t>(pcsr::scaled(width, scale));
        *out_height = static_cast<int32_t>(pcsr::scaled(height, scale));
    });
}

pcsr_status pcsr_cancellation_create(pcsr_cancellation **cancellation) {
    return pcsr::guarded(nullptr, [&] {
        pcsr::require(cancellation, "cancellation");
        *cancellation = new pcsr_cancellation;
    });
}

void pcsr_cancel(pcsr_cancellation *cancellation) {
    if (cancellation) pcsr::guarded(nullptr, [&] { cancellation->cancel(); });
}

void pcsr_cancellation_destroy(pcsr_cancellation *cancellation) { delete cancellation; }

pcsr_status pcsr_run(pcsr_upscaler *upscaler, const pcsr_image *input, const pcsr_image *output,
                     const pcsr_run_options *options, pcsr_statistics *statistics) {
    return pcsr::guarded(upscaler, [&] {
        pcsr::require(upscaler, "upscaler");
        pcsr::run(upscaler->upscaler, input, output, pcsr::taken(options, "options"), statistics);
    });
}

}  // extern "C"
