/* Chooses the passes for this processor, once, when the library is loaded. */
#include "instructions.h"
#include "listed_sizes.h"
#include "passes.h"

#include <math.h>

enum { GENERIC, AVX2, AVX512, SETS };

static const passes *chosen;

static void choose(int set) {
    const passes *sets[SETS] = {pcsr_generic, pcsr_avx2, pcsr_avx512};
    while (!sets[set]) set--;
    chosen = sets[set];
}

__attribute__((constructor)) static void choose_best(void) {
    int32_t has = pcsr_features();
    choose(has & PCSR_AVX512 ? AVX512 : has & PCSR_AVX2 ? AVX2 : GENERIC);
}

const char *pcsr_instructions(void) { return chosen->name; }

int32_t pcsr_has_bf16(void) { return pcsr_avx512_bf16 && pcsr_features() & PCSR_AVX512_BF16; }

int32_t pcsr_has_vnni(void) { return (pcsr_features() & PCSR_AVX512_VNNI) != 0; }

static const passes *passes_of(const pcsr_band *band) {
    return band->bf16 ? pcsr_avx512_bf16 : chosen;
}

int64_t pcsr_scratch(int32_t widest, int32_t dense) {
    return (int64_t)widest * (MAP + 2 * BLOCK) + (int64_t)dense * MAP + 2 * MAP + ALIGNED;
}

static work divided(float *scratch, int depth, const pcsr_mlp *mlps, int count) {
    int widest = depth;
    for (int m = 0; m < count; m++)
        for (int l = 0; l <= mlps[m].layers; l++)
            if (mlps[m].widths[l] > widest) widest = mlps[m].widths[l];
    /* A vector that crosses a cache line takes twice as long to load. */
    work w = {.map = scratch + (-(uintptr_t)scratch / sizeof(float)) % ALIGNED};
    w.a = w.map + (int64_t)widest * MAP;
    w.b = w.a + (int64_t)widest * BLOCK;
    w.line = w.b + (int64_t)widest * BLOCK;
    return w;
}

void pcsr_dense(const pcsr_band *band, const pcsr_mlp *mlp, float *out, float *scratch) {
    passes_of(band)->dense(band, mlp, out, divided(scratch, band->depth, mlp, 1));
}

void pcsr_compose(const pcsr_band *band, const pcsr_mlp *mlps, int32_t count,
                  const uint8_t *assignment, float *out, int64_t plane, double *seconds,
                  float *scratch) {
    work w = divided(scratch, band->depth, mlps, count);
    passes_of(band)->compose(band, mlps, count, assignment, out, plane, seconds, w);
}

int32_t pcsr_fill(const pcsr_band *band, const pcsr_mlp *classifier, const float *logits,
                  pcsr_cut cut, const pcsr_mlp *mlps, uint8_t *assignment, float *difficulty,
                  float *out, int64_t plane, double *seconds, float *scratch) {
    const pcsr_mlp all[] = {*classifier, mlps[0], mlps[1]};
    work w = divided(scratch, band->depth, all, 3);
    return passes_of(band)->fill(band, classifier, logits, cut, mlps, assignment, difficulty, out,
                                 plane, seconds, w);
}

void pcsr_count(const uint8_t *labels, int64_t n, int32_t count, int64_t *counts) {
    chosen->count(labels, n, count, counts);
}

void pcsr_finish(const float *planes, const uint8_t *assignment, int32_t height, int32_t width,
                 int32_t first, int32_t last, int32_t refine_below, int32_t peak, void *out,
                 float *scratch) {
    chosen->finish(planes, assignment, height, width, first, last, refine_below, peak, out,
                   scratch);
}

void pcsr_sigmoid(const float *values, int64_t n, float *out) { chosen->sigmoid(values, n, out); }

int64_t pcsr_listed_room(int32_t depth, int32_t feature_rows) {
    return (int64_t)(depth * feature_rows + 3 * IMAGE_ROWS) * READ + 4 * LISTED_ROWS * LISTED;
}

int32_t pcsr_compose_listed(const pcsr_band *band, const pcsr_mlp *mlps, int32_t count,
                            int32_t feature_rows, const uint8_t *assignment,
                            const uint8_t *chosen, float *out, int64_t plane, double *seconds,
                            float *scratch, float *room) {
    work w = divided(scratch, band->depth, mlps, count);
    return passes_of(band)->compose_listed(band, mlps, count, feature_rows, assignment, chosen, out,
                                           plane, seconds, w, room);
}

void pcsr_finish_fresh(const float *planes, const uint8_t *assignment, const uint8_t *fresh,
                       int32_t height, int32_t width, int32_t first, int32_t last,
                       int32_t refine_below, int32_t peak, void *out, float *scratch) {
    chosen->finish_fresh(planes, assignment, fresh, height, width, first, last, refine_below, peak,
                         out, scratch);
}

void pcsr_relabel(const float *keys, int64_t n, const float *limits, int32_t count,
                  uint8_t *labels, uint8_t *fresh, int64_t *counts) {
    for (int64_t i = 0; i < n; i += BLOCK) {
        uint8_t found[BLOCK] = {0};
        int filled = n - i < BLOCK ? (int)(n - i) : BLOCK;
        for (int32_t m = 0; m < count; m++) {
            float limit = limits[m];
            for (int p = 0; p < filled; p++) found[p] += keys[i + p] < limit;
        }
        if (!memcmp(found, labels + i, filled)) continue;
        for (int p = 0; p < filled; p++) {
            if (found[p] == labels[i + p]) continue;
            counts[labels[i + p]]--, counts[found[p]]++;
            labels[i + p] = found[p], fresh[i + p] = 1;
        }
    }
}

/* A histogram that is being filled. */
typedef struct {
    float first, width;
    int32_t bins;
    double *table, grain; /* a double of this size has the multiples that sums are made of */
} histogram;

static histogram histogram_of(float first, float last, int32_t bins, double *table) {
    int exponent;
    frexp((double)(last - first), &exponent);
    return (histogram){first, last - first, bins, table, ldexp(1.5, exponent - 41 + 52)};
}

static inline void count_in(const histogram *to, float value, double times) {
    float at = (value - to->first) / to->width * (float)to->bins;
    int32_t bin = at > 0 ? at < (float)to->bins ? (int32_t)at : to->bins - 1 : 0;
    bin = bin < to->bins - 1 ? bin : to->bins - 1;
    to->table[2 * bin] += times;
    to->table[2 * bin + 1] += times * (((double)value + to->grain) - to->grain);
}

void pcsr_histogram(const float *values, int64_t n, float first, float last, int32_t bins,
                    double *table) {
    histogram to = histogram_of(first, last, bins, table);
    for (int64_t i = 0; i < n; i++) count_in(&to, values[i], 1);
}

void pcsr_histogram_moved(const float *from, const float *to, int64_t n, float first, float last,
                          int32_t bins, double *table) {
    histogram of = histogram_of(first, last, bins, table);
    for (int64_t i = 0; i < n; i++) {
        if (from[i] == to[i]) continue;
        count_in(&of, from[i], -1), count_in(&of, to[i], 1);
    }
}
