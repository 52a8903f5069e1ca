/* The residuals of the upsamplers, each at its own pixels. */
#pragma once
#include "base.h"
#include "mlps.h"

#include <math.h>
#include <time.h>

static int holds(const uint8_t *labels, int n, uint8_t label) {
    return memchr(labels, label, n) != NULL;
}

static int any_holds(const pcsr_band *band, const uint8_t *labels, int i0, int i1, int j, int n,
                     uint8_t label) {
    for (int i = i0; i < i1; i++)
        if (holds(labels + (int64_t)(i - band->first) * band->width + j, n, label)) return 1;
    return 0;
}

/* What an MLP is evaluated at: `sides` places per axis, one where it has one neighbour. */
typedef struct {
    int sides;
    const pcsr_place *rows, *columns;
} places;

static places places_of(const pcsr_band *band, const pcsr_mlp *mlp) {
    if (mlp->neighbours == 4) return (places){2, band->rows.sides, band->columns.sides};
    return (places){1, &band->rows.centre, &band->columns.centre};
}

/* Of the rectangle between an output pixel and a neighbour. */
INLINE float area(float y, float x) { return fabsf(y * x) + 1e-9f; }

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* to += values where chosen (-1, not 0), for n pixels. */
INLINE void add_chosen(const float *values, const int32_t *chosen, int n, float *to) {
    int p = 0;
    for (; p + LANES <= n; p += LANES) {
        mask bits = (mask)AT(values + p) & *(const unaligned_mask *)(chosen + p);
        STORE(to + p, AT(to + p) + (vec)bits);
    }
    for (; p < n; p++) to[p] += chosen[p] ? values[p] : 0;
}

/* Scales the residuals [3][BLOCK] of pixels by the weight of their neighbour at `row_side` and
   `column_side`: the area of the diagonally opposite one, over the sum of all four. */
static void weigh(const pcsr_band *band, int row_side, int column_side, const int32_t *row,
                        const int32_t *column, float *restrict residual) {
    const pcsr_place *rows = band->rows.sides, *columns = band->columns.sides;
    float y[2][BLOCK], x[2][BLOCK];
    for (int side = 0; side < 2; side++)
        for (int p = 0; p < BLOCK; p++) {
            y[side][p] = rows[side].offset[row[p]];
            x[side][p] = columns[side].offset[column[p]];
        }
    const float *opposite_y = y[1 - row_side], *opposite_x = x[1 - column_side];
    for (int p = 0; p < BLOCK; p++) {
        float sum = area(y[0][p], x[0][p]) + area(y[0][p], x[1][p]);
        sum = sum + area(y[1][p], x[0][p]) + area(y[1][p], x[1][p]);
        float weight = area(opposite_y[p], opposite_x[p]) / sum;
        for (int c = 0; c < 3; c++) residual[c * BLOCK + p] *= weight;
    }
}

/* Adds the cheap upsampler's residual to the pixels of a segment that are its own, in rows whose
   input row at `row_side` is that of the map. */
static void add_dense(const pcsr_band *band, const pcsr_mlp *mlp, uint8_t own, int row_side,
                            int i0, int i1, int j0, int n, int left, const uint8_t *assignment,
                            float *out, int64_t plane, work w) {
    places at = places_of(band, mlp);
    for (int side = 0; side < at.sides; side++) {
        spread(at.columns + side, mlp, left, j0, n, w.map, w.line);
        for (int i = i0; i < i1; i++)
            for (int j = 0; j < n; j += BLOCK) {
                int filled = n - j < BLOCK ? n - j : BLOCK;
                int64_t to = (int64_t)(i - band->first) * band->width + j0 + j;
                const uint8_t *restrict mine = assignment + to;
                if (!holds(mine, filled, own)) continue;
                enter(mlp, w.line + j, at.rows[row_side].offset[i], w.a);
                float *restrict result = rest(mlp, w.a, w.b);
                int32_t chosen[BLOCK] = {0};
                for (int p = 0; p < filled; p++) chosen[p] = -(mine[p] == own);
                if (at.sides > 1) {
                    int32_t row[BLOCK], column[BLOCK];
                    for (int p = 0; p < BLOCK; p++)
                        row[p] = i, column[p] = j0 + j + least(p, filled - 1);
                    weigh(band, row_side, side, row, column, result);
                }
                for (int c = 0; c < 3; c++)
                    add_chosen(result + c * BLOCK, chosen, filled, out + c * plane + to);
            }
    }
}

/* First activations of listed pixels: their columns of the map, and offsets. */
INLINE void enter_listed(const pcsr_mlp *mlp, const float *map, const int32_t *nearest,
                         const float *row_offset, const float *column_offset, float *a) {
    int32_t begin[BLOCK / LANES];
    for (int p = 0; p < BLOCK; p += LANES) begin[p / LANES] = begin_of(nearest + p);
    for (int c = 0; c < mlp->widths[0]; c += GROUP)
        for (int p = 0; p < BLOCK; p += LANES) {
            vec x[GROUP];
            UNROLL for (int g = 0; g < GROUP; g++) {
                int from = least(c + g, mlp->widths[0] - 1);
                vec folded = look_up(map + from * MAP, begin[p / LANES], nearest + p);
                x[g] = folded + mlp->row_weight[from] * AT(row_offset + p) +
                       mlp->column_weight[from] * AT(column_offset + p);
            }
            put(mlp, x, c, a + p);
        }
}

