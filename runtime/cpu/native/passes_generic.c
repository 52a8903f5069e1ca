/* The passes for every processor of a family: SSE2 or NEON. */
#define LANES 4
#define VECTORS 4
#define OUTPUTS 4
#include "finish.h"
#include "upsamplers.h"

#ifdef __aarch64__
#define SET "neon"
#else
#define SET "generic"
#endif
static const passes set = {SET, dense, compose, finish, sigmoid};
HIDDEN const passes *const pcsr_generic = &set;
