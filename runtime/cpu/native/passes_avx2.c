/* The passes for AVX2 and FMA. */
#include "passes.h"

#if defined(__AVX2__) && defined(__FMA__)
#define LANES 8
#define VECTORS 2
#define OUTPUTS 6
#include "finish.h"
#include "listed.h"
#include "route.h"

static const passes set = {"avx2", dense, compose, fill, finish, count, sigmoid, compose_listed,
                            finish_fresh};
HIDDEN const passes *const pcsr_avx2 = &set;
#else
HIDDEN const passes *const pcsr_avx2 = NULL;
#endif
