#include "onnxruntime.h"

#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <utility>

#include "failure.h"

namespace pcsr {
namespace {

constexpr int OLDEST_MAJOR = 1, OLDEST_MINOR = 25; /* earlier ones follow external data */
const char *const LOADED_NAME = "libonnxruntime.so.1";
const char *const ADVICE =
    "; pass the path of libonnxruntime.so 1.25 or later, set PCSR_ONNXRUNTIME to it, or pip "
    "install onnxruntime and take onnxruntime/capi/libonnxruntime.so.*";

/* From 1.29 on it reports to its maker where nobody says no, and leaves a device id in the home
   folder. It reads this when the process makes its first environment. */
void silence() { setenv("ORT_DISABLE_TELEMETRY", "1", /* overwrite */ 0); }

void *opened(const std::string &path) {
    silence();
    constexpr int how = RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE; /* its threads may still end */
    if (path.empty())
        if (void *library = dlopen(LOADED_NAME, how | RTLD_NOLOAD)) return library;
    const char *name = path.empty() ? LOADED_NAME : path.c_str();
    if (void *library = dlopen(name, how)) return library;
    const char *reason = dlerror();
    throw Failure(PCSR_ERROR_BACKEND,
                  std::string("ONNX Runtime does not load: ") + (reason ? reason : name) + ADVICE);
}

/* What the system has too little of is no fault of the bundle or the image. */
bool is_shortage(const std::string &reason) {
    for (const char *sign : {"bad_alloc", "llocate", "PosixThread", "Too many open files"})
        if (reason.find(sign) != std::string::npos) return true;
    return false;
}

std::string first_line(const char *text) {
    std::string line(text ? text : "no reason given");
    return line.substr(0, line.find('\n'));
}

}  // namespace

OnnxRuntime::OnnxRuntime(const std::string &path) : library_(opened(path)) {
    using GetApiBase = const ort::ApiBase *(*)();
    auto get_base = reinterpret_cast<GetApiBase>(dlsym(library_, "OrtGetApiBase"));
    const ort::ApiBase *base = get_base ? get_base() : nullptr;
    std::string refusal;
    int major = 0, minor = 0;
    if (!base)
        refusal = "it has no OrtGetApiBase, so it is another library";
    else {
        version_ = base->get_version_string();
        bool is_read = std::sscanf(version_.c_str(), "%d.%d", &major, &minor) == 2;
        if (!is_read || std::pair(major, minor) < std::pair(OLDEST_MAJOR, OLDEST_MINOR))
            refusal = "version " + version_ + ", expected 1.25 or later";
        else if (!(table_ = base->get_api(ort::API_VERSION)))
            refusal = "version " + version_ + " has no C API of version 5";
    }
    if (refusal.empty()) return;
    dlclose(library_);
    std::string where = path.empty() ? LOADED_NAME : path;
    throw Failure(PCSR_ERROR_BACKEND,
                  "ONNX Runtime (" + where + ") is not taken: " + refusal + ADVICE);
}

OnnxRuntime::~OnnxRuntime() { dlclose(library_); }

std::string OnnxRuntime::taken(ort::Status *status) const {
    if (!status) return "";
    std::string reason = first_line(call<const char *>(ort::GET_ERROR_MESSAGE, status));
    call(ort::RELEASE_STATUS, status);
    return reason.empty() ? "no reason given" : reason;
}

void Cancellation::cancel() {
    std::lock_guard<std::mutex> guard(lock_);
    cancelled_ = true;
    for (auto [library, run] : runs_) library->attempt(ort::RUN_OPTIONS_SET_TERMINATE, run);
}

bool Cancellation::is_cancelled() {
    std::lock_guard<std::mutex> guard(lock_);
    return cancelled_;
}

void Cancellation::check() {
    if (is_cancelled()) throw Failure(PCSR_ERROR_CANCELLED, "the run was cancelled");
}

void Cancellation::add(const OnnxRuntime &library, ort::RunOptions *run) {
    std::lock_guard<std::mutex> guard(lock_);
    if (cancelled_) library.attempt(ort::RUN_OPTIONS_SET_TERMINATE, run);
    runs_.emplace(&library, run);
}

void Cancellation::remove(ort::RunOptions *run) {
    std::lock_guard<std::mutex> guard(lock_);
    for (auto found = runs_.begin(); found != runs_.end(); ++found)
        if (found->second == run) {
            runs_.erase(found);
            return;
        }
}

Tensor::~Tensor() {
    if (value_) library_->call(ort::RELEASE_VALUE, value_);
}

const float *Tensor::floats() const {
    void *data = nullptr;
    library_->attempt(ort::GET_TENSOR_MUTABLE_DATA, value_, &data);
    return static_cast<const float *>(data);
}

std::vector<int64_t> Tensor::shape() const {
    ort::TensorInfo *info = nullptr;
    if (!library_->attempt(ort::GET_TENSOR_TYPE_AND_SHAPE, value_, &info).empty()) return {};
    int type = 0;
    size_t count = 0;
    library_->attempt(ort::GET_TENSOR_ELEMENT_TYPE, info, &type);
    library_->attempt(ort::GET_DIMENSIONS_COUNT, info, &count);
    std::vector<int64_t> sides(type == ort::FLOAT32 ? count : 0);
    if (!sides.empty()) library_->attempt(ort::GET_DIMENSIONS, info, sides.data(), sides.size());
    library_->call(ort::RELEASE_TENSOR_INFO, info);
    return sides;
}

Session::Session(const OnnxRuntime &library, const std::vector<uint8_t> &model, std::string output,
                 int threads, const std::string &what)
    : library_(library), output_(std::move(output)) {
    ort::SessionOptions *options = nullptr;
    std::string reason;
    auto does = [&](ort::Entry entry, auto... arguments) {
        if (reason.empty()) reason = library_.attempt(entry, arguments...);
    };
    does(ort::CREATE_ENV, ort::FATAL, "pcsr", &env_);
    does(ort::CREATE_CPU_MEMORY_INFO, ort::ARENA_ALLOCATOR, ort::DEFAULT_MEMORY, &memory_);
    does(ort::CREATE_SESSION_OPTIONS, &options);
    does(ort::SET_INTRA_OP_NUM_THREADS, options, threads);
    does(ort::SET_SESSION_LOG_SEVERITY_LEVEL, options, ort::FATAL);
    does(ort::DISABLE_MEM_PATTERN, options);
    /* As in runtime/onnxruntime_session.py, which says why. */
    const char *const settings[][2] = {{"session.load_model_format", "ONNX"},
                                       {"session.force_spinning_stop", "1"},
                                       {"session.dynamic_block_base", "8"},
                                       {"session.disable_quant_qdq", "1"}};
    for (auto [key, value] : settings) does(ort::ADD_SESSION_CONFIG_ENTRY, options, key, value);
    if (reason.empty()) {
        reason = library_.attempt(ort::CREATE_SESSION_FROM_ARRAY, env_,
                                  static_cast<const void *>(model.data()), model.size(), options,
                                  &session_);
        if (!reason.empty()) reason = what + ": ONNX Runtime refuses the graph: " + reason;
    } else
        reason = "ONNX Runtime does not start: " + reason;
    if (options) library_.call(ort::RELEASE_SESSION_OPTIONS, options);
    if (reason.empty()) return;
    pcsr_status status = env_ && memory_ && options ? PCSR_ERROR_BUNDLE : PCSR_ERROR_BACKEND;
    if (is_shortage(reason)) status = PCSR_ERROR_MEMORY;
    close();
    throw Failure(status, reason);
}

Session::~Session() { close(); }

void Session::close() {
    if (session_) library_.call(ort::RELEASE_SESSION, session_);
    if (memory_) library_.call(ort::RELEASE_MEMORY_INFO, memory_);
    if (env_) library_.call(ort::RELEASE_ENV, env_);
}

Tensor Session::run(const float *image, int64_t height, int64_t width,
                    Cancellation *cancellation) const {
    const int64_t shape[] = {1, 3, height, width};
    const size_t bytes = static_cast<size_t>(3 * height * width) * sizeof(float);
    ort::OrtValue *value = nullptr, *result = nullptr;
    ort::RunOptions *options = nullptr;
    std::string reason = library_.attempt(ort::CREATE_TENSOR_WITH_DATA,
                                          static_cast<const ort::MemoryInfo *>(memory_),
                                          const_cast<float *>(image), bytes, shape, size_t{4},
                                          ort::FLOAT32, &value);
    if (reason.empty()) reason = library_.attempt(ort::CREATE_RUN_OPTIONS, &options);
    if (reason.empty())
        reason =
            library_.attempt(ort::RUN_OPTIONS_SET_LOG_SEVERITY_LEVEL, options, ort::FATAL);
    if (reason.empty()) {
        const char *const inputs[] = {"image"}, *const outputs[] = {output_.c_str()};
        if (cancellation) cancellation->add(library_, options);
        reason = library_.attempt(ort::RUN, session_,
                                  static_cast<const ort::RunOptions *>(options), inputs, &value,
                                  size_t{1}, outputs, size_t{1}, &result);
        if (cancellation) cancellation->remove(options);
    }
    if (options) library_.call(ort::RELEASE_RUN_OPTIONS, options);
    if (value) library_.call(ort::RELEASE_VALUE, value);
    if (reason.empty()) return {library_, result};
    if (result) library_.call(ort::RELEASE_VALUE, result);
    if (cancellation) cancellation->check();
    throw Failure(is_shortage(reason) ? PCSR_ERROR_MEMORY : PCSR_ERROR_IMAGE,
                  "ONNX Runtime fails in the backbone's graph, out of memory or unfit for this "
                  "image: " + reason + "; try a smaller image or scale");
}

}  // namespace pcsr
