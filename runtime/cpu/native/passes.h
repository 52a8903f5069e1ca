/* The passes for one instruction set: included once for each, with LANES, VECTORS and NAME set. */

typedef float NAME(vec) __attribute__((vector_size(LANES * 4)));
typedef float NAME(unaligned) __attribute__((vector_size(LANES * 4), aligned(4)));
typedef int32_t NAME(mask) __attribute__((vector_size(LANES * 4)));
typedef int32_t NAME(unaligned_mask) __attribute__((vector_size(LANES * 4), aligned(4)));
#define VEC NAME(vec)
#define AT(p) (*(const NAME(unaligned) *)(p))
#define STORE(p, v) (*(NAME(unaligned) *)(p) = (v))
#define RELU(v) ((VEC)((NAME(mask))(v) & ~((v) < 0))) /* NaN stays */

/* n outputs of a layer for VECTORS * LANES pixels: the sums stay in registers. */
INLINE void NAME(tile)(const float *in, int64_t inputs, const float *weight, const float *bias,
                       float *out, const int n, const int relu) {
    VEC sum[OUTPUTS][VECTORS];
    UNROLL for (int o = 0; o < n; o++)
        UNROLL for (int v = 0; v < VECTORS; v++) sum[o][v] = bias[o] - (VEC){0};
    for (int64_t k = 0; k < inputs; k++) {
        VEC x[VECTORS];
        UNROLL for (int v = 0; v < VECTORS; v++) x[v] = AT(in + k * BLOCK + v * LANES);
        UNROLL for (int o = 0; o < n; o++)
            UNROLL for (int v = 0; v < VECTORS; v++) sum[o][v] += x[v] * weight[o * inputs + k];
    }
    UNROLL for (int o = 0; o < n; o++)
        UNROLL for (int v = 0; v < VECTORS; v++) {
            VEC s = sum[o][v];
            STORE(out + o * BLOCK + v * LANES, relu ? RELU(s) : s);
        }
}

INLINE void NAME(tiles)(const float *in, int64_t inputs, const float *weight, const float *bias,
                        float *out, int outputs, const int relu) {
    for (; outputs >= OUTPUTS; outputs -= OUTPUTS) {
        NAME(tile)(in, inputs, weight, bias, out, OUTPUTS, relu);
        weight += OUTPUTS * inputs, bias += OUTPUTS, out += OUTPUTS * BLOCK;
    }
    switch (outputs) {
    case 5: NAME(tile)(in, inputs, weight, bias, out, 5, relu); break;
    case 4: NAME(tile)(in, inputs, weight, bias, out, 4, relu); break;
    case 3: NAME(tile)(in, inputs, weight, bias, out, 3, relu); break;
    case 2: NAME(tile)(in, inputs, weight, bias, out, 2, relu); break;
    case 1: NAME(tile)(in, inputs, weight, bias, out, 1, relu); break;
    }
}

/* One layer on a block: in [inputs][BLOCK] -> out [outputs][BLOCK]. */
static void NAME(layer)(const float *in, int64_t inputs, const float *weight, const float *bias,
                        float *out, int outputs, int relu) {
    for (int p = 0; p < BLOCK; p += VECTORS * LANES) {
        if (relu)
            NAME(tiles)(in + p, inputs, weight, bias, out + p, outputs, 1);
        else
            NAME(tiles)(in + p, inputs, weight, bias, out + p, outputs, 0);
    }
}

/* The layers behind the first: activations in a, work space b; returns where the result lies. */
static float *NAME(rest)(const pcsr_mlp *mlp, float *a, float *b) {
    const float *weight = mlp->rest;
    for (int l = 0; l < mlp->layers; l++) {
        int inputs = mlp->widths[l], outputs = mlp->widths[l + 1];
        const float *bias = weight + (int64_t)inputs * outputs;
        NAME(layer)(a, inputs, weight, bias, b, outputs, l + 1 < mlp->layers);
        weight = bias + outputs;
        float *done = b;
        b = a, a = done;
    }
    return a;
}

