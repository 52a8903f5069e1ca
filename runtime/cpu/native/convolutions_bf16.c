/* Convolutions of bf16 by bf16 with sums in float32, for processors with AVX-512 and its bf16. */
#include "convolutions_kernels.h"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512BF16__)
#include <immintrin.h>

enum { PIXELS = 24, PIXEL_BYTES = 2 * PCSR_LANES };

INLINE __m512 from_bf16(const uint8_t *p) {
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

INLINE void activate(const int n, const pcsr_step *step, int block, __m512 *sum) {
    __m512 zero = _mm512_setzero_ps();
    if (step->activation == PCSR_RELU) {
        UNROLL for (int p = 0; p < n; p++) sum[p] = _mm512_max_ps(zero, sum[p]); /* NaN stays */
    } else if (step->activation == PCSR_SLOPES) {
        __m512 slopes = _mm512_loadu_ps(step->slopes + block * PCSR_LANES);
        UNROLL for (int p = 0; p < n; p++)
            sum[p] = _mm512_mask_mul_ps(sum[p], _mm512_cmp_ps_mask(sum[p], zero, _CMP_LT_OQ),
                                        sum[p], slopes);
    } else if (step->activation == PCSR_CLIP) {
        __m512 low = _mm512_set1_ps(step->low), high = _mm512_set1_ps(step->high);
        UNROLL for (int p = 0; p < n; p++)
            sum[p] = _mm512_min_ps(high, _mm512_max_ps(low, sum[p]));
    }
}

/* out[c] = column 4 * quarter + c of 16 rows of 16. */
INLINE void four_columns(const float *rows, int quarter, __m512 out[4]) {
    __m512 row[4];
    rows += 4 * quarter;
    UNROLL for (int r = 0; r < 4; r++, rows += PCSR_LANES) {
        row[r] = _mm512_castps128_ps512(_mm_load_ps(rows));
        row[r] = _mm512_insertf32x4(row[r], _mm_load_ps(rows + 4 * PCSR_LANES), 1);
        row[r] = _mm512_insertf32x4(row[r], _mm_load_ps(rows + 8 * PCSR_LANES), 2);
        row[r] = _mm512_insertf32x4(row[r], _mm_load_ps(rows + 12 * PCSR_LANES), 3);
    }
    __m512d low[2], high[2];
    UNROLL for (int i = 0; i < 2; i++) {
        low[i] = _mm512_castps_pd(_mm512_unpacklo_ps(row[2 * i], row[2 * i + 1]));
        high[i] = _mm512_castps_pd(_mm512_unpackhi_ps(row[2 * i], row[2 * i + 1]));
    }
    out[0] = _mm512_castpd_ps(_mm512_unpacklo_pd(low[0], low[1]));
    out[1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low[0], low[1]));
    out[2] = _mm512_castpd_ps(_mm512_unpacklo_pd(high[0], high[1]));
    out[3] = _mm512_castpd_ps(_mm512_unpackhi_pd(high[0], high[1]));
}

/* Stores a tile [pixels][16 channels] as rows of channels, `filled` pixels from column x on. */
static void store_features(const pcsr_row *row, int block, int x, int filled, const float *tile) {
    float *out = row->features + (int64_t)block * PCSR_LANES * row->plane + x;
    int channels = row->step->features - block * PCSR_LANES;
    for (int p = 0; p < filled; p += PCSR_LANES) {
        __mmask16 real = filled - p < PCSR_LANES ? (1 << (filled - p)) - 1 : 0xffff;
        for (int c = 0; c < channels && c < PCSR_LANES; c += 4) {
            __m512 columns[4];
            four_columns(tile + p * PCSR_LANES, c / 4, columns);
            UNROLL for (int i = 0; i < 4; i++)
                if (c + i < channels)
                    _mm512_mask_storeu_ps(out + (c + i) * row->plane + p, real, columns[i]);
        }
    }
}

