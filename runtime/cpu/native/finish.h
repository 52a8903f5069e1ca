/* What follows the upsamplers: refinement and conversion; and how many pixels each of them made. */
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

static void count(const uint8_t *labels, int64_t n, int upsamplers, int64_t *counts) {
    for (int j = 0; j < upsamplers; j++) {
        uint8_t own = (uint8_t)j;
        int64_t found = 0, i = 0;
        for (; i + 128 <= n; i += 128) { /* which a byte can count */
            uint8_t some = 0;
            for (int p = 0; p < 128; p++) some += labels[i + p] == own;
            found += some;
        }
        for (; i < n; i++) found += labels[i] == own;
        counts[j] += found;
    }
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
