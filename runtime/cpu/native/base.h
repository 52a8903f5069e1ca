/* The bilinear base of the upsamplers that have one. */
#pragma once
#include "vectors.h"

/* The taps of a segment's columns, counted from `left`. */
typedef struct {
    int left, right, whole;
    int32_t from[SEGMENT], until[SEGMENT];
    int32_t from_begin[VECTORS_OF_SEGMENT], until_begin[VECTORS_OF_SEGMENT];
    float weight[SEGMENT];
} taps;

INLINE void find_taps(const pcsr_axis *x, int j0, int n, taps *t) {
    t->left = x->lower[j0], t->right = x->upper[j0 + n - 1] + 1;
    t->whole = (n + LANES - 1) / LANES * LANES;
    for (int j = 0; j < t->whole; j++) {
        int at = j0 + least(j, n - 1);
        t->from[j] = x->lower[at] - t->left, t->until[j] = x->upper[at] - t->left;
        t->weight[j] = x->weight[at];
    }
    for (int j = 0; j < t->whole; j += LANES) {
        t->from_begin[j / LANES] = begin_of(t->from + j);
        t->until_begin[j / LANES] = begin_of(t->until + j);
    }
}

/* out [3][plane] = bilinear upsample of the image, for a segment of row i. */
static void bilinear(const pcsr_band *band, const taps *t, int i, int n, float *out, int64_t plane,
                     float *restrict line) {
    const pcsr_axis *y = &band->rows;
    int64_t lower = (int64_t)(y->lower[i] - band->image_top) * band->lr_width + t->left;
    int64_t upper = (int64_t)(y->upper[i] - band->image_top) * band->lr_width + t->left;
    for (int c = 0; c < 3; c++) {
        const float *restrict image = band->image + c * band->image_plane;
        for (int u = 0; u < t->right - t->left; u++)
            line[u] = image[lower + u] + y->weight[i] * (image[upper + u] - image[lower + u]);
        for (int j = 0; j < t->whole; j += LANES) {
            vec first = look_up(line, t->from_begin[j / LANES], t->from + j);
            vec second = look_up(line, t->until_begin[j / LANES], t->until + j);
            vec mixed = first + AT(t->weight + j) * (second - first);
            if (j + LANES <= n)
                STORE(out + c * plane + j, mixed);
            else
                memcpy(out + c * plane + j, &mixed, (n - j) * sizeof(float));
        }
    }
}

/* out [3][plane] = the bases of a segment of the rows i0 .. i1 - 1, labels of its pixels. */
static void bases(const pcsr_band *band, const pcsr_mlp *mlps, int count, int i0, int i1, int j0,
                  int n, const uint8_t *restrict labels, float *out, int64_t plane, work w) {
    int based = 0, bare = 0;
    for (int m = 0; m < count; m++) mlps[m].base ? based++ : bare++;
    taps t;
    if (based) find_taps(&band->columns, j0, n, &t);
    for (int i = i0; i < i1; i++, labels += band->width, out += band->width) {
        if (based) bilinear(band, &t, i, n, out, plane, w.line);
        if (!bare) continue;
        for (int c = 0; c < 3; c++)
            for (int j = 0; j < n; j++)
                if (!based || !mlps[labels[j]].base) out[c * plane + j] = 0;
    }
}
