/* The passes for AVX-512. */
#include "passes.h"

#if defined(__AVX512F__) && defined(__AVX512VL__) && defined(__AVX512BW__) && defined(__AVX512DQ__)
#define LANES 16
#define VECTORS 4
#define OUTPUTS 6
#include "finish.h"
#include "listed.h"
#include "route.h"

static const passes set = {"avx512", dense, compose, fill, finish, count, sigmoid, compose_listed,
                            finish_fresh};
HIDDEN const passes *const pcsr_avx512 = &set;
#else
HIDDEN const passes *const pcsr_avx512 = NULL;
#endif
