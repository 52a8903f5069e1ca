/* The passes for every processor of a family: SSE2 or NEON. */
#define LANES 4
#ifdef __aarch64__ /* 32 registers; SSE2 has 16 */
#define VECTORS 4
#define OUTPUTS 4
#else
#define VECTORS 2
#define OUTPUTS 6
#endif
#include "finish.h"
#include "listed.h"
#include "route.h"

#ifdef __aarch64__
#define SET "neon"
#else
#define SET "generic"
#endif
static const passes set = {SET, dense, compose, fill, finish, count, sigmoid, compose_listed,
                            finish_fresh};
HIDDEN const passes *const pcsr_generic = &set;
