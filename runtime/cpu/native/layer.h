/* A layer of an MLP in float32. */
#pragma once
#include "vectors.h"

/* n outputs of a layer for VECTORS * LANES pixels: the sums stay in registers. */
INLINE void tile(const float *in, int64_t inputs, const float *weight, const float *bias,
                       float *out, const int n, const int relu) {
    vec sum[OUTPUTS][VECTORS];
    UNROLL for (int o = 0; o < n; o++)
        UNROLL for (int v = 0; v < VECTORS; v++) sum[o][v] = bias[o] - (vec){0};
    for (int64_t k = 0; k < inputs; k++) {
        vec x[VECTORS];
        UNROLL for (int v = 0; v < VECTORS; v++) x[v] = AT(in + k * BLOCK + v * LANES);
        UNROLL for (int o = 0; o < n; o++)
            UNROLL for (int v = 0; v < VECTORS; v++) sum[o][v] += x[v] * weight[o * inputs + k];
    }
    UNROLL for (int o = 0; o < n; o++)
        UNROLL for (int v = 0; v < VECTORS; v++) {
            vec s = sum[o][v];
            STORE(out + o * BLOCK + v * LANES, relu ? RELU(s) : s);
        }
}

INLINE void tiles(const float *in, int64_t inputs, const float *weight, const float *bias,
                        float *out, int outputs, const int relu) {
    for (; outputs >= OUTPUTS; outputs -= OUTPUTS) {
        tile(in, inputs, weight, bias, out, OUTPUTS, relu);
        weight += OUTPUTS * inputs, bias += OUTPUTS, out += OUTPUTS * BLOCK;
    }
    switch (outputs) {
    case 5: tile(in, inputs, weight, bias, out, 5, relu); break;
    case 4: tile(in, inputs, weight, bias, out, 4, relu); break;
    case 3: tile(in, inputs, weight, bias, out, 3, relu); break;
    case 2: tile(in, inputs, weight, bias, out, 2, relu); break;
    case 1: tile(in, inputs, weight, bias, out, 1, relu); break;
    }
}

/* One layer on a block: in [inputs][BLOCK] -> out [outputs][BLOCK]. */
static void layer(const float *in, int64_t inputs, const float *weight, const float *bias,
                        float *out, int outputs, int relu) {
    for (int p = 0; p < BLOCK; p += VECTORS * LANES) {
        if (relu)
            tiles(in + p, inputs, weight, bias, out + p, outputs, 1);
        else
            tiles(in + p, inputs, weight, bias, out + p, outputs, 0);
    }
}
