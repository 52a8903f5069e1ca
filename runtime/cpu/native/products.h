/* The layers of an MLP in float32. */
#pragma once
#include "layer.h"

#define GROUP 1

/* The first activation of channel c of a vector of pixels. */
INLINE void put(const pcsr_mlp *mlp, const vec x[GROUP], int c, float *a) {
    STORE(a + c * BLOCK, mlp->layers ? RELU(x[0]) : x[0]);
}

/* The layers behind the first: activations in a, work space b; returns where the result lies. */
static float *rest(const pcsr_mlp *mlp, float *a, float *b) {
    const float *weight = mlp->rest;
    for (int l = 0; l < mlp->layers; l++) {
        int inputs = mlp->widths[l], outputs = mlp->widths[l + 1];
        const float *bias = weight + (int64_t)inputs * outputs;
        layer(a, inputs, weight, bias, b, outputs, l + 1 < mlp->layers);
        weight = bias + outputs;
        float *done = b;
        b = a, a = done;
    }
    return a;
}

/* Features [depth][BLOCK] in a, the first layer without offsets to b. */
INLINE void fold_block(const pcsr_mlp *mlp, int depth, float *a, float *b) {
    layer(a, depth, mlp->feature_weight, mlp->constant, b, mlp->widths[0], 0);
}
