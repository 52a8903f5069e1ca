#include "instructions.h"

#ifdef __x86_64__
#include <cpuid.h>

enum { OSXSAVE = 1 << 27, FMA = 1 << 12, YMM = 0x6, ZMM = 0xe6 };

typedef struct {
    uint32_t a, b, c, d;
} leaf;

static leaf read(uint32_t number, uint32_t part) {
    leaf l = {0, 0, 0, 0};
    __get_cpuid_count(number, part, &l.a, &l.b, &l.c, &l.d);
    return l;
}

/* Registers that the operating system saves. */
static uint32_t saved(void) {
    uint32_t low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

static int all(uint32_t word, uint32_t bits) { return (word & bits) == bits; }

int32_t pcsr_features(void) {
    const uint32_t avx512 = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31; /* F, DQ, BW, VL */
    leaf basic = read(1, 0), extended = read(7, 0);
    if (!all(basic.c, OSXSAVE | FMA) || !all(saved(), YMM) || !all(extended.b, 1 << 5)) return 0;
    if (!all(saved(), ZMM) || !all(extended.b, avx512)) return PCSR_AVX2;
    int32_t has = PCSR_AVX2 | PCSR_AVX512;
    if (all(extended.c, 1 << 11)) has |= PCSR_AVX512_VNNI;
    if (extended.a >= 1 && all(read(7, 1).a, 1 << 5)) has |= PCSR_AVX512_BF16;
    return has;
}
#else
int32_t pcsr_features(void) { return 0; }
#endif
