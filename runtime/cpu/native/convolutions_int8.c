/* Convolutions of 8-bit codes with 8-bit weights and sums in int32, for processors with AVX-512 and
   vpdpbusd, rounded as ONNX Runtime's QLinearConv and QuantizeLinear round. */
#include "convolutions_kernels.h"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VNNI__)
#include <immintrin.h>

enum { PIXELS = 24 };

/* The codes of n pixels; values in units of the code's step. */
INLINE void store_codes(const int n, const pcsr_integers *own, uint8_t *to, int filled,
                        const __m512 *values) {
    __m512 low = _mm512_set1_ps((float)-own->zero), high = _mm512_set1_ps((float)(255 - own->zero));
    __m512i zero = _mm512_set1_epi32(own->zero);
    UNROLL for (int p = 0; p < n; p++)
        if (p < filled) {
            __m512 inside = _mm512_min_ps(_mm512_max_ps(values[p], low), high);
            __m512i code = _mm512_add_epi32(_mm512_cvtps_epi32(inside), zero);
            _mm_storeu_si128((__m128i *)(to + p * PCSR_LANES), _mm512_cvtepi32_epi8(code));
        }
}

/* Lanes are channels and results are pixels: the features are stored the other way round. */
static void store_features(const pcsr_row *row, int block, int x, int filled, const float *tile) {
    int channels = row->step->features - block * PCSR_LANES;
    channels = channels < PCSR_LANES ? channels : PCSR_LANES;
    float *out = row->features + (int64_t)block * PCSR_LANES * row->plane + x;
    for (int c = 0; c < channels; c++, out += row->plane)
        for (int p = 0; p < filled; p++) out[p] = tile[p * PCSR_LANES + c];
}

INLINE __m512 activated(const pcsr_step *step, __m512 value) {
    return step->activation == PCSR_RELU ? _mm512_max_ps(_mm512_setzero_ps(), value) : value;
}

/* Ends n pixels of a block of codes. */
INLINE void finish_codes(const int n, const pcsr_row *row, int block, int x, int filled,
                         const __m512i *sum) {
    const pcsr_integers *own = row->step->own;
    __m512 scale = _mm512_loadu_ps(own->scale + block * PCSR_LANES), values[PIXELS];
    UNROLL for (int p = 0; p < n; p++)
        values[p] = _mm512_mul_ps(_mm512_cvtepi32_ps(sum[p]), scale);
    store_codes(n, own, row->out[block] + x * PCSR_LANES, filled, values);
}

/* Ends n pixels of a block of features, whose weights are sums of two whole numbers. */
INLINE void finish_features(const int n, const pcsr_row *row, int block, int x, int filled,
                            __m512i (*sum)[PIXELS]) {
    const pcsr_step *step = row->step;
    const pcsr_integers *own = step->own;
    __m512 coarse = _mm512_loadu_ps(own->scale + block * PCSR_LANES);
    __m512 fine = _mm512_loadu_ps(own->scale + (block + 1) * PCSR_LANES);
    __m512 bias = _mm512_loadu_ps(step->bias + block / 2 * PCSR_LANES);
    float tile[PIXELS * PCSR_LANES] __attribute__((aligned(64)));
    UNROLL for (int p = 0; p < n; p++) {
        __m512 value = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[1][p]), fine, bias);
        value = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[0][p]), coarse, value);
        _mm512_store_ps(tile + p * PCSR_LANES, activated(step, value));
    }
    store_features(row, block / 2, x, filled, tile);
}

INLINE __m512i four_at(const uint8_t *p) {
    int32_t all;
    memcpy(&all, p, sizeof all);
    return _mm512_set1_epi32(all);
}

/* The products of n pixels with four inputs at `taps` taps of a row: weights of a block lie `apart`
   bytes after those of the tap before. Each input is loaded once for all taps. */
INLINE void multiply(const int n, const int blocks, const int taps, const uint8_t *in,
                     const int8_t *const *w, int64_t apart, __m512i (*sum)[PIXELS]) {
    __m512i weight[2][3];
    UNROLL for (int b = 0; b < blocks; b++)
        UNROLL for (int t = 0; t < taps; t++) weight[b][t] = _mm512_loadu_si512(w[b] + t * apart);
    UNROLL for (int i = 0; i < n + taps - 1; i++) {
        __m512i values = four_at(in + i * PCSR_LANES);
        UNROLL for (int t = 0; t < taps; t++)
            UNROLL for (int b = 0; b < blocks; b++)
                if (i - t >= 0 && i - t < n)
                    sum[b][i - t] = _mm512_dpbusd_epi32(sum[b][i - t], values, weight[b][t]);
    }
}

