/* Vectors of LANES floats, of the instruction set that the object is compiled for. */
#pragma once
#include "passes.h"

#ifdef __AVX512F__
#include <immintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline))
#ifdef __clang__
#define ALONE __attribute__((noinline))
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define ALONE __attribute__((noipa))
#define UNROLL _Pragma("GCC unroll 8")
#endif

typedef float vec __attribute__((vector_size(LANES * 4)));
typedef float unaligned __attribute__((vector_size(LANES * 4), aligned(4)));
typedef int32_t mask __attribute__((vector_size(LANES * 4)));
typedef int32_t unaligned_mask __attribute__((vector_size(LANES * 4), aligned(4)));
#define AT(p) (*(const unaligned *)(p))
#define STORE(p, v) (*(unaligned *)(p) = (v))
/* NaN stays: of two values that cannot be compared the instruction takes the second. */
#if LANES == 16
#define RELU(v) ((vec)_mm512_max_ps((__m512){0}, (__m512)(v)))
#else
#define RELU(v) ((vec)((mask)(v) & ~((v) < 0)))
#endif

INLINE int least(int a, int b) { return a < b ? a : b; }
INLINE int most(int a, int b) { return a > b ? a : b; }

enum { VECTORS_OF_SEGMENT = SEGMENT / LANES };

/* Where the LANES values that `index` chooses from a line begin; -1 where they lie further apart
   than two vectors. Found once for all the lines of a layer. */
INLINE int32_t begin_of(const int32_t *index) {
#if LANES == 16
    __m512i places = _mm512_loadu_si512(index);
    int32_t low = _mm512_reduce_min_epi32(places), high = _mm512_reduce_max_epi32(places);
    return high - low < 2 * LANES ? low : -1;
#else
    (void)index;
    return -1;
#endif
}

/* line[index[..]], of LANES. Listed pixels lie close together: with AVX-512, two loads and a
   permutation take a quarter of the time of a gather. */
INLINE vec look_up(const float *line, int32_t begin, const int32_t *index) {
#if LANES == 16
    if (begin >= 0) {
        __m512i places = _mm512_sub_epi32(_mm512_loadu_si512(index), _mm512_set1_epi32(begin));
        __m512 first = _mm512_loadu_ps(line + begin);
        __m512 second = _mm512_loadu_ps(line + begin + LANES);
        return (vec)_mm512_permutex2var_ps(first, places, second);
    }
#endif
    (void)begin;
    vec found;
    for (int p = 0; p < LANES; p++) found[p] = line[index[p]];
    return found;
}

/* n <= BLOCK floats; those of a whole block without a call. */
INLINE void copy(float *to, const float *from, int n) {
    if (n == BLOCK)
        for (int p = 0; p < BLOCK; p += LANES) STORE(to + p, AT(from + p));
    else
        for (int p = 0; p < n; p++) to[p] = from[p];
}
