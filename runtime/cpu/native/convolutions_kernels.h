/* What the kernels of convolutions share; see convolutions.h. */
#pragma once
#include "convolutions.h"

#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif

#define HIDDEN __attribute__((visibility("hidden")))

/* Computes one row of one step; NULL where the compiler knows no such instructions. */
typedef void (*pcsr_kernel)(const pcsr_row *row);
HIDDEN extern const pcsr_kernel pcsr_convolve_bf16;

INLINE uint16_t pcsr_to_bf16(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7fffffff) > 0x7f800000) return (uint16_t)(bits >> 16 | 64); /* NaN stays */
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
