/* Chosen pixels of some rows alone. Those of each input row are composed side by side, as columns of
   a narrow image: what they read is gathered, and all arithmetic is that of `compose`. */
#pragma once
#include "listed_sizes.h"
#include "upsamplers.h"

enum { NONE = 255 };

/* Output columns, and the axis of the narrow image. */
typedef struct {
    int count, read;
    int32_t column[LISTED], input[READ];
    int32_t nearest[3][LISTED], lower[LISTED], upper[LISTED];
    float offset[3][LISTED], weight[LISTED];
} narrow;

/* Where the gathered input, the narrow labels and the narrow result lie. */
typedef struct {
    float *features, *image, *out;
    uint8_t *labels;
} narrow_room;

static narrow_room divide_room(int depth, int feature_rows, float *scratch) {
    narrow_room room = {.features = scratch};
    room.image = room.features + (int64_t)depth * feature_rows * READ;
    room.out = room.image + 3 * IMAGE_ROWS * READ;
    room.labels = (uint8_t *)(room.out + 3 * LISTED_ROWS * LISTED);
    return room;
}

/* Lists an output column, with the input columns that it reads; false: there is no room. */
static int list_column(const pcsr_axis *x, int has_sides, int j, narrow *to) {
    const pcsr_place *places[3] = {&x->centre, x->sides, x->sides + 1};
    int first = least(x->centre.nearest[j], x->lower[j]);
    int last = most(x->centre.nearest[j], x->upper[j]);
    for (int s = 1; s < 3 && has_sides; s++) {
        first = least(first, places[s]->nearest[j]);
        last = most(last, places[s]->nearest[j]);
    }
    int known = to->read ? to->input[to->read - 1] : -1;
    int fresh = most(first, known + 1);
    if (to->count == LISTED || to->read + most(0, last - fresh + 1) > READ) return 0;
    for (int u = fresh; u <= last; u++) to->input[to->read++] = u;
    int shift = to->read - 1 - to->input[to->read - 1], at = to->count++;
    to->column[at] = j;
    for (int s = 0; s < (has_sides ? 3 : 1); s++) {
        to->nearest[s][at] = places[s]->nearest[j] + shift;
        to->offset[s][at] = places[s]->offset[j];
    }
    to->lower[at] = x->lower[j] + shift, to->upper[at] = x->upper[j] + shift;
    to->weight[at] = x->weight[j];
    return 1;
}

/* Gathers columns of rows first .. last of planes, whose first row is `top`. */
static void gather(const float *planes, int64_t plane, int count, int top, int width, int first,
                   int last, const narrow *n, float *out) {
    for (int c = 0; c < count; c++)
        for (int i = first; i <= last; i++) {
            const float *from = planes + c * plane + (int64_t)(i - top) * width;
            for (int u = 0; u < n->read; u++) *out++ = from[n->input[u]];
        }
}

/* The band of the narrow image, for output rows i0 .. i1 - 1. */
static pcsr_band narrow_band(const pcsr_band *band, int has_sides, const narrow *n, int i0, int i1,
                             narrow_room room) {
    const pcsr_axis *y = &band->rows;
    int first = y->centre.nearest[i0], last = y->centre.nearest[i1 - 1];
    if (has_sides) {
        first = least(first, y->sides[0].nearest[i0]);
        last = most(last, y->sides[1].nearest[i1 - 1]);
    }
    int lower = y->lower[i0], upper = y->upper[i1 - 1];
    gather(band->features, band->feature_plane, band->depth, band->top, band->lr_width, first, last,
           n, room.features);
    gather(band->image, band->image_plane, 3, band->image_top, band->lr_width, lower, upper, n,
           room.image);
    pcsr_band made = *band;
    made.lr_width = n->read, made.width = n->count;
    made.top = first, made.image_top = lower, made.first = i0, made.last = i1;
    made.feature_plane = (int64_t)(last - first + 1) * n->read;
    made.image_plane = (int64_t)(upper - lower + 1) * n->read;
    made.features = room.features, made.image = room.image;
    made.columns.centre = (pcsr_place){n->nearest[0], n->offset[0]};
    for (int s = 0; s < 2; s++)
        made.columns.sides[s] = (pcsr_place){n->nearest[1 + s], n->offset[1 + s]};
    made.columns.lower = n->lower, made.columns.upper = n->upper, made.columns.weight = n->weight;
    return made;
}

