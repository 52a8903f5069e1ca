/* Runs all passes of the first instruction set on made-up inputs, and writes what they give. */
#include "pixels.c"

#include <stdio.h>
#include <stdlib.h>

enum { HEIGHT = 7, WIDTH = 19, SCALE = 4, ROWS = HEIGHT * SCALE, COLUMNS = WIDTH * SCALE };
enum { DEPTH = 13, PIXELS = ROWS * COLUMNS, MLPS = 3 };

static uint32_t state = 1;

static float *random_floats(int n) {
    float *values = malloc(n * sizeof(float));
    for (int i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        values[i] = (float)(state >> 8) / (1 << 23) - 1;
    }
    return values;
}

static pcsr_axis axis_of(int lr, int hr) {
    int32_t *nearest = malloc(hr * 4), *lower = malloc(hr * 4), *upper = malloc(hr * 4);
    float *offset = malloc(hr * 4), *weight = malloc(hr * 4);
    for (int i = 0; i < hr; i++) {
        nearest[i] = i / SCALE;
        offset[i] = 2 * (float)(i % SCALE - 1.5f) / SCALE;
        float at = (float)(i + 0.5f) / SCALE - 0.5f;
        at = at < 0 ? 0 : at > (float)(lr - 1) ? (float)(lr - 1) : at;
        lower[i] = (int32_t)at, weight[i] = at - (float)lower[i];
        upper[i] = lower[i] + 1 < lr ? lower[i] + 1 : lower[i];
    }
    pcsr_axis axis = {.centre = {nearest, offset}, .lower = lower, .upper = upper};
    axis.weight = weight;
    return axis;
}

static pcsr_mlp mlp_of(int layers, const int32_t *widths) {
    int rest = 0;
    for (int l = 0; l < layers; l++) rest += (widths[l] + 1) * widths[l + 1];
    int c = widths[0];
    return (pcsr_mlp){.layers = layers, .widths = widths, .feature_weight = random_floats(c * DEPTH),
                      .row_weight = random_floats(c), .column_weight = random_floats(c),
                      .constant = random_floats(c), .rest = random_floats(rest), .neighbours = 1,
                      .base = 1};
}

int main(void) {
    static const int32_t widths[MLPS][4] = {{6, 1}, {13, 7, 9, 3}, {5, 3}};
    static float planes[3][PIXELS], logits[PIXELS], sigmoids[PIXELS], floats[3 * PIXELS];
    static uint8_t labels[PIXELS], bytes[3 * PIXELS];
    double seconds[2] = {0};
    choose(GENERIC);
    pcsr_mlp mlps[MLPS] = {mlp_of(1, widths[0]), mlp_of(3, widths[1]), mlp_of(1, widths[2])};
    pcsr_band band = {.depth = DEPTH, .lr_width = WIDTH, .width = COLUMNS, .last = ROWS,
                      .feature_plane = HEIGHT * WIDTH, .image_plane = HEIGHT * WIDTH,
                      .features = random_floats(DEPTH * HEIGHT * WIDTH),
                      .image = random_floats(3 * HEIGHT * WIDTH),
                      .rows = axis_of(HEIGHT, ROWS), .columns = axis_of(WIDTH, COLUMNS)};
    float *scratch = malloc(pcsr_scratch(DEPTH, DEPTH) * sizeof(float) + 64 * COLUMNS);
    pcsr_dense(&band, mlps, logits, scratch);
    pcsr_sigmoid(logits, PIXELS, sigmoids);
    for (int p = 0; p < PIXELS; p++) labels[p] = p / 5 % 3 == 0;
    pcsr_compose(&band, mlps + 1, 2, labels, planes[0], PIXELS, seconds, scratch);
    pcsr_finish(planes[0], labels, ROWS, COLUMNS, 0, ROWS, 1, 0, floats, scratch);
    pcsr_finish(planes[0], labels, ROWS, COLUMNS, 0, ROWS, 1, 255, bytes, scratch);
    fwrite(logits, sizeof(logits), 1, stdout), fwrite(sigmoids, sizeof(sigmoids), 1, stdout);
    fwrite(planes, sizeof(planes), 1, stdout), fwrite(floats, sizeof(floats), 1, stdout);
    fwrite(bytes, sizeof(bytes), 1, stdout);
    fputs(pcsr_instructions(), stderr);
    return 0;
}
