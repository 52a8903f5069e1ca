/* Convolutional networks on the CPU: stride 1, zero padding, any groups.

   A tensor's row is kept as lines of 16 channels: [block][border + width + border][16], a border of
   zeros (of zero points) on both sides, so that kernels have no bounds to check. An input of a
   convolution is a list of such blocks: joined tensors need not lie side by side.

   The first tensor is the image, normalised. Of its 16 channels a pixel holds the three of `across`
   columns, itself in their middle, so that convolutions of it need one column.

   A network runs in rounds: in each of them every step computes the next `round_rows` rows, each
   step as many rows behind the image as it reads ahead. A tensor holds no more rows than its
   readers still need, and rows are read again while they are in a cache. */
#pragma once
#include <stdint.h>

enum { PCSR_LANES = 16, PCSR_MOST_KERNEL = 15, PCSR_MOST_BLOCKS = 256 };
/* Kinds of a step. Of a network in int8 the image is kept in float32, as [width][4], and its first
   convolution makes codes of it. */
enum { PCSR_NORMALISE = 0, PCSR_CONVOLVE_BF16 = 1, PCSR_CONVOLVE_INT8 = 2 };
enum { PCSR_NORMALISE_FLOAT = 3, PCSR_CONVOLVE_IMAGE = 4 };
enum { PCSR_LINEAR = 0, PCSR_RELU = 1, PCSR_SLOPES = 2, PCSR_CLIP = 3 };

/* Where a tensor lies in the workspace; all in bytes. */
typedef struct {
    int64_t start;      /* column 0 of the first line */
    int64_t line_bytes; /* from a block of 16 channels to the next */
    int64_t row_bytes;  /* from a row to the next */
    int64_t outside;    /* column 0 of the line that stands for those outside of the image */
    int32_t rows;       /* that are held: row y lies where y % rows does */
} pcsr_tensor;

/* 16 channels of a tensor. used: how many of them, from the first, are not padding. */
typedef struct {
    int32_t tensor, block, used;
} pcsr_block;

/* Which of the inputs a block of outputs reads, and where its weights begin (in elements). */
typedef struct {
    int32_t first, count;
    int64_t weights;
} pcsr_reads;

/* What steps in int8 need: value = step * (code - zero) of the results. Of features there are two
   blocks for each 16 channels, the coarse and the fine part of their weights. */
typedef struct {
    const int32_t *bias; /* [outputs * 16], what the input's zero adds up to taken off */
    const float *scale;  /* [outputs * 16], of sums to the results, in steps of their code */
    float step;          /* of the codes that are made of an image */
    int32_t zero;
} pcsr_integers;

typedef struct {
    int32_t kind;
    int32_t kernel, across; /* rows and columns of the window: 1, 3, 5, .. */
    int32_t delay;        /* rows that it stays behind the image */
    int32_t inputs, outputs; /* blocks of 16 channels */
    int32_t features;     /* channels of the network's output, if this makes it; else 0 */
    const pcsr_block *input;  /* [inputs] */
    const pcsr_reads *reads;  /* [outputs] */
    /* bf16: per output block [inputs read][kernel][across][used / 2, rounded up][16 outputs][2]
       int8: per output block [inputs read][kernel][across][used / 4, rounded up][16 outputs][4] */
    const void *weights;
    const float *bias;    /* [outputs * 16]; of PCSR_NORMALISE [3] mean, [3] std */
    int32_t activation, activate_first; /* activate_first: before `added` is added */
    const float *slopes;  /* [outputs * 16], of PCSR_SLOPES */
    float low, high;      /* of PCSR_CLIP */
    int32_t added;        /* a tensor of as many blocks that is added, or -1 */
    int32_t out;          /* the tensor of the results, or -1 */
    const pcsr_integers *own; /* in int8 */
} pcsr_step;

/* One row of one step: columns left .. right - 1. Lines point to column 0. */
typedef struct {
    const pcsr_step *step;
    const uint8_t *const *in;    /* [inputs][kernel] */
    const uint8_t *const *added; /* [outputs] or NULL */
    uint8_t *const *out;         /* [outputs] or NULL */
    float *features;             /* column 0 of this row of the first channel, or NULL */
    int64_t plane;               /* from a channel of the features to the next */
    int32_t left, right;
} pcsr_row;

typedef struct {
    int32_t tensors, steps;
    const pcsr_tensor *tensor;
    const pcsr_step *step;
} pcsr_network;

/* One run over `width` columns of an image [3] -> features [channels], shared by all threads that
   take part. Of the features the columns first .. last - 1 are written. What a step computes in a
   round is divided into `parts`: each row into `columns`, the rows into parts / columns. claimed
   [rounds * steps * parts] and finished are zero when it begins. */
typedef struct {
    int32_t height, width, round_rows, rounds, parts, columns;
    int32_t first, last;
    int64_t stride, plane; /* of the image and the features: to the next row, the next channel */
    const float *image;    /* column 0 of the run, as of the features */
    float *features;
    uint8_t *workspace;
    uint8_t *claimed;
    int64_t finished;
    int32_t stopped; /* set to 1, it ends the run early */
} pcsr_run;

/* Takes part in a run as thread `thread`, until all is computed or stopped. A single thread
   computes everything; others may come late or never. */
void pcsr_convolve(const pcsr_network *network, pcsr_run *run, int32_t thread);

/* 1 where this processor has the instructions for steps of this kind. */
int32_t pcsr_can_convolve(int32_t kind);
