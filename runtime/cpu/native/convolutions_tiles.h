/* Rows of a convolution, cut into the tiles of its arithmetic: included once `tile` is there, which
   computes `n` pixels of one or two blocks of outputs with one or three columns of the window at a
   time. */

typedef void (*tile_of)(const pcsr_row *row, int block, int x, int filled);

#define TILE(n, blocks, taps)                                                                      \
    static __attribute__((noinline)) void tile_##n##_##blocks##_##taps(                            \
        const pcsr_row *row, int block, int x, int filled) {                                       \
        tile(n, blocks, taps, row, block, x, filled);                                              \
    }
#define TILES(taps)                                                                                \
    TILE(24, 1, taps) TILE(16, 1, taps) TILE(12, 1, taps) TILE(8, 1, taps) TILE(4, 1, taps)        \
    TILE(12, 2, taps) TILE(8, 2, taps) TILE(4, 2, taps)
TILES(1)
TILES(3)

/* A row of `blocks` blocks of outputs, with the tiles of 4, 8, .. pixels. */
INLINE void tiles(const pcsr_row *row, int block, const int most, const tile_of *of) {
    int x = row->left, left = row->right - x;
    for (; left >= most; x += most, left -= most) of[most / 4 - 1](row, block, x, most);
    if (left > 0) of[(left - 1) / 4](row, block, x, left);
}

#define ONE(taps)                                                                                  \
    {tile_4_1_##taps, tile_8_1_##taps, tile_12_1_##taps,                                           \
     tile_16_1_##taps, tile_24_1_##taps, tile_24_1_##taps}
#define TWO(taps) {tile_4_2_##taps, tile_8_2_##taps, tile_12_2_##taps}
static const tile_of one[2][6] = {ONE(1), ONE(3)}, two[2][3] = {TWO(1), TWO(3)};

static void convolve(const pcsr_row *row) {
    const pcsr_step *step = row->step;
    int is_wide = step->across % 3 == 0;
    for (int block = 0; block < step->outputs;) {
        const pcsr_reads *reads = step->reads + block;
        int is_pair = block + 1 < step->outputs && reads[0].first == reads[1].first &&
                      reads[0].count == reads[1].count;
        if (is_pair)
            tiles(row, block, 12, two[is_wide]);
        else
            tiles(row, block, 24, one[is_wide]);
        block += 1 + is_pair;
    }
}
