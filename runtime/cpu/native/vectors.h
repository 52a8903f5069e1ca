/* Vectors of LANES floats, of the instruction set that the object is compiled for. */
#pragma once
#include "passes.h"

#ifdef __AVX512F__
#include <immintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline))
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif

typedef float vec __attribute__((vector_size(LANES * 4)));
typedef float unaligned __attribute__((vector_size(LANES * 4), aligned(4)));
typedef int32_t mask __attribute__((vector_size(LANES * 4)));
typedef int32_t unaligned_mask __attribute__((vector_size(LANES * 4), aligned(4)));
#define AT(p) (*(const unaligned *)(p))
#define STORE(p, v) (*(unaligned *)(p) = (v))
#define RELU(v) ((vec)((mask)(v) & ~((v) < 0))) /* NaN stays */

INLINE int least(int a, int b) { return a < b ? a : b; }
INLINE int most(int a, int b) { return a > b ? a : b; }

/* out [LANES] = line[index[..]]. Listed pixels lie close together: with AVX-512, two loads and a
   permutation take a quarter of the time of a gather. */
INLINE void look_up(const float *restrict line, const int32_t *restrict index,
                          float *restrict out) {
#if LANES == 16
    int low = index[0], high = index[0];
    for (int p = 1; p < LANES; p++) low = least(low, index[p]), high = most(high, index[p]);
    if (high - low < 2 * LANES) {
        __m512i places = _mm512_sub_epi32(_mm512_loadu_si512(index), _mm512_set1_epi32(low));
        __m512 first = _mm512_loadu_ps(line + low), second = _mm512_loadu_ps(line + low + LANES);
        _mm512_storeu_ps(out, _mm512_permutex2var_ps(first, places, second));
        return;
    }
#endif
    for (int p = 0; p < LANES; p++) out[p] = line[index[p]];
}