/* n pixels from column x on, of `blocks` (1 or 2) blocks of outputs that read the same inputs;
   `taps` (1 or 3) of a row at a time. */
INLINE void tile(const int n, const int blocks, const int taps, const pcsr_row *row, int block,
                 int x, int filled) {
    const pcsr_step *step = row->step;
    const pcsr_integers *own = step->own;
    const pcsr_reads *reads = step->reads + block;
    const int8_t *w[2] = {(const int8_t *)step->weights + reads[0].weights};
    w[1] = (const int8_t *)step->weights + reads[blocks - 1].weights;
    int kernel = step->kernel;
    __m512i sum[2][PIXELS];
    UNROLL for (int b = 0; b < blocks; b++) {
        __m512i bias = _mm512_loadu_si512(own->bias + (block + b) * PCSR_LANES);
        UNROLL for (int p = 0; p < n; p++) sum[b][p] = bias;
    }
    for (int i = reads->first; i < reads->first + reads->count; i++) {
        int fours = (step->input[i].used + 3) / 4;
        int64_t apart = (int64_t)fours * 4 * PCSR_LANES;
        for (int ky = 0; ky < kernel; ky++)
            for (int kx = 0; kx < kernel; kx += taps) {
                const uint8_t *in = row->in[i * kernel + ky] + (x + kx - kernel / 2) * PCSR_LANES;
                for (int four = 0; four < fours; four++, in += 4) {
                    multiply(n, blocks, taps, in, w, apart, sum);
                    UNROLL for (int b = 0; b < blocks; b++) w[b] += 4 * PCSR_LANES;
                }
                UNROLL for (int b = 0; b < blocks; b++) w[b] += (taps - 1) * apart;
            }
    }
    if (row->features && blocks == 2)
        finish_features(n, row, block, x, filled, sum);
    else if (row->out)
        UNROLL for (int b = 0; b < blocks; b++) finish_codes(n, row, block + b, x, filled, sum[b]);
}

#include "convolutions_tiles.h"

/* 8 pixels of a block, of a float32 image [width][4] of three channels. */
INLINE void image_tile(const pcsr_row *row, int block, int x, int filled) {
    const pcsr_step *step = row->step;
    const pcsr_integers *own = step->own;
    int kernel = step->kernel;
    const float *w = (const float *)step->weights + step->reads[block].weights;
    __m512 sum[8], step_size = _mm512_set1_ps(own->step);
    UNROLL for (int p = 0; p < 8; p++) sum[p] = _mm512_loadu_ps(step->bias + block * PCSR_LANES);
    for (int ky = 0; ky < kernel; ky++)
        for (int kx = 0; kx < kernel; kx++) {
            const float *in = (const float *)row->in[ky] + 4 * (x + kx - kernel / 2);
            UNROLL for (int c = 0; c < 3; c++, w += PCSR_LANES) {
                __m512 weight = _mm512_loadu_ps(w);
                UNROLL for (int p = 0; p < 8; p++)
                    sum[p] = _mm512_fmadd_ps(weight, _mm512_set1_ps(in[4 * p + c]), sum[p]);
            }
        }
    UNROLL for (int p = 0; p < 8; p++) sum[p] = _mm512_div_ps(activated(step, sum[p]), step_size);
    store_codes(8, own, row->out[block] + x * PCSR_LANES, filled, sum);
}

static void convolve_image(const pcsr_row *row) {
    for (int block = 0; block < row->step->outputs; block++)
        for (int x = row->left; x < row->right; x += 8)
            image_tile(row, block, x, row->right - x < 8 ? row->right - x : 8);
}

HIDDEN const pcsr_kernel pcsr_convolve_int8 = convolve;
HIDDEN const pcsr_kernel pcsr_convolve_image = convolve_image;
#else
HIDDEN const pcsr_kernel pcsr_convolve_int8 = 0;
HIDDEN const pcsr_kernel pcsr_convolve_image = 0;
#endif
