/* As much of ONNX Runtime's C API as is used here, declared from its public documentation. The
   table of functions only ever grows at its end, so an entry keeps its place in all versions. */
#pragma once
#include <cstddef>
#include <cstdint>

namespace pcsr::ort {

struct Env;
struct Status;
struct Session;
struct SessionOptions;
struct RunOptions;
struct MemoryInfo;
struct OrtValue;
struct TensorInfo;

using Function = void (*)();

struct ApiBase {
    const Function *(*get_api)(uint32_t version);
    const char *(*get_version_string)();
};

/* Where an entry stands in the table. */
enum Entry : size_t {
    CREATE_ENV = 3,
    GET_ERROR_MESSAGE = 2,
    CREATE_SESSION_FROM_ARRAY = 8,
    RUN = 9,
    CREATE_SESSION_OPTIONS = 10,
    DISABLE_MEM_PATTERN = 17,
    SET_SESSION_LOG_SEVERITY_LEVEL = 22,
    SET_INTRA_OP_NUM_THREADS = 24,
    CREATE_RUN_OPTIONS = 39,
    RUN_OPTIONS_SET_LOG_SEVERITY_LEVEL = 41,
    RUN_OPTIONS_SET_TERMINATE = 46,
    CREATE_TENSOR_WITH_DATA = 49,
    GET_TENSOR_MUTABLE_DATA = 51,
    GET_TENSOR_ELEMENT_TYPE = 60,
    GET_DIMENSIONS_COUNT = 61,
    GET_DIMENSIONS = 62,
    GET_TENSOR_TYPE_AND_SHAPE = 65,
    CREATE_CPU_MEMORY_INFO = 69,
    RELEASE_ENV = 92,
    RELEASE_STATUS = 93,
    RELEASE_MEMORY_INFO = 94,
    RELEASE_SESSION = 95,
    RELEASE_VALUE = 96,
    RELEASE_RUN_OPTIONS = 97,
    RELEASE_TENSOR_INFO = 99,
    RELEASE_SESSION_OPTIONS = 100,
    ADD_SESSION_CONFIG_ENTRY = 130,
};

constexpr uint32_t API_VERSION = 5; /* the lowest whose table reaches the last of these entries */
constexpr int FATAL = 4;           /* level of its log */
constexpr int FLOAT32 = 1;         /* type of elements */
constexpr int DEVICE_ALLOCATOR = 0, ARENA_ALLOCATOR = 1, DEFAULT_MEMORY = 0;

}  // namespace pcsr::ort
