/* What follows the upsamplers: refinement and conversion; and the sigmoid. */
#pragma once
#include "vectors.h"

#include <math.h>

/* x in [0, 1] to 0 .. peak, clipped, ties to even; NaN to 0. */
INLINE int32_t rounded(float x, float peak) {
    float scaled = x * peak;
    scaled = scaled > 0 ? scaled : 0;
    scaled = scaled < peak ? scaled : peak;
    return (int32_t)rintf(scaled);
}

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

/* Row i of one plane after refinement, to out [width]: the 3x3 mean where `change` is set. */
INLINE void refine(const float *restrict row, int width, const uint8_t *restrict change,
                         float *restrict sums, float *restrict out) {
    for (int j = 0; j < width; j++) sums[j] = row[j - width] + row[j] + row[j + width];
    for (int j = 1; j + 1 < width; j++) {
        float mean = (sums[j - 1] + sums[j] + sums[j + 1]) * (1.0f / 9);
        out[j] = change[j] ? mean : row[j];
    }
    out[0] = row[0], out[width - 1] = row[width - 1];
}

/* Which pixels of a row inside the frame are light and beside a heavy one; false: none. */
static int changes(const uint8_t *restrict row, int width, uint8_t refine_below,
                         uint8_t *restrict near, uint8_t *restrict change) {
    uint8_t any = 0;
    for (int j = 0; j < width; j++)
        near[j] = (row[j - width] < refine_below) | (row[j] < refine_below) |
                  (row[j + width] < refine_below);
    for (int j = 1; j + 1 < width; j++) {
        change[j] = (near[j - 1] | near[j] | near[j + 1]) & (row[j] >= refine_below);
        any |= change[j];
    }
    return any;
}

static void finish(const float *planes, const uint8_t *assignment, int height, int width,
                         int first, int last, int refine_below, int peak, void *out,
                         float *scratch) {
    float *lines = scratch, *sums = scratch + 3 * (int64_t)width;
    uint8_t *near = (uint8_t *)(sums + width), *change = near + width;
    for (int i = first; i < last; i++) {
        int64_t at = (int64_t)i * width, to = (int64_t)(i - first) * width * 3;
        const float *rgb[3];
        int refined = refine_below && i > 0 && i + 1 < height && width > 2 &&
                      changes(assignment + at, width, refine_below, near, change);
        for (int c = 0; c < 3; c++) {
            rgb[c] = planes + c * (int64_t)height * width + at;
            if (!refined) continue;
            refine(rgb[c], width, change, sums, lines + c * (int64_t)width);
            rgb[c] = lines + c * (int64_t)width;
        }
        if (!peak)
            for (int64_t j = 0; j < width; j++)
                for (int c = 0; c < 3; c++) ((float *)out)[to + 3 * j + c] = rgb[c][j];
        else if (peak == 255)
            for (int64_t j = 0; j < width; j++)
                for (int c = 0; c < 3; c++)
                    ((uint8_t *)out)[to + 3 * j + c] = (uint8_t)rounded(rgb[c][j], 255);
        else
            for (int64_t j = 0; j < width; j++)
                for (int c = 0; c < 3; c++)
                    ((uint16_t *)out)[to + 3 * j + c] = (uint16_t)rounded(rgb[c][j], 65535);
    }
}
