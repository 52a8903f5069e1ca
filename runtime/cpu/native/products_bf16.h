/* The layers of an MLP with products in bfloat16 and sums in float32. Activations are pairs of
   channels, [(channels + 1) / 2][BLOCK] of 32 bits, the even channel in the lower half; the partner
   of an odd last one is 0. Weights are pairs of inputs. */
#pragma once
#include "layer.h"

#define GROUP 2

INLINE void put_pair(float *a, vec even, vec odd) {
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24,
                                           8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    __m512i halves = (__m512i)_mm512_cvtne2ps_pbh((__m512)odd, (__m512)even);
    _mm512_storeu_si512(a, _mm512_permutexvar_epi16(order, halves));
}

/* The first activations of channels c and c + 1 of a vector of pixels, where the layer has both. */
INLINE void put(const pcsr_mlp *mlp, const vec x[GROUP], int c, float *a) {
    int has_odd = c + 1 < mlp->widths[0];
    if (mlp->layers) {
        put_pair(a + c / 2 * BLOCK, RELU(x[0]), has_odd ? RELU(x[1]) : (vec){0});
        return;
    }
    STORE(a + c * BLOCK, x[0]);
    if (has_odd) STORE(a + (c + 1) * BLOCK, x[1]);
}

/* n outputs of a layer for VECTORS * LANES pixels: the sums stay in registers. */
INLINE void tile_bf16(const float *in, int pairs, const uint32_t *weight, const float *bias,
                      float *out, const int n, const int hidden) {
    __m512 sum[OUTPUTS][VECTORS];
    UNROLL for (int o = 0; o < n; o++)
        UNROLL for (int v = 0; v < VECTORS; v++)
            sum[o][v] = _mm512_set1_ps(bias[o]);
    for (int64_t k = 0; k < pairs; k++) {
        __m512bh x[VECTORS];
        UNROLL for (int v = 0; v < VECTORS; v++)
            x[v] = (__m512bh)_mm512_loadu_si512(in + k * BLOCK + v * LANES);
        UNROLL for (int o = 0; o < n; o++) {
            __m512bh w = (__m512bh)_mm512_set1_epi32((int32_t)weight[o * pairs + k]);
            UNROLL for (int v = 0; v < VECTORS; v++)
                sum[o][v] = _mm512_dpbf16_ps(sum[o][v], x[v], w);
        }
    }
    UNROLL for (int v = 0; v < VECTORS; v++)
        UNROLL for (int o = 0; o < n; o += 2) {
            vec even = (vec)sum[o][v], odd = o + 1 < n ? (vec)sum[o + 1][v] : (vec){0};
            float *to = out + v * LANES;
            if (hidden) {
                put_pair(to + o / 2 * BLOCK, RELU(even), RELU(odd));
                continue;
            }
            STORE(to + o * BLOCK, even);
            if (o + 1 < n) STORE(to + (o + 1) * BLOCK, odd);
        }
}

/* One layer on a block. hidden: its outputs go through ReLU and become pairs. */
INLINE void layer_bf16(const float *in, int pairs, const uint32_t *weight, const float *bias,
                       float *out, int outputs, const int hidden) {
    for (; outputs >= OUTPUTS; outputs -= OUTPUTS) {
        tile_bf16(in, pairs, weight, bias, out, OUTPUTS, hidden);
        weight += OUTPUTS * pairs, bias += OUTPUTS;
        out += (hidden ? OUTPUTS / 2 : OUTPUTS) * BLOCK;
    }
    switch (outputs) {
    case 5: tile_bf16(in, pairs, weight, bias, out, 5, hidden); break;
    case 4: tile_bf16(in, pairs, weight, bias, out, 4, hidden); break;
    case 3: tile_bf16(in, pairs, weight, bias, out, 3, hidden); break;
    case 2: tile_bf16(in, pairs, weight, bias, out, 2, hidden); break;
    case 1: tile_bf16(in, pairs, weight, bias, out, 1, hidden); break;
    }
}

/* The layers behind the first: activations in a, work space b; returns where the result lies. */
static float *rest(const pcsr_mlp *mlp, float *a, float *b) {
    const uint32_t *weight = mlp->pairs;
    for (int l = 0; l < mlp->layers; l++) {
        int pairs = (mlp->widths[l] + 1) / 2, outputs = mlp->widths[l + 1];
        const uint32_t *end = weight + (int64_t)pairs * outputs;
        const float *bias = (const float *)end;
        if (l + 1 < mlp->layers)
            layer_bf16(a, pairs, weight, bias, b, outputs, 1);
        else
            layer_bf16(a, pairs, weight, bias, b, outputs, 0);
        weight = end + outputs;
        float *done = b;
        b = a, a = done;
    }
    return a;
}

/* Features [depth][BLOCK] in a, the first layer without offsets to b. It is all that a bare MLP has,
   which stays float32. */
INLINE void fold_block(const pcsr_mlp *mlp, int depth, float *a, float *b) {
    if (!mlp->layers) {
        layer(a, depth, mlp->feature_weight, mlp->constant, b, mlp->widths[0], 0);
        return;
    }
    for (int d = 0; d < depth; d += 2)
        for (int p = 0; p < BLOCK; p += LANES) {
            vec odd = d + 1 < depth ? AT(a + (d + 1) * BLOCK + p) : (vec){0};
            put_pair(a + d / 2 * BLOCK + p, AT(a + d * BLOCK + p), odd);
        }
    layer_bf16(a, (depth + 1) / 2, mlp->feature_pairs, mlp->constant, b, mlp->widths[0], 0);
}
