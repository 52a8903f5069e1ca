/* What the objects of the instruction sets and their dispatch share. Each object shows one name. */
#pragma once
#include "pixels.h"

#include <string.h>

enum { BLOCK = 64, SEGMENT = 2048, MAP = SEGMENT + BLOCK, ALIGNED = 16 };

/* map [widest][MAP]; line [dense widest][MAP]; a, b: blocks [widest][BLOCK]. */
typedef struct {
    float *map, *line, *a, *b;
} work;

/* The passes of one instruction set; see pixels.h. */
typedef struct {
    const char *name;
    void (*dense)(const pcsr_band *band, const pcsr_mlp *mlp, float *out, work w);
    void (*compose)(const pcsr_band *band, const pcsr_mlp *mlps, int count,
                    const uint8_t *assignment, float *out, int64_t plane, double *seconds, work w);
    int32_t (*fill)(const pcsr_band *band, const pcsr_mlp *classifier, const float *logits,
                    pcsr_cut cut, const pcsr_mlp *mlps, uint8_t *assignment, float *difficulty,
                    float *out, int64_t plane, double *seconds, work w);
    void (*finish)(const float *planes, const uint8_t *assignment, int height, int width,
                   int first, int last, int refine_below, int peak, void *out, float *scratch);
    void (*count)(const uint8_t *labels, int64_t n, int upsamplers, int64_t *counts);
    void (*sigmoid)(const float *x, int64_t n, float *out);
    int (*compose_listed)(const pcsr_band *band, const pcsr_mlp *mlps, int count, int feature_rows,
                          const uint8_t *assignment, const uint8_t *chosen, float *out,
                          int64_t plane, double *seconds, work w, float *room);
    void (*finish_fresh)(const float *planes, const uint8_t *assignment, const uint8_t *fresh,
                         int height, int width, int first, int last, int refine_below, int peak,
                         void *out, float *scratch);
} passes;

#define HIDDEN __attribute__((visibility("hidden")))

/* NULL where the compiler or the processor's family lacks the instructions. */
extern HIDDEN const passes *const pcsr_generic, *const pcsr_avx2, *const pcsr_avx512;
extern HIDDEN const passes *const pcsr_avx512_bf16; /* of bands alone */