/* Adds the residual of an upsampler to `n` <= BLOCK listed pixels (row, column) [BLOCK]. */
static void add_listed(const pcsr_band *band, const pcsr_mlp *mlp, int row_side, int32_t *row,
                             int32_t *column, int n, int left, float *out, int64_t plane, work w) {
    places at = places_of(band, mlp);
    for (int p = n; p < BLOCK; p++) row[p] = row[n - 1], column[p] = column[n - 1];
    for (int side = 0; side < at.sides; side++) {
        int32_t nearest[BLOCK];
        float row_offset[BLOCK], column_offset[BLOCK];
        for (int p = 0; p < BLOCK; p++) {
            nearest[p] = at.columns[side].nearest[column[p]] - left;
            row_offset[p] = at.rows[row_side].offset[row[p]];
            column_offset[p] = at.columns[side].offset[column[p]];
        }
        enter_listed(mlp, w.map, nearest, row_offset, column_offset, w.a);
        float *result = rest(mlp, w.a, w.b);
        if (at.sides > 1) weigh(band, row_side, side, row, column, result);
        for (int p = 0; p < n; p++) {
            float *to = out + (int64_t)(row[p] - band->first) * band->width + column[p];
            for (int c = 0; c < 3; c++) to[c * plane] += result[c * BLOCK + p];
        }
    }
}

static void add_sparse(const pcsr_band *band, const pcsr_mlp *mlp, uint8_t own, int row_side,
                             int i0, int i1, int j0, int n, int left, const uint8_t *assignment,
                             float *out, int64_t plane, work w) {
    int32_t row[BLOCK], column[BLOCK];
    int listed = 0;
    for (int i = i0; i < i1; i++) {
        const uint8_t *line = assignment + (int64_t)(i - band->first) * band->width;
        for (int j = j0; j < j0 + n; j++) {
            row[listed] = i, column[listed] = j;
            listed += line[j] == own;
            if (listed == BLOCK) {
                add_listed(band, mlp, row_side, row, column, listed, left, out, plane, w);
                listed = 0;
            }
        }
    }
    if (listed) add_listed(band, mlp, row_side, row, column, listed, left, out, plane, w);
}

/* Adds the residual of upsampler m to its own pixels of a segment of the rows i0 .. i1 - 1. Each
   input row that they lie at is folded once; a pixel's neighbours come from above to below, however
   rows are grouped. */
static void add(const pcsr_band *band, const pcsr_mlp *mlp, uint8_t own, int is_dense, int i0,
                      int i1, int j0, int n, const uint8_t *assignment, float *out, int64_t plane,
                      work w) {
    places at = places_of(band, mlp);
    const pcsr_place *last = at.columns + at.sides - 1;
    int left = at.columns->nearest[j0], wide = last->nearest[j0 + n - 1] + 1 - left;
    int bottom = at.rows[at.sides - 1].nearest[i1 - 1];
    for (int row = at.rows->nearest[i0]; row <= bottom; row++)
        for (int side = 0, is_folded = 0; side < at.sides; side++) {
            int from = i0, until;
            while (from < i1 && at.rows[side].nearest[from] < row) from++;
            for (until = from; until < i1 && at.rows[side].nearest[until] == row; until++) {}
            if (!any_holds(band, assignment, from, until, j0, n, own)) continue;
            if (!is_folded) fold(band, mlp, row, left, wide, w.map, w.a, w.b);
            is_folded = 1;
            (is_dense ? add_dense : add_sparse)(
                band, mlp, own, side, from, until, j0, n, left, assignment, out, plane, w);
        }
}

/* One and the same code for whoever calls it: another copy of it, within a caller, might round some
   products and sums elsewhere. */
ALONE static void compose(const pcsr_band *band, const pcsr_mlp *mlps, int count,
                          const uint8_t *assignment, float *out, int64_t plane, double *seconds,
                          work w) {
    for (int i = band->first, end; i < band->last; i = end) {
        end = same_nearest(band, i);
        for (int j = 0; j < band->width; j += SEGMENT) {
            int n = least(SEGMENT, band->width - j);
            int64_t at = (int64_t)(i - band->first) * band->width + j;
            bases(band, mlps, count, i, end, j, n, assignment + at, out + at, plane, w);
            double before = now();
            for (int m = 0; m < count; m++) {
                if (!any_holds(band, assignment, i, end, j, n, m)) continue;
                int is_dense = m + 1 == count;
                add(band, mlps + m, m, is_dense, i, end, j, n, assignment, out, plane, w);
                double after = now();
                seconds[m] += after - before, before = after;
            }
        }
    }
}
