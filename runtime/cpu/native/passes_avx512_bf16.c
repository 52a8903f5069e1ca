/* The passes for AVX-512 that have products: in bfloat16 (vdpbf16ps). */
#include "passes.h"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512BF16__)
#define LANES 16
#define VECTORS 4
#define OUTPUTS 6
#define BF16
#include "listed.h"
#include "route.h"

static const passes set = {"avx512_bf16", dense, compose, fill, NULL, NULL, NULL, compose_listed, NULL};
HIDDEN const passes *const pcsr_avx512_bf16 = &set;
#else
HIDDEN const passes *const pcsr_avx512_bf16 = NULL;
#endif
