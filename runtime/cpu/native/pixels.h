/* Per-pixel passes on the CPU: MLPs behind the folded first layer, bilinear base, refinement.

   Everything is channels-first inside: a block is [channels][BLOCK] output pixels, so that vector
   lanes are pixels and a layer of any width wastes none of them. Sizes count elements. */
#pragma once
#include <stdint.h>

/* rest: of layer l >= 1 the weight [widths[l + 1]][widths[l]], then its bias; all layers one after
   another. widths[0] is the width of the folded first layer, widths[layers] the number of outputs.
   Only of bands that ask for bf16: feature_pairs and pairs, the same as feature_weight and rest with
   weights in bfloat16, [outputs][(inputs + 1) / 2], that of an even input in the lower half, 0 beside
   an odd last one; biases are their own bits. */
typedef struct {
    int32_t layers;
    const int32_t *widths;
    const float *feature_weight; /* [widths[0]][depth] */
    const float *row_weight;     /* [widths[0]] of the row offset */
    const float *column_weight;  /* [widths[0]] of the column offset */
    const float *constant;       /* [widths[0]] bias + cell */
    const float *rest;
    const uint32_t *feature_pairs, *pairs;
    int32_t neighbours; /* 1; or 4, of an upsampler that is evaluated at each and weighed by area */
    int32_t base;       /* 1: an upsampler's residual is added to the bilinear upsample; 0: alone */
} pcsr_mlp;

/* [n] per output row or column: an input pixel, and the distance to its centre. */
typedef struct {
    const int32_t *nearest;
    const float *offset;
} pcsr_place;

/* The nearest input pixel; those of a local ensemble, (above, below) or (left, right); the taps of
   the bilinear. */
typedef struct {
    pcsr_place centre, sides[2];
    const int32_t *lower, *upper;
    const float *weight;
} pcsr_axis;

/* A band of an image: features [depth][feature_plane], whose first row is input row `top`; image
   [3][image_plane], from input row `image_top` on; output rows first .. last - 1, `width` wide.
   Features are there of all input rows that these lie at: with four neighbours of those beside the
   nearest ones, too. */
typedef struct {
    int32_t depth, lr_width, width, top, image_top, first, last;
    int64_t feature_plane, image_plane;
    const float *features, *image;
    pcsr_axis rows, columns;
    int32_t bf16; /* 1: products in bfloat16, sums in float32 */
} pcsr_band;

/* Floats of scratch memory that the passes need. */
int64_t pcsr_scratch(int32_t widest, int32_t dense);

/* Outputs of one MLP for every pixel of the band: out [outputs][last - first][width]. */
void pcsr_dense(const pcsr_band *band, const pcsr_mlp *mlp, float *out, float *scratch);

/* At each pixel the base plus the residual of its upsampler: out [3][plane], of each
   [last - first][width]. assignment [last - first][width]: which of the mlps, heaviest first.
   seconds [count]: the time that each took is added to it; all else is the bases'. */
void pcsr_compose(const pcsr_band *band, const pcsr_mlp *mlps, int32_t count,
                  const uint8_t *assignment, float *out, int64_t plane, double *seconds,
                  float *scratch);

/* Between two upsamplers a pixel is routed to the heavy one, 0, where its logit is above `bound`, or
   where its difficulty is at least that. */
typedef struct {
    int32_t of_difficulty;
    float bound;
} pcsr_cut;

/* What pcsr_fill comes upon: NaN or infinity among the logits, or the composed colours. */
enum { PCSR_FINITE, PCSR_LOGITS, PCSR_COLOURS };

/* Classifies, routes and composes the pixels of a band with two upsamplers. logits [last - first]
   [width]: what the classifier gives; NULL: it is evaluated. assignment, difficulty [last - first]
   [width] are written, out as by pcsr_compose. seconds [5]: the time of the classifier, of
   routing, nothing, and that of each upsampler. Where it returns early, the rest is not written. */
int32_t pcsr_fill(const pcsr_band *band, const pcsr_mlp *classifier, const float *logits,
                  pcsr_cut cut, const pcsr_mlp *mlps, uint8_t *assignment, float *difficulty,
                  float *out, int64_t plane, double *seconds, float *scratch);

/* Adds to counts [count] how many of n labels each of the first `count` has. */
void pcsr_count(const uint8_t *labels, int64_t n, int32_t count, int64_t *counts);

/* Refinement and conversion of rows of planes [3][height][width] to out [last - first][width][3].
   peak: 0 for float32, as it is; 255 uint8; 65535 uint16. refine_below: pixels of assignment
   [height][width] below it are heavy; 0: no refinement. */
void pcsr_finish(const float *planes, const uint8_t *assignment, int32_t height, int32_t width,
                 int32_t first, int32_t last, int32_t refine_below, int32_t peak, void *out,
                 float *scratch);

/* Composes again the pixels of `chosen` [last - first][width] that are 1, and leaves all others of
   out as they are; else as pcsr_compose. Returns 0 where one of them is NaN or infinite.
   feature_rows: the most input rows whose features the output rows of one nearest input row read.
   room: floats beside the scratch memory, as many as pcsr_listed_room. */
int32_t pcsr_compose_listed(const pcsr_band *band, const pcsr_mlp *mlps, int32_t count,
                            int32_t feature_rows, const uint8_t *assignment,
                            const uint8_t *chosen, float *out, int64_t plane, double *seconds,
                            float *scratch, float *room);
int64_t pcsr_listed_room(int32_t depth, int32_t feature_rows);

/* Finishes again the pixels that are 1 in `fresh` [height][width], and those beside them; all
   others of out stay, or are finished again. scratch [9 * width]; else as pcsr_finish. */
void pcsr_finish_fresh(const float *planes, const uint8_t *assignment, const uint8_t *fresh,
                       int32_t height, int32_t width, int32_t first, int32_t last,
                       int32_t refine_below, int32_t peak, void *out, float *scratch);

/* Labels n pixels: how many of `limits` [count] their key lies below. Where a label is another one
   than it was, it is written, `fresh` is set to 1, and counts [count + 1] of labels follow. */
void pcsr_relabel(const float *keys, int64_t n, const float *limits, int32_t count,
                  uint8_t *labels, uint8_t *fresh, int64_t *counts);

/* out[i] = 1 / (1 + exp(-values[i])). */
void pcsr_sigmoid(const float *values, int64_t n, float *out);

/* Adds n values in [0, 1] to a histogram from `first` to `last`, table [bins][2] of count and sum.
   Sums are of multiples of 2^-41 of the range (its next power of two), which they are exact of in
   any order, of 2^26 values of a bin. */
void pcsr_histogram(const float *values, int64_t n, float first, float last, int32_t bins,
                    double *table);

/* Takes n values out of a histogram, and adds as many others. */
void pcsr_histogram_moved(const float *from, const float *to, int64_t n, float first, float last,
                          int32_t bins, double *table);

/* The instruction set in use: "avx512", "avx2", "generic" (SSE2) or "neon". */
const char *pcsr_instructions(void);

/* 1: bands may ask for bf16 here; the processor has vpdpbusd. */
int32_t pcsr_has_bf16(void);
int32_t pcsr_has_vnni(void);
