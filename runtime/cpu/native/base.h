/* The bilinear base of the upsamplers that have one. */
#pragma once
#include "vectors.h"

/* out [3][plane] = bilinear upsample of the image, for a segment of row i. */
static void bilinear(const pcsr_band *band, int i, int j0, int n, float *out, int64_t plane,
                           float *restrict line) {
    const pcsr_axis *y = &band->rows, *x = &band->columns;
    int left = x->lower[j0], right = x->upper[j0 + n - 1] + 1;
    int whole = (n + LANES - 1) / LANES * LANES;
    int32_t from[SEGMENT], until[SEGMENT];
    float weight[SEGMENT];
    for (int j = 0; j < whole; j++) {
        int at = j0 + least(j, n - 1);
        from[j] = x->lower[at] - left, until[j] = x->upper[at] - left, weight[j] = x->weight[at];
    }
    int64_t lower = (int64_t)(y->lower[i] - band->image_top) * band->lr_width + left;
    int64_t upper = (int64_t)(y->upper[i] - band->image_top) * band->lr_width + left;
    for (int c = 0; c < 3; c++) {
        const float *restrict image = band->image + c * band->image_plane;
        for (int u = 0; u < right - left; u++)
            line[u] = image[lower + u] + y->weight[i] * (image[upper + u] - image[lower + u]);
        for (int j = 0; j < whole; j += LANES) {
            float first[LANES], second[LANES];
            look_up(line, from + j, first);
            look_up(line, until + j, second);
            vec mixed = AT(first) + AT(weight + j) * (AT(second) - AT(first));
            memcpy(out + c * plane + j, &mixed, least(LANES, n - j) * sizeof(float));
        }
    }
}

/* out [3][plane] = the bases of a segment of row i, [n] labels of its pixels. */
static void bases(const pcsr_band *band, const pcsr_mlp *mlps, int count, int i, int j0,
                        int n, const uint8_t *restrict labels, float *out, int64_t plane, work w) {
    int based = 0, bare = 0;
    for (int m = 0; m < count; m++) mlps[m].base ? based++ : bare++;
    if (based) bilinear(band, i, j0, n, out, plane, w.line);
    if (!bare) return;
    for (int c = 0; c < 3; c++)
        for (int j = 0; j < n; j++)
            if (!based || !mlps[labels[j]].base) out[c * plane + j] = 0;
}