/* The folded first layer of input pixels left .. left + n - 1 of a row: map [widths[0]][SEGMENT]. */
static void NAME(fold)(const pcsr_band *band, const pcsr_mlp *mlp, int row, int left, int n,
                       float *map, float *a, float *b) {
    const float *source = band->features + (int64_t)(row - band->top) * band->lr_width + left;
    for (int u = 0; u < n; u += BLOCK) {
        int filled = n - u < BLOCK ? n - u : BLOCK;
        for (int64_t d = 0; d < band->depth; d++) {
            memcpy(a + d * BLOCK, source + d * band->feature_plane + u, filled * sizeof(float));
            memset(a + d * BLOCK + filled, 0, (BLOCK - filled) * sizeof(float));
        }
        NAME(layer)(a, band->depth, mlp->feature_weight, mlp->constant, b, mlp->widths[0], 0);
        for (int64_t c = 0; c < mlp->widths[0]; c++)
            memcpy(map + c * MAP + u, b + c * BLOCK, filled * sizeof(float));
    }
}

/* out [LANES] = line[index[..]]. Listed pixels lie close together: with AVX-512, two loads and a
   permutation take a quarter of the time of a gather. */
INLINE void NAME(look_up)(const float *restrict line, const int32_t *restrict index,
                          float *restrict out) {
#if LANES == 16
    int low = index[0], high = index[0];
    for (int p = 1; p < LANES; p++) low = least(low, index[p]), high = most(high, index[p]);
    if (high - low < 2 * LANES) {
        __m512i places = _mm512_sub_epi32(_mm512_loadu_si512(index), _mm512_set1_epi32(low));
        __m512 first = _mm512_loadu_ps(line + low), second = _mm512_loadu_ps(line + low + LANES);
        _mm512_storeu_ps(out, _mm512_permutex2var_ps(first, places, second));
        return;
    }
#endif
    for (int p = 0; p < LANES; p++) out[p] = line[index[p]];
}

/* The map, whose first column is input column `left`, spread over output columns j0 .. j0 + n - 1,
   column offsets in: [widths[0]][SEGMENT]. */
static void NAME(spread)(const pcsr_place *columns, const pcsr_mlp *mlp, int left, int j0, int n,
                         const float *map, float *out) {
    int32_t nearest[SEGMENT];
    float offset[SEGMENT];
    int whole = (n + LANES - 1) / LANES * LANES;
    for (int j = 0; j < whole; j++) {
        int from = j0 + least(j, n - 1);
        nearest[j] = columns->nearest[from] - left;
        offset[j] = columns->offset[from];
    }
    for (int64_t c = 0; c < mlp->widths[0]; c++) {
        float *to = out + c * SEGMENT, weight = mlp->column_weight[c];
        for (int j = 0; j < whole; j += LANES) {
            NAME(look_up)(map + c * MAP, nearest + j, to + j);
            STORE(to + j, AT(to + j) + weight * AT(offset + j));
        }
    }
}

/* First activations of a block of a row whose spread map begins at `line`. */
INLINE void NAME(enter)(const pcsr_mlp *mlp, const float *line, float row_offset, float *a) {
    for (int64_t c = 0; c < mlp->widths[0]; c++) {
        float shift = mlp->row_weight[c] * row_offset;
        for (int p = 0; p < BLOCK; p += LANES) {
            VEC x = AT(line + c * SEGMENT + p) + shift;
            STORE(a + c * BLOCK + p, mlp->layers ? RELU(x) : x);
        }
    }
}

/* One segment of the rows i0 .. i1 - 1, which share their nearest input row. */
static void NAME(dense_segment)(const pcsr_band *band, const pcsr_mlp *mlp, int i0, int i1, int j0,
                                int n, float *out, work w) {
    const pcsr_place *rows = &band->rows.centre, *columns = &band->columns.centre;
    int left = columns->nearest[j0], right = columns->nearest[j0 + n - 1] + 1;
    int outputs = mlp->widths[mlp->layers];
    int64_t plane = (int64_t)(band->last - band->first) * band->width;
    NAME(fold)(band, mlp, rows->nearest[i0], left, right - left, w.map, w.a, w.b);
    NAME(spread)(columns, mlp, left, j0, n, w.map, w.line);
    for (int i = i0; i < i1; i++)
        for (int j = 0; j < n; j += BLOCK) {
            int filled = n - j < BLOCK ? n - j : BLOCK;
            NAME(enter)(mlp, w.line + j, rows->offset[i], w.a);
            const float *result = NAME(rest)(mlp, w.a, w.b);
            float *to = out + (int64_t)(i - band->first) * band->width + j0 + j;
            for (int64_t o = 0; o < outputs; o++)
                memcpy(to + o * plane, result + o * BLOCK, filled * sizeof(float));
        }
}

