/* What lies between the classifier and the upsamplers, and all three for one strip of rows after the
   other: their pixels stay in the cache. */
#pragma once
#include "upsamplers.h"

#include <math.h>

/* 1 / (1 + exp(-x)), to a few units in the last place; NaN stays. */
static void sigmoid(const float *restrict x, int64_t n, float *restrict out) {
    for (int64_t i = 0; i < n; i++) {
        /* exp(-|x|) = 2^k * exp(r), |r| <= ln 2 / 2, exp(r) by its Taylor series */
        float y = x[i] < 0 ? x[i] : -x[i];
        float bounded = y > -87 ? y : -87; /* of NaN too: it has no integer part */
        float k = rintf(bounded * 1.44269504f);
        float r = bounded - k * 0.693359375f + k * 2.12194440e-4f;
        float series = 1.0f / 5040;
        series = series * r + 1.0f / 720;
        series = series * r + 1.0f / 120;
        series = series * r + 1.0f / 24;
        series = series * r + 1.0f / 6;
        series = series * r + 0.5f;
        series = series * r * r + r + 1;
        union { int32_t bits; float value; } power = {.bits = ((int32_t)k + 127) << 23};
        float decay = series * power.value;
        float result = (x[i] < 0 ? decay : 1) / (1 + decay);
        out[i] = x[i] == x[i] ? result : x[i];
    }
}

/* Whether none of n values is NaN or infinite. */
static int all_finite(const float *x, int64_t n) {
    const int32_t exponent = 0x7f800000;
    int32_t found = 0;
    for (int64_t i = 0; i < n; i++) {
        union { float value; int32_t bits; } each = {.value = x[i]};
        found |= (each.bits & exponent) == exponent;
    }
    return !found;
}

/* Routes n pixels between two upsamplers. difficulty: may be where the logits are. */
static void route(const float *logits, int64_t n, pcsr_cut cut, uint8_t *assignment,
                  float *difficulty) {
    float own[BLOCK] = {0}, found[BLOCK];
    uint8_t label[BLOCK];
    for (int64_t i = 0; i < n; i += BLOCK) {
        int filled = n - i < BLOCK ? (int)(n - i) : BLOCK;
        copy(own, logits + i, filled);
        sigmoid(own, BLOCK, found);
        for (int p = 0; p < BLOCK; p++)
            label[p] = cut.of_difficulty ? found[p] < cut.bound : own[p] <= cut.bound;
        copy(difficulty + i, found, filled);
        memcpy(assignment + i, label, filled);
    }
}

static int32_t fill(const pcsr_band *band, const pcsr_mlp *classifier, const float *logits,
                    pcsr_cut cut, const pcsr_mlp *mlps, uint8_t *assignment, float *difficulty,
                    float *out, int64_t plane, double *seconds, work w) {
    for (int i = band->first, end; i < band->last; i = end) {
        end = same_nearest(band, i);
        pcsr_band strip = *band;
        strip.first = i, strip.last = end;
        int64_t at = (int64_t)(i - band->first) * band->width;
        int64_t n = (int64_t)(end - i) * band->width;
        const float *given = logits ? logits + at : difficulty + at;
        double begin = now();
        if (!logits) dense(&strip, classifier, difficulty + at, w);
        double classified = now();
        if (!all_finite(given, n)) return PCSR_LOGITS;
        route(given, n, cut, assignment + at, difficulty + at);
        seconds[0] += classified - begin, seconds[1] += now() - classified;
        compose(&strip, mlps, 2, assignment + at, out + at, plane, seconds + 3, w);
        for (int c = 0; c < 3; c++)
            if (!all_finite(out + c * plane + at, n)) return PCSR_COLOURS;
    }
    return PCSR_FINITE;
}
