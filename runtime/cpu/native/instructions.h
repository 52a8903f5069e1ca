/* What this processor computes with, and the operating system keeps the registers of. */
#pragma once
#include <stdint.h>

enum {
    PCSR_AVX2 = 1,        /* with FMA */
    PCSR_AVX512 = 2,      /* F, VL, BW and DQ, with AVX2 and FMA */
    PCSR_AVX512_BF16 = 4, /* vdpbf16ps */
    PCSR_AVX512_VNNI = 8, /* vpdpbusd */
};

/* Bits of the above; 0 where the processor is no x86-64. */
__attribute__((visibility("hidden"))) int32_t pcsr_features(void);