TARGET void NAME(dense)(const pcsr_band *band, const pcsr_mlp *mlp, float *out, work w) {
    for (int i = band->first, end; i < band->last; i = end) {
        end = same_nearest(band, i);
        for (int j = 0; j < band->width; j += SEGMENT)
            NAME(dense_segment)(band, mlp, i, end, j, least(SEGMENT, band->width - j), out, w);
    }
}

/* out [3][plane] = bilinear upsample of the image, for a segment of row i. */
static void NAME(bilinear)(const pcsr_band *band, int i, int j0, int n, float *out, int64_t plane,
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
            NAME(look_up)(line, from + j, first);
            NAME(look_up)(line, until + j, second);
            VEC mixed = AT(first) + AT(weight + j) * (AT(second) - AT(first));
            memcpy(out + c * plane + j, &mixed, least(LANES, n - j) * sizeof(float));
        }
    }
}

/* to += values where chosen (-1, not 0), for n pixels. */
INLINE void NAME(add_chosen)(const float *values, const int32_t *chosen, int n, float *to) {
    int p = 0;
    for (; p + LANES <= n; p += LANES) {
        NAME(mask) bits = (NAME(mask))AT(values + p) & *(const NAME(unaligned_mask) *)(chosen + p);
        STORE(to + p, AT(to + p) + (VEC)bits);
    }
    for (; p < n; p++) to[p] += chosen[p] ? values[p] : 0;
}

/* Scales the residuals [3][BLOCK] of pixels by the weight of their neighbour at `row_side` and
   `column_side`: the area of the diagonally opposite one, over the sum of all four. */
static void NAME(weigh)(const pcsr_band *band, int row_side, int column_side, const int32_t *row,
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
static void NAME(add_dense)(const pcsr_band *band, const pcsr_mlp *mlp, uint8_t own, int row_side,
                            int i0, int i1, int j0, int n, int left, const uint8_t *assignment,
                            float *out, int64_t plane, work w) {
    places at = places_of(band, mlp);
    for (int side = 0; side < at.sides; side++) {
        NAME(spread)(at.columns + side, mlp, left, j0, n, w.map, w.line);
        for (int i = i0; i < i1; i++)
            for (int j = 0; j < n; j += BLOCK) {
                int filled = n - j < BLOCK ? n - j : BLOCK;
                int64_t to = (int64_t)(i - band->first) * band->width + j0 + j;
                const uint8_t *restrict mine = assignment + to;
                if (!holds(mine, filled, own)) continue;
                NAME(enter)(mlp, w.line + j, at.rows[row_side].offset[i], w.a);
                float *restrict result = NAME(rest)(mlp, w.a, w.b);
                int32_t chosen[BLOCK] = {0};
                for (int p = 0; p < filled; p++) chosen[p] = -(mine[p] == own);
                if (at.sides > 1) {
                    int32_t row[BLOCK], column[BLOCK];
                    for (int p = 0; p < BLOCK; p++)
                        row[p] = i, column[p] = j0 + j + least(p, filled - 1);
                    NAME(weigh)(band, row_side, side, row, column, result);
                }
                for (int c = 0; c < 3; c++)
                    NAME(add_chosen)(result + c * BLOCK, chosen, filled, out + c * plane + to);
            }
    }
}

/* Adds the residual of an upsampler to `n` <= BLOCK listed pixels (row, column) [BLOCK]. */
static void NAME(add_listed)(const pcsr_band *band, const pcsr_mlp *mlp, int row_side, int32_t *row,
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
        for (int64_t c = 0; c < mlp->widths[0]; c++) {
            float y = mlp->row_weight[c], x = mlp->column_weight[c];
            const float *restrict map = w.map + c * MAP;
            float *restrict a = w.a + c * BLOCK;
            for (int p = 0; p < BLOCK; p += LANES) {
                NAME(look_up)(map, nearest + p, a + p);
                VEC sum = AT(a + p) + y * AT(row_offset + p) + x * AT(column_offset + p);
                STORE(a + p, mlp->layers ? RELU(sum) : sum);
            }
        }
        float *result = NAME(rest)(mlp, w.a, w.b);
        if (at.sides > 1) NAME(weigh)(band, row_side, side, row, column, result);
        for (int p = 0; p < n; p++) {
            float *to = out + (int64_t)(row[p] - band->first) * band->width + column[p];
            for (int c = 0; c < 3; c++) to[c * plane] += result[c * BLOCK + p];
        }
    }
}

static void NAME(add_sparse)(const pcsr_band *band, const pcsr_mlp *mlp, uint8_t own, int row_side,
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
                NAME(add_listed)(band, mlp, row_side, row, column, listed, left, out, plane, w);
                listed = 0;
            }
        }
    }
    if (listed) NAME(add_listed)(band, mlp, row_side, row, column, listed, left, out, plane, w);
}

