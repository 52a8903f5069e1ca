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

/* A row of one plane after refinement, to out [n]: the 3x3 mean where `change` is set. Its rows
   begin `width` apart. */
INLINE void refine(const float *restrict row, int64_t width, int n, const uint8_t *restrict change,
                   float *restrict sums, float *restrict out) {
    for (int j = 0; j < n; j++) sums[j] = row[j - width] + row[j] + row[j + width];
    for (int j = 1; j + 1 < n; j++) {
        float mean = (sums[j - 1] + sums[j] + sums[j + 1]) * (1.0f / 9);
        out[j] = change[j] ? mean : row[j];
    }
    out[0] = row[0], out[n - 1] = row[n - 1];
}

/* Which pixels of a row inside the frame are light and beside a heavy one; false: none. */
static int changes(const uint8_t *restrict row, int64_t width, int n, uint8_t refine_below,
                   uint8_t *restrict near, uint8_t *restrict change) {
    uint8_t any = 0;
    for (int j = 0; j < n; j++)
        near[j] = (row[j - width] < refine_below) | (row[j] < refine_below) |
                  (row[j + width] < refine_below);
    for (int j = 1; j + 1 < n; j++) {
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

/* What rows are finished from; see pcsr_finish. */
typedef struct {
    const float *planes;
    const uint8_t *assignment;
    int height, width, refine_below, peak;
    float *scratch; /* [5 * width] */
} unfinished;

/* Finishes columns j0 .. j0 + n - 1 of row i; the first and the last of them are not refined. */
static void finish_part(const unfinished *u, int i, int j0, int n, void *out) {
    float *lines = u->scratch, *sums = u->scratch + 3 * (int64_t)u->width;
    uint8_t *near = (uint8_t *)(sums + u->width), *change = near + u->width;
    int64_t at = (int64_t)i * u->width + j0;
    const float *rgb[3];
    int refined = u->refine_below && i > 0 && i + 1 < u->height && n > 2 &&
                  changes(u->assignment + at, u->width, n, u->refine_below, near, change);
    for (int c = 0; c < 3; c++) {
        rgb[c] = u->planes + c * (int64_t)u->height * u->width + at;
        if (!refined) continue;
        refine(rgb[c], u->width, n, change, sums, lines + c * (int64_t)u->width);
        rgb[c] = lines + c * (int64_t)u->width;
    }
    if (!u->peak)
        for (int64_t j = 0; j < n; j++)
            for (int c = 0; c < 3; c++) ((float *)out)[3 * j + c] = rgb[c][j];
    else if (u->peak == 255)
        for (int64_t j = 0; j < n; j++)
            for (int c = 0; c < 3; c++)
                ((uint8_t *)out)[3 * j + c] = (uint8_t)rounded(rgb[c][j], 255);
    else
        for (int64_t j = 0; j < n; j++)
            for (int c = 0; c < 3; c++)
                ((uint16_t *)out)[3 * j + c] = (uint16_t)rounded(rgb[c][j], 65535);
}

static int64_t pixel_bytes(int peak) { return peak == 255 ? 3 : peak ? 6 : 12; }

static void finish(const float *planes, const uint8_t *assignment, int height, int width,
                   int first, int last, int refine_below, int peak, void *out, float *scratch) {
    unfinished u = {planes, assignment, height, width, refine_below, peak, scratch};
    int64_t row_bytes = width * pixel_bytes(peak);
    for (int i = first; i < last; i++)
        finish_part(&u, i, 0, width, (char *)out + (i - first) * row_bytes);
}

enum { FINISHED = 64 };

/* near[j]: a pixel of columns j of row i or of those beside it is new. */
static void new_columns(const uint8_t *restrict fresh, int height, int width, int i,
                        uint8_t *restrict near) {
    const uint8_t *row = fresh + (int64_t)i * width;
    memcpy(near, row, width);
    if (i > 0)
        for (int j = 0; j < width; j++) near[j] |= row[j - width];
    if (i + 1 < height)
        for (int j = 0; j < width; j++) near[j] |= row[j + width];
}

/* As `finish`, of blocks of columns that hold a pixel which is new or beside one that is. */
static void finish_fresh(const float *planes, const uint8_t *assignment, const uint8_t *fresh,
                         int height, int width, int first, int last, int refine_below, int peak,
                         void *out, float *scratch) {
    unfinished u = {planes, assignment, height, width, refine_below, peak, scratch};
    int64_t bytes = pixel_bytes(peak);
    float *line = scratch + 5 * (int64_t)width; /* [3 * width] */
    uint8_t *near = (uint8_t *)(line + 3 * (int64_t)width);
    for (int i = first; i < last; i++) {
        new_columns(fresh, height, width, i, near);
        char *row = (char *)out + (i - first) * width * bytes;
        for (int j = 0, end; j < width; j = end) {
            const uint8_t *next = memchr(near + j, 1, width - j);
            if (!next) break;
            int start = most(j, (int)(next - near) - 1);
            for (end = start; end < width;) {
                int from = most(0, end - 1), until = least(width, end + FINISHED + 1);
                if (!memchr(near + from, 1, until - from)) break;
                end = least(width, end + FINISHED);
            }
            int left = most(0, start - 1), right = least(width, end + 1);
            finish_part(&u, i, left, right - left, line);
            memcpy(row + start * bytes, (char *)line + (start - left) * bytes,
                   (end - start) * bytes);
        }
    }
}