/* Composes the chosen pixels of listed columns; false: one is NaN or infinite. */
static int compose_narrow(const pcsr_band *band, const pcsr_mlp *mlps, int count, int has_sides,
                          int is_mixed, const narrow *n, int i0, int i1, const uint8_t *assignment,
                          const uint8_t *chosen, float *out, int64_t plane, double *seconds, work w,
                          narrow_room room) {
    int64_t start = (int64_t)(i0 - band->first) * band->width, narrow_plane = (i1 - i0) * n->count;
    uint8_t *label = room.labels;
    for (int i = 0; i < i1 - i0; i++)
        for (int p = 0; p < n->count; p++) {
            int64_t at = start + (int64_t)i * band->width + n->column[p];
            *label++ = chosen[at] || is_mixed ? assignment[at] : NONE; /* a base needs a label */
        }
    pcsr_band made = narrow_band(band, has_sides, n, i0, i1, room);
    compose(&made, mlps, count, room.labels, room.out, narrow_plane, seconds, w);
    int is_finite = 1;
    for (int c = 0; c < 3; c++) {
        const float *from = room.out + c * narrow_plane;
        for (int i = 0; i < i1 - i0; i++)
            for (int p = 0; p < n->count; p++, from++) {
                int64_t at = start + (int64_t)i * band->width + n->column[p];
                if (!chosen[at]) continue;
                out[c * plane + at] = *from;
                is_finite &= *from - *from == 0;
            }
    }
    return is_finite;
}

/* Which columns have a chosen pixel in some rows. */
static void any_chosen(const uint8_t *restrict chosen, int rows, int64_t width, int n,
                       uint8_t *restrict any) {
    memcpy(any, chosen, n);
    for (int i = 1; i < rows; i++)
        for (int j = 0; j < n; j++) any[j] |= chosen[i * width + j];
}

static int compose_listed(const pcsr_band *band, const pcsr_mlp *mlps, int count, int feature_rows,
                          const uint8_t *assignment, const uint8_t *chosen, float *out,
                          int64_t plane, double *seconds, work w, float *scratch) {
    narrow_room room = divide_room(band->depth, feature_rows, scratch);
    int is_mixed = 0, has_sides = 0, is_finite = 1;
    for (int m = 0; m < count; m++) {
        is_mixed |= mlps[m].base != mlps[0].base;
        has_sides |= mlps[m].neighbours == 4;
    }
    for (int i = band->first, end; i < band->last; i = end) {
        end = least(same_nearest(band, i), i + LISTED_ROWS);
        for (int j0 = 0; j0 < band->width; j0 += SEGMENT) {
            uint8_t any[SEGMENT];
            int n = least(SEGMENT, band->width - j0);
            int64_t at = (int64_t)(i - band->first) * band->width + j0;
            any_chosen(chosen + at, end - i, band->width, n, any);
            narrow listed;
            listed.count = listed.read = 0;
            for (int j = 0; j <= n; j++) {
                const uint8_t *next = memchr(any + j, 1, n - j);
                j = next ? (int)(next - any) : n;
                if (j < n && list_column(&band->columns, has_sides, j0 + j, &listed)) continue;
                if (listed.count)
                    is_finite &= compose_narrow(band, mlps, count, has_sides, is_mixed, &listed, i,
                                                end, assignment, chosen, out, plane, seconds, w,
                                                room);
                listed.count = listed.read = 0;
                if (j < n) list_column(&band->columns, has_sides, j0 + j, &listed);
            }
        }
    }
    return is_finite;
}