/* Adds the residual of upsampler m to its own pixels of a segment of the rows i0 .. i1 - 1. Each
   input row that they lie at is folded once; a pixel's neighbours come from above to below, however
   rows are grouped. */
static void NAME(add)(const pcsr_band *band, const pcsr_mlp *mlp, uint8_t own, int is_dense, int i0,
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
            if (!is_folded) NAME(fold)(band, mlp, row, left, wide, w.map, w.a, w.b);
            is_folded = 1;
            (is_dense ? NAME(add_dense) : NAME(add_sparse))(
                band, mlp, own, side, from, until, j0, n, left, assignment, out, plane, w);
        }
}

/* out [3][plane] = the bases of a segment of row i, [n] labels of its pixels. */
static void NAME(bases)(const pcsr_band *band, const pcsr_mlp *mlps, int count, int i, int j0,
                        int n, const uint8_t *restrict labels, float *out, int64_t plane, work w) {
    int bilinear = 0, bare = 0;
    for (int m = 0; m < count; m++) mlps[m].base ? bilinear++ : bare++;
    if (bilinear) NAME(bilinear)(band, i, j0, n, out, plane, w.line);
    if (!bare) return;
    for (int c = 0; c < 3; c++)
        for (int j = 0; j < n; j++)
            if (!bilinear || !mlps[labels[j]].base) out[c * plane + j] = 0;
}

TARGET void NAME(compose)(const pcsr_band *band, const pcsr_mlp *mlps, int count,
                          const uint8_t *assignment, float *out, int64_t plane, double *seconds,
                          work w) {
    for (int i = band->first, end; i < band->last; i = end) {
        end = same_nearest(band, i);
        for (int j = 0; j < band->width; j += SEGMENT) {
            int n = least(SEGMENT, band->width - j);
            int64_t at = (int64_t)(i - band->first) * band->width + j;
            for (int row = i; row < end; row++, at += band->width)
                NAME(bases)(band, mlps, count, row, j, n, assignment + at, out + at, plane, w);
            double before = now();
            for (int m = 0; m < count; m++) {
                if (!any_holds(band, assignment, i, end, j, n, m)) continue;
                int is_dense = m + 1 == count;
                NAME(add)(band, mlps + m, m, is_dense, i, end, j, n, assignment, out, plane, w);
                double after = now();
                seconds[m] += after - before, before = after;
            }
        }
    }
}

/* 1 / (1 + exp(-x)), to a few units in the last place; NaN stays. */
TARGET void NAME(sigmoid)(const float *restrict x, int64_t n, float *restrict out) {
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
INLINE void NAME(refine)(const float *restrict row, int width, const uint8_t *restrict change,
                         float *restrict sums, float *restrict out) {
    for (int j = 0; j < width; j++) sums[j] = row[j - width] + row[j] + row[j + width];
    for (int j = 1; j + 1 < width; j++) {
        float mean = (sums[j - 1] + sums[j] + sums[j + 1]) * (1.0f / 9);
        out[j] = change[j] ? mean : row[j];
    }
    out[0] = row[0], out[width - 1] = row[width - 1];
}

/* Which pixels of a row inside the frame are light and beside a heavy one; false: none. */
static int NAME(changes)(const uint8_t *restrict row, int width, uint8_t refine_below,
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

TARGET void NAME(finish)(const float *planes, const uint8_t *assignment, int height, int width,
                         int first, int last, int refine_below, int peak, void *out,
                         float *scratch) {
    float *lines = scratch, *sums = scratch + 3 * (int64_t)width;
    uint8_t *near = (uint8_t *)(sums + width), *change = near + width;
    for (int i = first; i < last; i++) {
        int64_t at = (int64_t)i * width, to = (int64_t)(i - first) * width * 3;
        const float *rgb[3];
        int refined = refine_below && i > 0 && i + 1 < height && width > 2 &&
                      NAME(changes)(assignment + at, width, refine_below, near, change);
        for (int c = 0; c < 3; c++) {
            rgb[c] = planes + c * (int64_t)height * width + at;
            if (!refined) continue;
            NAME(refine)(rgb[c], width, change, sums, lines + c * (int64_t)width);
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

#undef VEC
#undef AT
#undef STORE
#undef RELU
#undef LANES
#undef VECTORS
#undef OUTPUTS
#undef NAME
