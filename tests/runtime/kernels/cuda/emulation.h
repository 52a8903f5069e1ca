// Plays a GPU for one CUDA kernel on the CPU: each CUDA thread is a fiber of one thread of the
// operating system, blocks run one after the other, and what a GPU leaves undefined ends the program
// with one line: lanes that diverge, barriers that not all threads reach, races in shared memory,
// copies that were not waited for, addresses outside of the arrays.
//
// A kernel file includes nothing. The names that it uses stand at the end of this file; on a GPU
// they come from runtime/kernels/cuda/prelude.cuh.
//
// Races are seen between warps, in accesses through ldmatrix_x4, shared_load_u32, shared_store_u32
// and copy_async_16, whatever the order in which the fibers run: an access of one warp and a write
// of another need __syncthreads() between them. Lanes of one warp count as ordered.
#pragma once

#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

struct uint3 { unsigned x, y, z; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(8) float2 { float x, y; };
typedef unsigned short half_bits;

inline uint3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulation {

constexpr int LANES = 32;
constexpr size_t STACK = 256 * 1024, GUARD = 4096;  // bytes

[[noreturn]] __attribute__((format(printf, 1, 2))) inline void fail(const char* format, ...) {
    std::fprintf(stderr, "emulation: block (%u, %u, %u), thread %u: ", blockIdx.x, blockIdx.y,
                 blockIdx.z, threadIdx.x);
    va_list values;
    va_start(values, format);
    std::vfprintf(stderr, format, values);
    va_end(values);
    std::fputc('\n', stderr);
    std::_Exit(1);
}

// ---- memory ----

struct Buffer { char* base; size_t bytes; };
inline std::vector<Buffer> buffers;  // the arrays of the launch

inline void check_global(const void* address, size_t bytes, const char* what, int line) {
    const auto at = reinterpret_cast<uintptr_t>(address);
    if (at % bytes) fail("%s at line %d: global address not a multiple of %zu", what, line, bytes);
    for (size_t i = 0; i < buffers.size(); ++i) {
        const auto base = reinterpret_cast<uintptr_t>(buffers[i].base);
        if (at >= base && at + bytes <= base + buffers[i].bytes) return;
    }
    for (size_t i = 0; i < buffers.size(); ++i) {  // the nearest array, for the message
        const auto base = reinterpret_cast<uintptr_t>(buffers[i].base);
        const auto offset = static_cast<long long>(at - base), size = (long long)buffers[i].bytes;
        if (offset > -size - 4096 && offset < 2 * size + 4096)
            fail("%s at line %d: byte %lld of array %zu, which has %lld bytes", what, line, offset,
                 i, size);
    }
    fail("%s at line %d: global address outside of all arrays", what, line);
}

// What happened last to four bytes of shared memory. An epoch ends at __syncthreads().
struct Word {
    unsigned write_epoch = 0, read_epoch = 0, readers = 0;  // readers: a bit for each warp
    int writer = -1, write_line = 0, read_line = 0;          // writer: a warp
    int copier = -1;                                         // thread with a copy in flight
};

struct Shared {
    unsigned char* base = nullptr;
    size_t bytes = 0;
    unsigned epoch = 1;
    std::vector<Word> words;

    void allocate(size_t size) {
        void* memory = nullptr;
        if (posix_memalign(&memory, 1024, std::max<size_t>(size, 1))) std::abort();
        base = static_cast<unsigned char*>(memory);
        bytes = size;
    }
    void poison() {
        std::memset(base, 0xFF, bytes);  // NaN as float and as half
        words.assign((bytes + 3) / 4, Word());
        epoch = 1;
    }
    size_t offset(const void* address, size_t size, const char* what, int line) const {
        const auto at = reinterpret_cast<uintptr_t>(address), first = (uintptr_t)base;
        if (at < first || at + size > first + bytes)
            fail("%s at line %d: byte %lld of shared memory, which has %zu", what, line,
                 static_cast<long long>(at - first), bytes);
        if (at % size)
            fail("%s at line %d: shared byte %zu is not a multiple of %zu", what, line,
                 static_cast<size_t>(at - first), size);
        return at - first;
    }
    Word& word(size_t offset, const char* what, int line) {
        Word& found = words[offset / 4];
        if (found.copier >= 0)
            fail("%s at line %d: shared byte %zu has a copy in flight, issued at line %d by thread "
                 "%d (copy_async_wait() missing?)", what, line, offset, found.write_line,
                 found.copier);
        return found;
    }
    void read(const void* address, size_t size, int warp, const char* what, int line) {
        const size_t start = offset(address, size, what, line);
        for (size_t at = start; at < start + size; at += 4) {
            Word& w = word(at, what, line);
            if (w.write_epoch == epoch && w.writer != warp)
                fail("%s at line %d: race: shared byte %zu is read by warp %d and written at line "
                     "%d by warp %d, no __syncthreads() between", what, line, at, warp,
                     w.write_line, w.writer);
            if (w.read_epoch != epoch) w.readers = 0;
            w.read_epoch = epoch;
            w.readers |= 1u << warp;
            w.read_line = line;
        }
    }
    void write(const void* address, size_t size, int warp, const char* what, int line) {
        const size_t start = offset(address, size, what, line);
        for (size_t at = start; at < start + size; at += 4) {
            Word& w = word(at, what, line);
            if (w.write_epoch == epoch && w.writer != warp)
                fail("%s at line %d: race: shared byte %zu is written by warp %d and written at "
                     "line %d by warp %d, no __syncthreads() between", what, line, at, warp,
                     w.write_line, w.writer);
            if (w.read_epoch == epoch && (w.readers & ~(1u << warp)))
                fail("%s at line %d: race: shared byte %zu is written by warp %d and read at line "
                     "%d by another warp, no __syncthreads() between", what, line, at, warp,
                     w.read_line);
            w.write_epoch = epoch;
            w.writer = warp;
            w.write_line = line;
        }
    }
};
inline Shared shared;

// ---- threads ----

struct Copy { void* to; const void* from; bool valid; int line; };

struct Thread {
    ucontext_t context;
    char* stack = nullptr;
    void* sanitizer = nullptr;
    const char* at = nullptr;  // what it waits for; null: it runs or can run
    int line = 0;
    std::vector<Copy> copies;  // in flight
    void* result = nullptr;    // of a warp's instruction, with its operands
    const void* operand = nullptr;
    unsigned b0 = 0, b1 = 0;
};

inline std::vector<Thread> threads;
inline std::deque<int> ready;
inline int current = -1, waiting = 0, ended = 0;  // waiting: at the barrier
inline std::vector<int> arrived;                  // by warp, at the instruction
inline ucontext_t host;
inline void* host_sanitizer = nullptr;
inline const void* host_stack = nullptr;
inline size_t host_stack_bytes = 0;
inline std::function<void()> body;
constexpr const char* BARRIER = "__syncthreads()";
constexpr const char* END = "the end of the kernel";

inline int warp_of(int thread) { return thread / LANES; }

[[noreturn]] inline void report_stuck() {
    for (size_t i = 0; i < threads.size(); ++i) {
        const Thread& a = threads[i];
        if (a.at == END) continue;
        for (size_t j = 0; j < threads.size(); ++j) {
            const Thread& b = threads[j];
            if (a.at != BARRIER && warp_of((int)i) != warp_of((int)j)) continue;
            if (b.at == a.at && b.line == a.line) continue;
            fail("diverged: thread %zu waits at %s at line %d, thread %zu is at %s at line %d", i,
                 a.at, a.line, j, b.at, b.line);
        }
    }
    fail("no thread can run");
}

inline void arrive_in(int thread, void* sanitizer, bool from_host) {
    (void)from_host;
    (void)sanitizer;
#if defined(__SANITIZE_ADDRESS__)
    if (from_host)
        __sanitizer_finish_switch_fiber(sanitizer, &host_stack, &host_stack_bytes);
    else
        __sanitizer_finish_switch_fiber(sanitizer, nullptr, nullptr);
#endif
    current = thread;
    if (thread >= 0) threadIdx = {static_cast<unsigned>(thread), 0, 0};
}

inline int source = -1;  // the fiber that the last switch came from; -1: the host

inline void switch_to(int thread) {
    const int here = current;
    ucontext_t* from = here < 0 ? &host : &threads[here].context;
    ucontext_t* to = thread < 0 ? &host : &threads[thread].context;
    void** sanitizer = here < 0 ? &host_sanitizer : &threads[here].sanitizer;
#if defined(__SANITIZE_ADDRESS__)
    if (thread < 0)
        __sanitizer_start_switch_fiber(sanitizer, host_stack, host_stack_bytes);
    else
        __sanitizer_start_switch_fiber(sanitizer, threads[thread].stack, STACK);
#endif
    source = here;
    current = thread;
    swapcontext(from, to);
    arrive_in(here, *sanitizer, source < 0);
}

// Gives the processor away until this thread is ready again.
inline void suspend() {
    if (!ready.empty()) {
        const int next = ready.front();
        ready.pop_front();
        if (next != current) switch_to(next);
    } else if (ended == static_cast<int>(threads.size())) {
        switch_to(-1);
    } else {
        report_stuck();
    }
}

inline void wake(int thread) {
    threads[thread].at = nullptr;
    if (thread != current) ready.push_back(thread);
}

inline void enter() {
    const int me = current;
    arrive_in(me, nullptr, source < 0);
    for (;;) {
        body();
        Thread& self = threads[me];
        if (!self.copies.empty())
            fail("copy_async_16 at line %d: the kernel ends without copy_async_wait()",
                 self.copies[0].line);
        self.at = END;
        ++ended;
        suspend();
    }
}

inline void barrier(int line) {
    Thread& self = threads[current];
    self.at = BARRIER;
    self.line = line;
    if (++waiting < static_cast<int>(threads.size())) return suspend();
    for (size_t i = 0; i < threads.size(); ++i)
        if (threads[i].line != line) report_stuck();
    waiting = 0;
    ++shared.epoch;
    for (size_t i = 0; i < threads.size(); ++i) wake(static_cast<int>(i));
}

// Waits for all lanes of the warp at the same instruction; the last one does `work(first thread)`.
template <class Work>
inline void together(const char* name, int line, Work work) {
    const int warp = warp_of(current), first = warp * LANES;
    threads[current].at = name;
    threads[current].line = line;
    if (++arrived[warp] < LANES) return suspend();
    for (int i = first; i < first + LANES; ++i)
        if (threads[i].at != name || threads[i].line != line) report_stuck();
    work(first);
    arrived[warp] = 0;
    for (int i = first; i < first + LANES; ++i) wake(i);
}

// ---- numbers: halves, or bfloat16 with -DBFLOAT16 ----

inline const float* half_values() {
    static const std::vector<float> table = [] {
        std::vector<float> values(65536);
        for (unsigned bits = 0; bits < 65536; ++bits) {
#ifdef BFLOAT16
            const uint32_t wide = bits << 16;
            std::memcpy(&values[bits], &wide, 4);
            continue;
#endif
            const unsigned exponent = bits >> 10 & 31, fraction = bits & 1023;
            const float size = exponent == 31 ? (fraction ? NAN : INFINITY)
                               : exponent     ? std::ldexp(1024.0f + fraction, (int)exponent - 25)
                                              : std::ldexp((float)fraction, -24);
            values[bits] = std::copysign(size, bits >> 15 ? -1.0f : 1.0f);
        }
        return values;
    }();
    return table.data();
}

inline half_bits half_of(float value) {  // to the nearest, ties to even
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    const uint32_t sign = bits >> 16 & 0x8000;
    bits &= 0x7FFFFFFF;
    if (bits > 0x7F800000) return 0x7FFF;
#ifdef BFLOAT16
    return static_cast<half_bits>(sign | (bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
#endif
    if (bits >= 0x477FF000) return static_cast<half_bits>(sign | 0x7C00);
    if (bits < 0x38800000)
        return static_cast<half_bits>(sign | (uint32_t)std::nearbyint(std::fabs(value) * 0x1p24f));
    return static_cast<half_bits>(sign | ((bits - 0x38000000 + 0xFFF + (bits >> 13 & 1)) >> 13));
}

inline void multiply(int first) {  // d (16 x 8) += a (16 x 16) b (16 x 8)
    float a[16][16], b[8][16];
    const float* value = half_values();
    const auto put = [value](float* to, unsigned pair) {
        to[0] = value[pair & 0xFFFF];
        to[1] = value[pair >> 16];
    };
    for (int lane = 0; lane < LANES; ++lane) {
        const Thread& thread = threads[first + lane];
        const auto* words = static_cast<const unsigned*>(thread.operand);
        const int g = lane / 4, t = lane % 4;
        for (int i = 0; i < 4; ++i) put(&a[g + i % 2 * 8][2 * t + i / 2 * 8], words[i]);
        put(&b[g][2 * t], thread.b0);
        put(&b[g][2 * t + 8], thread.b1);
    }
    for (int lane = 0; lane < LANES; ++lane) {
        auto* d = static_cast<float*>(threads[first + lane].result);
        for (int i = 0; i < 4; ++i) {
            const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
            for (int k = 0; k < 16; ++k) d[i] += a[row][k] * b[column][k];
        }
    }
}

inline void load_matrices(int first, int line) {
    const unsigned char* rows[LANES];
    for (int lane = 0; lane < LANES; ++lane) {
        rows[lane] = static_cast<const unsigned char*>(threads[first + lane].operand);
        shared.read(rows[lane], 16, warp_of(first), "ldmatrix_x4", line);
    }
    for (int lane = 0; lane < LANES; ++lane)
        for (int i = 0; i < 4; ++i)
            std::memcpy(static_cast<unsigned*>(threads[first + lane].result) + i,
                        rows[i * 8 + lane / 4] + lane % 4 * 4, 4);
}

// ---- launch ----

inline void run_block() {
    shared.poison();
    ready.clear();
    ended = waiting = 0;
    std::fill(arrived.begin(), arrived.end(), 0);
    for (size_t i = 0; i < threads.size(); ++i) {
        threads[i].at = nullptr;
        ready.push_back(static_cast<int>(i));
    }
    suspend();
}

inline void start(int count) {
    if (count % LANES || count <= 0 || count > 1024) {
        std::fprintf(stderr, "emulation: %d threads: expected a multiple of 32 up to 1024\n", count);
        std::_Exit(1);
    }
    blockDim = {static_cast<unsigned>(count), 1, 1};
    threads.resize(count);
    arrived.resize(count / LANES);
    for (Thread& thread : threads) {
        void* memory = mmap(nullptr, STACK + GUARD, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED || mprotect(memory, GUARD, PROT_NONE)) std::abort();
        thread.stack = static_cast<char*>(memory) + GUARD;
        getcontext(&thread.context);
        thread.context.uc_stack.ss_sp = thread.stack;
        thread.context.uc_stack.ss_size = STACK;
        thread.context.uc_link = nullptr;
        makecontext(&thread.context, enter, 0);
    }
}

// An argument on the command line: a number, "null", or PATH:BYTES, a file that is read and, where
// the kernel's parameter is not const, written.
template <class T>
T argument(const char* text, std::vector<std::pair<const char*, Buffer>>& outputs) {
    if constexpr (std::is_pointer_v<T>) {
        if (!std::strcmp(text, "null")) return nullptr;
        FILE* file = std::fopen(text, "rb");
        if (!file) fail("cannot read %s", text);
        std::fseek(file, 0, SEEK_END);
        const size_t bytes = static_cast<size_t>(std::ftell(file));
        std::rewind(file);
        void* memory = nullptr;
        if (posix_memalign(&memory, 256, std::max<size_t>(bytes, 1))) std::abort();
        if (std::fread(memory, 1, bytes, file) != bytes) fail("cannot read %s", text);
        std::fclose(file);
        buffers.push_back({static_cast<char*>(memory), bytes});
        if (!std::is_const_v<std::remove_pointer_t<T>>) outputs.push_back({text, buffers.back()});
        return static_cast<T>(memory);
    } else if constexpr (std::is_floating_point_v<T>) {
        return static_cast<T>(std::strtod(text, nullptr));
    } else {
        return static_cast<T>(std::strtoll(text, nullptr, 10));
    }
}

// argv: grid x, y, z, threads of a block, bytes of shared memory, the kernel's arguments.
template <class... P, size_t... I>
int launch(void (*kernel)(P...), int argc, char** argv, std::index_sequence<I...>) {
    if (argc != 6 + static_cast<int>(sizeof...(P))) {
        std::fprintf(stderr, "emulation: the kernel takes %zu arguments, found %d\n", sizeof...(P),
                     argc - 6);
        return 1;
    }
    const auto number = [argv](int i) { return std::strtoul(argv[i], nullptr, 10); };
    std::vector<std::pair<const char*, Buffer>> outputs;
    const std::tuple<P...> values{argument<P>(argv[6 + I], outputs)...};
    body = [&] { std::apply(kernel, values); };
    gridDim = {(unsigned)number(1), (unsigned)number(2), (unsigned)number(3)};
    start(static_cast<int>(number(4)));
    shared.allocate(number(5));
    for (blockIdx.z = 0; blockIdx.z < gridDim.z; ++blockIdx.z)
        for (blockIdx.y = 0; blockIdx.y < gridDim.y; ++blockIdx.y)
            for (blockIdx.x = 0; blockIdx.x < gridDim.x; ++blockIdx.x) run_block();
    for (auto& [path, buffer] : outputs) {
        FILE* file = std::fopen(path, "wb");
        const bool written = file && std::fwrite(buffer.base, 1, buffer.bytes, file) == buffer.bytes;
        if (!written || std::fclose(file)) fail("cannot write %s", path);
    }
    std::fflush(nullptr);
    std::_Exit(0);  // the fibers never end
}

template <class... P>
int main(void (*kernel)(P...), int argc, char** argv) {
    return launch(kernel, argc, argv, std::index_sequence_for<P...>());
}

}  // namespace emulation

// ---- the names that a kernel uses; `line` is the caller's, for messages ----

#define __global__
#define __device__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))

// Shared memory is addressed in bytes from its start.
inline unsigned shared_begin() { return 0; }
inline void keep(unsigned&) {}

inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
inline unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }
inline long long min(long long a, long long b) { return a < b ? a : b; }
inline long long max(long long a, long long b) { return a > b ? a : b; }
inline float min(float a, float b) { return std::fmin(a, b); }
inline float max(float a, float b) { return std::fmax(a, b); }

inline void __syncthreads(int line = __builtin_LINE()) { emulation::barrier(line); }

inline void __syncwarp(int line = __builtin_LINE()) {
    emulation::together("__syncwarp()", line, [](int) {});
}

inline unsigned pack_half2(float low, float high) {
    return emulation::half_of(low) | static_cast<unsigned>(emulation::half_of(high)) << 16;
}

inline float2 unpack_half2(unsigned pair) {
    const float* value = emulation::half_values();
    return {value[pair & 0xFFFF], value[pair >> 16]};
}

inline unsigned pack_half2_relu(float low, float high) {  // a NaN stays one
    return pack_half2(low < 0 ? 0.0f : low, high < 0 ? 0.0f : high);
}

inline unsigned shared_load_u32(unsigned at, int line = __builtin_LINE()) {
    using namespace emulation;
    const void* const address = shared.base + at;
    shared.read(address, 4, warp_of(current), "shared_load_u32", line);
    return *static_cast<const unsigned*>(address);
}

inline float __uint_as_float(unsigned bits) {
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

// Atomic: threads may meet in these, but a plain access in the same epoch is not looked for.
template <class T, class Change>
inline void shared_atomic(unsigned at, const char* what, int line, Change change) {
    using namespace emulation;
    auto* const address = reinterpret_cast<T*>(shared.base + at);
    shared.offset(address, 4, what, line);
    *address = change(*address);
}

inline void shared_add_u32(unsigned at, unsigned value, int line = __builtin_LINE()) {
    shared_atomic<unsigned>(at, "shared_add_u32", line, [=](unsigned old) { return old + value; });
}

inline void shared_min_s32(unsigned at, int value, int line = __builtin_LINE()) {
    shared_atomic<int>(at, "shared_min_s32", line, [=](int old) { return std::min(old, value); });
}

inline void shared_max_s32(unsigned at, int value, int line = __builtin_LINE()) {
    shared_atomic<int>(at, "shared_max_s32", line, [=](int old) { return std::max(old, value); });
}

inline int atomicAdd(int* address, int value, int line = __builtin_LINE()) {
    emulation::check_global(address, 4, "atomicAdd", line);
    const int old = *address;
    *address = old + value;
    return old;
}

inline float exponential(float x) { return std::exp(x); }
inline float logarithm(float x) { return std::log(x); }
inline float quotient(float a, float b) { return a / b; }

inline void shared_store_u128(unsigned at, uint4 value, int line = __builtin_LINE()) {
    using namespace emulation;
    void* const address = shared.base + at;
    shared.write(address, 16, warp_of(current), "shared_store_u128", line);
    *static_cast<uint4*>(address) = value;
}

inline uint2 shared_load_u64(unsigned at, int line = __builtin_LINE()) {
    using namespace emulation;
    const void* const address = shared.base + at;
    shared.read(address, 8, warp_of(current), "shared_load_u64", line);
    return *static_cast<const uint2*>(address);
}

inline uint4 shared_load_u128(unsigned at, int line = __builtin_LINE()) {
    using namespace emulation;
    const void* const address = shared.base + at;
    shared.read(address, 16, warp_of(current), "shared_load_u128", line);
    return *static_cast<const uint4*>(address);
}

inline void shared_store_u32(unsigned at, unsigned value, int line = __builtin_LINE()) {
    using namespace emulation;
    void* const address = shared.base + at;
    shared.write(address, 4, warp_of(current), "shared_store_u32", line);
    *static_cast<unsigned*>(address) = value;
}

inline uint4 load_16(const void* address, int line = __builtin_LINE()) {
    emulation::check_global(address, 16, "load_16", line);
    return *static_cast<const uint4*>(address);
}

inline void store_16(void* address, uint4 value, int line = __builtin_LINE()) {
    emulation::check_global(address, 16, "store_16", line);
    *static_cast<uint4*>(address) = value;
}

inline void ldmatrix_x4(unsigned (&r)[4], unsigned shared_row, int line = __builtin_LINE()) {
    emulation::Thread& self = emulation::threads[emulation::current];
    self.result = r;
    self.operand = emulation::shared.base + shared_row;
    emulation::together("ldmatrix_x4", line,
                        [line](int first) { emulation::load_matrices(first, line); });
}

inline void mma_16816(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1,
                      int line = __builtin_LINE()) {
    emulation::Thread& self = emulation::threads[emulation::current];
    self.result = d;
    self.operand = a;
    self.b0 = b0;
    self.b1 = b1;
    emulation::together("mma_16816", line, emulation::multiply);
}

// The destination is poisoned until the wait, and reading or writing it before is an error.
inline void copy_async_16(unsigned at_shared, const void* from, bool valid,
                          int line = __builtin_LINE()) {
    using namespace emulation;
    void* const to = shared.base + at_shared;
    if (valid) check_global(from, 16, "copy_async_16", line);
    shared.write(to, 16, warp_of(current), "copy_async_16", line);
    std::memset(to, 0xFF, 16);
    const size_t start = shared.offset(to, 16, "copy_async_16", line);
    for (size_t at = start; at < start + 16; at += 4) shared.words[at / 4].copier = current;
    threads[current].copies.push_back({to, from, valid, line});
}

inline void copy_async_wait() {
    using namespace emulation;
    for (const Copy& copy : threads[current].copies) {
        const size_t start = shared.offset(copy.to, 16, "copy_async_wait", copy.line);
        for (size_t at = start; at < start + 16; at += 4) shared.words[at / 4].copier = -1;
        shared.write(copy.to, 16, warp_of(current), "copy_async_16", copy.line);
        if (copy.valid)
            std::memcpy(copy.to, copy.from, 16);
        else
            std::memset(copy.to, 0, 16);
    }
    threads[current].copies.clear();
}