/* Ends a tile: n sums of a block of outputs from column x on, of which `filled` are of the row. */
INLINE void finish(const int n, const pcsr_row *row, int block, int x, int filled, __m512 *sum) {
    const pcsr_step *step = row->step;
    if (step->activate_first) activate(n, step, block, sum);
    if (row->added) {
        const uint8_t *from = row->added[block] + (int64_t)x * PIXEL_BYTES;
        UNROLL for (int p = 0; p < n; p++)
            sum[p] = _mm512_add_ps(sum[p], from_bf16(from + p * PIXEL_BYTES));
    }
    if (!step->activate_first) activate(n, step, block, sum);
    if (row->out) {
        uint8_t *to = row->out[block] + (int64_t)x * PIXEL_BYTES;
        UNROLL for (int p = 0; p < n; p++)
            if (filled == n || p < filled)
                _mm256_storeu_si256((__m256i *)(to + p * PIXEL_BYTES),
                                    (__m256i)_mm512_cvtneps_pbh(sum[p]));
    }
    if (row->features) {
        float tile[2 * PCSR_LANES * PCSR_LANES] __attribute__((aligned(64)));
        UNROLL for (int p = 0; p < n; p++) _mm512_store_ps(tile + p * PCSR_LANES, sum[p]);
        UNROLL for (int p = n; p % PCSR_LANES; p++)
            _mm512_store_ps(tile + p * PCSR_LANES, _mm512_setzero_ps());
        store_features(row, block, x, filled, tile);
    }
}

INLINE __m512bh weights_at(const uint16_t *w) { return (__m512bh)_mm512_loadu_si512(w); }

INLINE __m512bh pair_at(const uint8_t *p) {
    int32_t both;
    memcpy(&both, p, sizeof both);
    return (__m512bh)_mm512_set1_epi32(both);
}

/* The products of n pixels with one pair of inputs at `taps` taps of a row, for one block of outputs
   or, where `other` is not NULL, two. Weights of a tap lie `apart` elements behind those of the tap
   before. Each input is loaded once for all taps and blocks. */
INLINE void multiply(const int n, const int taps, const uint8_t *in, int64_t apart,
                     const uint16_t *w, __m512 *sum, const uint16_t *other_w, __m512 *other) {
    __m512bh weight[3], other_weight[3];
    UNROLL for (int t = 0; t < taps; t++) {
        weight[t] = weights_at(w + t * apart);
        if (other) other_weight[t] = weights_at(other_w + t * apart);
    }
    UNROLL for (int i = 0; i < n + taps - 1; i++) {
        __m512bh values = pair_at(in + i * PIXEL_BYTES);
        UNROLL for (int t = 0; t < taps; t++)
            if (i - t >= 0 && i - t < n) {
                sum[i - t] = _mm512_dpbf16_ps(sum[i - t], weight[t], values);
                if (other) other[i - t] = _mm512_dpbf16_ps(other[i - t], other_weight[t], values);
            }
    }
}

INLINE void begin(const int n, const pcsr_step *step, int block, __m512 *sum) {
    __m512 bias = _mm512_loadu_ps(step->bias + block * PCSR_LANES);
    UNROLL for (int p = 0; p < n; p++) sum[p] = bias;
}

/* n pixels from column x on, of `blocks` (1 or 2) blocks of outputs that read the same inputs;
   `taps` (1 or 3) of a row at a time. Every sum runs in the same order whatever n is. */
INLINE void tile(const int n, const int blocks, const int taps, const pcsr_row *row, int block,
                 int x, int filled) {
    const pcsr_step *step = row->step;
    const pcsr_reads *reads = step->reads + block;
    const uint16_t *w = (const uint16_t *)step->weights + reads->weights, *other_w = w;
    if (blocks == 2) other_w = (const uint16_t *)step->weights + reads[1].weights;
    int kernel = step->kernel, across = step->across;
    __m512 sum[PIXELS], other[PIXELS];
    begin(n, step, block, sum);
    if (blocks == 2) begin(n, step, block + 1, other);
    for (int i = reads->first; i < reads->first + reads->count; i++) {
        int pairs = (step->input[i].used + 1) / 2;
        int64_t apart = (int64_t)pairs * 2 * PCSR_LANES;
        for (int ky = 0; ky < kernel; ky++)
            for (int kx = 0; kx < across; kx += taps) {
                const uint8_t *in = row->in[i * kernel + ky];
                in += ((int64_t)x + kx - across / 2) * PIXEL_BYTES;
                for (int pair = 0; pair < pairs; pair++) {
                    multiply(n, taps, in, apart, w, sum, other_w, blocks == 2 ? other : 0);
                    in += 4, w += 2 * PCSR_LANES, other_w += 2 * PCSR_LANES;
                }
                w += (taps - 1) * apart, other_w += (taps - 1) * apart;
            }
    }
    finish(n, row, block, x, filled, sum);
    if (blocks == 2) finish(n, row, block + 1, x, filled, other);
}

#include "convolutions_tiles.h"

HIDDEN const pcsr_kernel pcsr_convolve_bf16 = convolve;
#else
HIDDEN const pcsr_kernel pcsr_convolve_bf16 = 0;
#endif
