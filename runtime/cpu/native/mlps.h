/* MLPs at output pixels: the first layer, folded onto input pixels and spread, then the rest. */
#pragma once
#include "layer.h"

#ifdef BF16
#include "products_bf16.h"
#else
#include "products.h"
#endif

/* The first row behind i whose nearest input row is another. */
static int same_nearest(const pcsr_band *band, int i) {
    int end = i + 1;
    const int32_t *nearest = band->rows.centre.nearest;
    while (end < band->last && nearest[end] == nearest[i]) end++;
    return end;
}

/* The folded first layer of input pixels left .. left + n - 1 of a row: map [widths[0]][MAP]. */
static void fold(const pcsr_band *band, const pcsr_mlp *mlp, int row, int left, int n,
                       float *map, float *a, float *b) {
    const float *source = band->features + (int64_t)(row - band->top) * band->lr_width + left;
    for (int u = 0; u < n; u += BLOCK) {
        int filled = n - u < BLOCK ? n - u : BLOCK;
        for (int64_t d = 0; d < band->depth; d++) {
            const float *from = source + d * band->feature_plane + u;
            copy(a + d * BLOCK, from, filled);
            for (int p = 0; p < BLOCK; p += 16) __builtin_prefetch(from + BLOCK + p);
            for (int p = filled; p < BLOCK; p++) a[d * BLOCK + p] = 0;
        }
        fold_block(mlp, band->depth, a, b);
        for (int64_t c = 0; c < mlp->widths[0]; c++)
            copy(map + c * MAP + u, b + c * BLOCK, BLOCK);
    }
}

/* The map, whose first column is input column `left`, spread over output columns j0 .. j0 + n - 1,
   column offsets in: [widths[0]][MAP]. */
static void spread(const pcsr_place *columns, const pcsr_mlp *mlp, int left, int j0, int n,
                         const float *map, float *out) {
    int32_t nearest[SEGMENT], begin[VECTORS_OF_SEGMENT];
    float offset[SEGMENT];
    int whole = (n + LANES - 1) / LANES * LANES;
    for (int j = 0; j < whole; j++) {
        int from = j0 + least(j, n - 1);
        nearest[j] = columns->nearest[from] - left;
        offset[j] = columns->offset[from];
    }
    for (int j = 0; j < whole; j += LANES) begin[j / LANES] = begin_of(nearest + j);
    for (int64_t c = 0; c < mlp->widths[0]; c++) {
        float *to = out + c * MAP, weight = mlp->column_weight[c];
        for (int j = 0; j < whole; j += LANES) {
            vec folded = look_up(map + c * MAP, begin[j / LANES], nearest + j);
            STORE(to + j, folded + weight * AT(offset + j));
        }
    }
}

/* First activations of a block of a row whose spread map begins at `line`. */
INLINE void enter(const pcsr_mlp *mlp, const float *line, float row_offset, float *a) {
    for (int c = 0; c < mlp->widths[0]; c += GROUP)
        for (int p = 0; p < BLOCK; p += LANES) {
            vec x[GROUP];
            UNROLL for (int g = 0; g < GROUP; g++) {
                int from = least(c + g, mlp->widths[0] - 1);
                float shift = mlp->row_weight[from] * row_offset;
                x[g] = AT(line + from * MAP + p) + shift;
            }
            put(mlp, x, c, a + p);
        }
}

/* One segment of the rows i0 .. i1 - 1, which share their nearest input row. */
static void dense_segment(const pcsr_band *band, const pcsr_mlp *mlp, int i0, int i1, int j0,
                                int n, float *out, work w) {
    const pcsr_place *rows = &band->rows.centre, *columns = &band->columns.centre;
    int left = columns->nearest[j0], right = columns->nearest[j0 + n - 1] + 1;
    int outputs = mlp->widths[mlp->layers];
    int64_t plane = (int64_t)(band->last - band->first) * band->width;
    fold(band, mlp, rows->nearest[i0], left, right - left, w.map, w.a, w.b);
    spread(columns, mlp, left, j0, n, w.map, w.line);
    for (int i = i0; i < i1; i++)
        for (int j = 0; j < n; j += BLOCK) {
            int filled = n - j < BLOCK ? n - j : BLOCK;
            enter(mlp, w.line + j, rows->offset[i], w.a);
            const float *result = rest(mlp, w.a, w.b);
            float *to = out + (int64_t)(i - band->first) * band->width + j0 + j;
            for (int64_t o = 0; o < outputs; o++)
                copy(to + o * plane, result + o * BLOCK, filled);
        }
}

static void dense(const pcsr_band *band, const pcsr_mlp *mlp, float *out, work w) {
    for (int i = band->first, end; i < band->last; i = end) {
        end = same_nearest(band, i);
        for (int j = 0; j < band->width; j += SEGMENT)
            dense_segment(band, mlp, i, end, j, least(SEGMENT, band->width - j), out, w);
    }
}
