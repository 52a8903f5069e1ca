#include "pixels.h"

#include <math.h>
#include <string.h>
#include <time.h>

enum { BLOCK = 64, SEGMENT = 2048, MAP = SEGMENT + BLOCK, ALIGNED = 16 };

#define INLINE static inline __attribute__((always_inline))
#define TARGET static
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif

/* map [widest][MAP]; line [dense widest][SEGMENT]; a, b: blocks [widest][BLOCK]. */
typedef struct {
    float *map, *line, *a, *b;
} work;

int64_t pcsr_scratch(int32_t widest, int32_t dense) {
    return (int64_t)widest * (MAP + 2 * BLOCK) + (int64_t)dense * SEGMENT + 2 * MAP + ALIGNED;
}

static work divided(float *scratch, int widest) {
    /* A vector that crosses a cache line takes twice as long to load. */
    work w = {.map = scratch + (-(uintptr_t)scratch / sizeof(float)) % ALIGNED};
    w.a = w.map + (int64_t)widest * MAP;
    w.b = w.a + (int64_t)widest * BLOCK;
    w.line = w.b + (int64_t)widest * BLOCK;
    return w;
}

static int least(int a, int b) { return a < b ? a : b; }
static int most(int a, int b) { return a > b ? a : b; }

static int widest_layer(int depth, const pcsr_mlp *mlps, int count) {
    int widest = depth;
    for (int m = 0; m < count; m++)
        for (int l = 0; l <= mlps[m].layers; l++) widest = most(widest, mlps[m].widths[l]);
    return widest;
}

/* The first row behind i whose nearest input row is another. */
static int same_nearest(const pcsr_band *band, int i) {
    int end = i + 1;
    const int32_t *nearest = band->rows.centre.nearest;
    while (end < band->last && nearest[end] == nearest[i]) end++;
    return end;
}

static int holds(const uint8_t *labels, int n, uint8_t label) {
    return memchr(labels, label, n) != NULL;
}

static int any_holds(const pcsr_band *band, const uint8_t *labels, int i0, int i1, int j, int n,
                     uint8_t label) {
    for (int i = i0; i < i1; i++)
        if (holds(labels + (int64_t)(i - band->first) * band->width + j, n, label)) return 1;
    return 0;
}

/* What an MLP is evaluated at: `sides` places per axis, one where it has one neighbour. */
typedef struct {
    int sides;
    const pcsr_place *rows, *columns;
} places;

static places places_of(const pcsr_band *band, const pcsr_mlp *mlp) {
    if (mlp->neighbours == 4) return (places){2, band->rows.sides, band->columns.sides};
    return (places){1, &band->rows.centre, &band->columns.centre};
}

/* Of the rectangle between an output pixel and a neighbour. */
INLINE float area(float y, float x) { return fabsf(y * x) + 1e-9f; }

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* x in [0, 1] to 0 .. peak, clipped, ties to even; NaN to 0. */
INLINE int32_t rounded(float x, float peak) {
    float scaled = x * peak;
    scaled = scaled > 0 ? scaled : 0;
    scaled = scaled < peak ? scaled : peak;
    return (int32_t)rintf(scaled);
}

#if defined(__x86_64__) && defined(__GNUC__)
#define DISPATCHED
#include <immintrin.h>

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512vl,avx512bw,avx512dq,fma,prefer-vector-width=512")
#endif
#define LANES 16
#define VECTORS 4
#define OUTPUTS 6
#define NAME(x) x##_avx512
#include "passes.h"
#ifdef __clang__
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#define LANES 8
#define VECTORS 2
#define OUTPUTS 6
#define NAME(x) x##_avx2
#include "passes.h"
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

#define LANES 4
#define VECTORS 4
#define OUTPUTS 4
#define NAME(x) x##_generic
#include "passes.h"

#ifdef DISPATCHED
#define DISPATCH(call)                                                                             \
    do {                                                                                           \
        if (instructions() == 2) call##_avx512 ARGUMENTS;                                          \
        else if (instructions() == 1) call##_avx2 ARGUMENTS;                                       \
        else call##_generic ARGUMENTS;                                                             \
    } while (0)
static int instructions(void) {
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq"))
        return 2;
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
#else
#define DISPATCH(call) call##_generic ARGUMENTS
static int instructions(void) { return 0; }
#endif

const char *pcsr_instructions(void) {
    const char *names[] = {"generic", "avx2", "avx512"};
    return names[instructions()];
}

void pcsr_dense(const pcsr_band *band, const pcsr_mlp *mlp, float *out, float *scratch) {
    work w = divided(scratch, widest_layer(band->depth, mlp, 1));
#define ARGUMENTS (band, mlp, out, w)
    DISPATCH(dense);
#undef ARGUMENTS
}

void pcsr_compose(const pcsr_band *band, const pcsr_mlp *mlps, int32_t count,
                  const uint8_t *assignment, float *out, int64_t plane, double *seconds,
                  float *scratch) {
    work w = divided(scratch, widest_layer(band->depth, mlps, count));
#define ARGUMENTS (band, mlps, count, assignment, out, plane, seconds, w)
    DISPATCH(compose);
#undef ARGUMENTS
}

void pcsr_finish(const float *planes, const uint8_t *assignment, int32_t height, int32_t width,
                 int32_t first, int32_t last, int32_t refine_below, int32_t peak, void *out,
                 float *scratch) {
#define ARGUMENTS                                                                                  \
    (planes, assignment, height, width, first, last, refine_below, peak, out, scratch)
    DISPATCH(finish);
#undef ARGUMENTS
}

void pcsr_sigmoid(const float *values, int64_t n, float *out) {
#define ARGUMENTS (values, n, out)
    DISPATCH(sigmoid);
#undef ARGUMENTS
}

void pcsr_histogram(const float *values, int64_t n, float first, float last, int32_t bins,
                    double *table) {
    float width = last - first;
    for (int64_t i = 0; i < n; i++) {
        float at = (values[i] - first) / width * (float)bins;
        int32_t bin = at > 0 ? at < (float)bins ? (int32_t)at : bins - 1 : 0;
        bin = least(bin, bins - 1);
        table[2 * bin] += 1;
        table[2 * bin + 1] += values[i];
    }
}
