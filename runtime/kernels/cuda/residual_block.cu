// A residual block of CARN in one launch: y = ReLU(x + W3 ReLU(conv2(ReLU(conv1(x) + b1)) + b2) + b3), where conv1 and
// conv2 are 3x3 convolutions of four groups of 16 channels, zeros past the border, and W3 is a 1x1 one. Only x is read
// and only y written, 64 channels of a pixel side by side. Results between are rounded as maps in memory would be.
//
// A block of 256 threads makes TILE_ROWS x 30 pixels. Warp w convolves group w % 4 of the columns 16 (w / 4) to
// 16 (w / 4) + 15. Down the rows, it reads each row of its input once, at three columns, and multiplies it into the
// three rows of results that it belongs to; the weights of its group stay in registers.
//
// With JOINED > 0 a 1x1 convolution of the join of so many maps and y follows: joined = ReLU(W [maps..., y] + b4), of
// OUTPUTS channels. Where KEEPS_Y is 0, nothing else needs y, and it is not written.

#ifndef TILE_ROWS
#define TILE_ROWS 8
#endif
#ifndef JOINED
#define JOINED 0
#define OUTPUTS 64
#define KEEPS_Y 1
#endif

enum {
    CHANNELS = 64,
    GROUPS = 4,
    TAPS = 9,
    THREADS = 256,
    PIXEL_BYTES = CHANNELS * 2,
    EIGHT_PIXELS = 8 * PIXEL_BYTES,
    KEPT_COLUMNS = 30,
    INPUT_ROWS = TILE_ROWS + 4,
    INPUT_COLUMNS = KEPT_COLUMNS + 4,
    INPUT_LINE = INPUT_COLUMNS * PIXEL_BYTES,
    MIDDLE_ROWS = TILE_ROWS + 2,
    MIDDLE_COLUMNS = KEPT_COLUMNS + 2,
    MIDDLE_LINE = MIDDLE_COLUMNS * PIXEL_BYTES,
    INPUT_BYTES = INPUT_ROWS * INPUT_LINE,
    MIDDLE_BYTES = MIDDLE_ROWS * MIDDLE_LINE,
    CONVOLUTION_BYTES = CHANNELS * 16 * TAPS * 2,  // packed weights of one
    LAST_BYTES = CHANNELS * CHANNELS * 2,
    BIAS_BYTES = CHANNELS * (JOINED > 0 ? 4 : 3) * 4,
};

// Pixels are 128 bytes apart; their eight pieces of 16 bytes are permuted, so that eight neighbours meet in no bank.
__device__ __forceinline__ unsigned swizzled(int column, int piece) {
    return column * PIXEL_BYTES + ((piece ^ (column & 7)) << 4);
}

__device__ __forceinline__ unsigned sum_relu(float low, float high, unsigned added) {
    const float2 two = unpack_half2(added);
    return pack_half2_relu(low + two.x, high + two.y);
}

struct Lane {
    int group, column, row, pair, matrix_row, matrix_piece;

    __device__ __forceinline__ explicit Lane(int thread) {
        const int lane = thread & 31, warp = thread >> 5;
        group = warp & 3;
        column = (warp >> 2) * 16;
        row = lane >> 2;
        pair = lane & 3;
        matrix_row = lane & 15;
        matrix_piece = lane >> 4;
    }
};

struct Weights {
    uint2 of[TAPS][2];
    float bias[2][4];

    __device__ __forceinline__ Weights(unsigned packed, unsigned biases, const Lane &lane, int thread) {
#pragma unroll
        for (int tap = 0; tap < TAPS; ++tap)
#pragma unroll
            for (int half = 0; half < 2; ++half)
                of[tap][half] = shared_load_u64(packed + (((lane.group * TAPS + tap) * 2 + half) * 32 + (thread & 31)) * 8);
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const uint2 pair = shared_load_u64(biases + (lane.group * 16 + half * 8 + lane.pair * 2) * 4);
            bias[half][0] = bias[half][2] = __uint_as_float(pair.x);
            bias[half][1] = bias[half][3] = __uint_as_float(pair.y);
        }
    }
};

__device__ __forceinline__ void copy_async(unsigned to, const unsigned char *from, int bytes, int thread) {
    for (int at = thread * 16; at < bytes; at += THREADS * 16) copy_async_16(to + at, from + at, true);
}

// Convolves a group of ROWS + 2 rows in shared memory: done(row, sums) gets 16 pixels x 16 channels.
template <int ROWS, int COLUMNS, class Done>
__device__ __forceinline__ void convolve(unsigned source, const Weights &weights, const Lane &lane, Done done) {
    unsigned columns[3];
#pragma unroll
    for (int dx = 0; dx < 3; ++dx) {
        const int column = min(lane.column + lane.matrix_row + dx, COLUMNS - 1);  // beyond are none to keep
        columns[dx] = source + swizzled(column, lane.group * 2 + lane.matrix_piece);
        keep(columns[dx]);
    }
    float sums[3][2][4];
    unsigned near[2][3][4];
#pragma unroll
    for (int dx = 0; dx < 3; ++dx) ldmatrix_x4(near[0][dx], columns[dx]);
#pragma unroll
    for (int row = 0; row < ROWS + 2; ++row) {
        if (row + 1 < ROWS + 2) {
#pragma unroll
            for (int dx = 0; dx < 3; ++dx)
                ldmatrix_x4(near[(row + 1) % 2][dx], columns[dx] + (row + 1) * (COLUMNS * PIXEL_BYTES));
        }
        if (row < ROWS) {
#pragma unroll
            for (int half = 0; half < 2; ++half)
#pragma unroll
                for (int i = 0; i < 4; ++i) sums[row % 3][half][i] = weights.bias[half][i];
        }
#pragma unroll
        for (int dx = 0; dx < 3; ++dx)
#pragma unroll
            for (int dy = 0; dy < 3; ++dy) {
                if (row - dy < 0 || row - dy >= ROWS) continue;
#pragma unroll
                for (int half = 0; half < 2; ++half)
                    mma_16816(sums[(row - dy) % 3][half], near[row % 2][dx], weights.of[dy * 3 + dx][half].x,
                              weights.of[dy * 3 + dx][half].y);
            }
        if (row >= 2) done(row - 2, sums[(row - 2) % 3]);
    }
}

__device__ __forceinline__ void start_at(float (&sums)[4][4], const float (&bias)[4][2]) {
#pragma unroll
    for (int quarter = 0; quarter < 4; ++quarter)
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[quarter][i] = bias[quarter][i & 1];
}

__device__ __forceinline__ void load_biases(float (&bias)[4][2], unsigned biases, int piece) {
#pragma unroll
    for (int quarter = 0; quarter < 4; ++quarter) {
        const uint2 pair = shared_load_u64(biases + (piece * 8 + quarter * 2) * 4);
        bias[quarter][0] = __uint_as_float(pair.x);
        bias[quarter][1] = __uint_as_float(pair.y);
    }
}

// Where the packed weights of each map of the join lie: where nobody reads any more when they are copied.
__device__ __forceinline__ unsigned weights_of_map(int map, unsigned input, unsigned middle, unsigned weights_of) {
    if (map == 0) return input;
    if (map == 1) return input + (INPUT_ROWS - 2) * INPUT_LINE;
    return map == 2 ? weights_of + LAST_BYTES : middle + TILE_ROWS * MIDDLE_LINE;
}

#if JOINED > 0
// Reads 16 pixels x 64 channels as two pairs of matrices: a lane has channels 8 (lane % 4) to + 7 of each half.
__device__ __forceinline__ void load_map(uint4 (&near)[2][2], const unsigned short *map, const long long (&pixels)[2],
                                         int pair) {
#pragma unroll
    for (int half = 0; half < 2; ++half)
#pragma unroll
        for (int lower = 0; lower < 2; ++lower)
            near[half][lower] = *reinterpret_cast<const uint4 *>(map + pixels[lower] * CHANNELS + half * 32 + pair * 8);
}
#endif

extern "C" __global__ void __launch_bounds__(THREADS, 2)
    residual_block(const unsigned short *__restrict__ x, const unsigned char *__restrict__ packed,
                   const unsigned char *__restrict__ biases, unsigned short *__restrict__ out,
#if JOINED > 0
                   const unsigned short *__restrict__ map0, const unsigned short *__restrict__ map1,
                   const unsigned short *__restrict__ map2, unsigned short *__restrict__ joined,
#endif
                   int height, int width) {
    const unsigned input = shared_begin(), middle = input + INPUT_BYTES;
    const unsigned weights_of = middle + MIDDLE_BYTES, biases_of = weights_of + CONVOLUTION_BYTES;
    const int thread = threadIdx.x, top = blockIdx.y * TILE_ROWS, left = blockIdx.x * KEPT_COLUMNS;
    const Lane lane(thread);
    const long long image = static_cast<long long>(blockIdx.z) * height * width * CHANNELS;
    x += image;
    out += image;
    {
        int row = 0, column = thread >> 3;
        const int piece = thread & 7;
#pragma unroll
        for (int i = 0; i < (INPUT_ROWS * INPUT_COLUMNS * 8 + THREADS - 1) / THREADS; ++i) {
            const int y = top - 2 + row, at = left - 2 + column;
            const bool is_inside = y >= 0 && y < height && at >= 0 && at < width;
            const long long offset = is_inside ? (static_cast<long long>(y) * width + at) * CHANNELS + piece * 8 : 0;
            if (row < INPUT_ROWS)
                copy_async_16(input + row * INPUT_LINE + swizzled(column, piece), x + offset, is_inside);
            column += THREADS / 8;
            if (column >= INPUT_COLUMNS) {
                column -= INPUT_COLUMNS;
                ++row;
            }
        }
    }
    copy_async(weights_of, packed, CONVOLUTION_BYTES, thread);
    copy_async(biases_of, biases, BIAS_BYTES, thread);
    {
        unsigned own[2], inside[2];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            own[i] = middle + swizzled(lane.column + lane.row, lane.group * 2 + i) + lane.pair * 4;
            const int at = left - 1 + lane.column + lane.row + i * 8;
            inside[i] = at >= 0 && at < width ? 0xffffffffu : 0u;
            keep(own[i]);
            keep(inside[i]);
        }
        copy_async_wait();
        __syncthreads();
        const Weights weights(weights_of, biases_of, lane, thread);
        __syncthreads();
        copy_async(weights_of, packed + CONVOLUTION_BYTES, CONVOLUTION_BYTES, thread);
        convolve<MIDDLE_ROWS, INPUT_COLUMNS>(input, weights, lane, [&](int row, const float(&sums)[2][4]) {
            const bool is_row = static_cast<unsigned>(top - 1 + row) < static_cast<unsigned>(height);
#pragma unroll
            for (int lower = 0; lower < 2; ++lower) {
                const unsigned mask = is_row ? inside[lower] : 0u;
#pragma unroll
                for (int half = 0; half < 2; ++half)
                    shared_store_u32(own[half] + lower * EIGHT_PIXELS + row * MIDDLE_LINE,
                                     pack_half2_relu(sums[half][lower * 2], sums[half][lower * 2 + 1]) & mask);
            }
        });
    }
    {
        // In place: a row of results lies where this warp has read for the last time, those of the right warps two
        // pixels farther right, where the left ones do not read.
        unsigned own[2];
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int pixel = lane.column + lane.row + lane.column / 8;
            own[half] = middle + swizzled(pixel, lane.group * 2 + half) + lane.pair * 4;
            keep(own[half]);
        }
        copy_async_wait();
        __syncthreads();
        const Weights weights(weights_of, biases_of + CHANNELS * 4, lane, thread);
        __syncthreads();
        const unsigned char *const of_last = packed + 2 * CONVOLUTION_BYTES;
        copy_async(weights_of, of_last, LAST_BYTES, thread);
        if (JOINED > 0) {
#pragma unroll
            for (int map = 0; map < min(JOINED + 1, 3); ++map)
                copy_async(weights_of_map(map, input, middle, weights_of), of_last + (map + 1) * LAST_BYTES, LAST_BYTES,
                           thread);
        }
        convolve<TILE_ROWS, MIDDLE_COLUMNS>(middle, weights, lane, [&](int row, const float(&sums)[2][4]) {
#pragma unroll
            for (int lower = 0; lower < 2; ++lower) {
                if (lower == 1 && lane.column + lane.row + 8 >= KEPT_COLUMNS) continue;
#pragma unroll
                for (int half = 0; half < 2; ++half)
                    shared_store_u32(own[half] + lower * EIGHT_PIXELS + row * MIDDLE_LINE,
                                     pack_half2_relu(sums[half][lower * 2], sums[half][lower * 2 + 1]));
            }
        });
    }
    // Half of the outputs of every fourth tile of 16 pixels. A thread's results are eight neighbours in memory.
    const int warp = thread >> 5, part = warp & 1, piece = part * 4 + lane.pair;
    uint2 last[GROUPS][4];
    float bias[4][2];
    copy_async_wait();
    __syncthreads();
#pragma unroll
    for (int k = 0; k < GROUPS; ++k)
#pragma unroll
        for (int quarter = 0; quarter < 4; ++quarter)
            last[k][quarter] = shared_load_u64(weights_of + (((part * GROUPS + k) * 4 + quarter) * 32 + (thread & 31)) * 8);
    load_biases(bias, biases_of + 2 * CHANNELS * 4, piece);
#if JOINED == 3
    copy_async(weights_of_map(3, input, middle, weights_of), packed + 2 * CONVOLUTION_BYTES + 4 * LAST_BYTES, LAST_BYTES,
               thread);
#endif
    const int column = (warp >> 1 & 1) * 16;
#pragma unroll
    for (int step = 0; step < (TILE_ROWS + 1) / 2; ++step) {
        const int row = step * 2 + (warp >> 2);
        if (row >= TILE_ROWS || top + row >= height) break;
        float sums[4][4];
        start_at(sums, bias);
        const int place = min(column + lane.matrix_row + column / 8, MIDDLE_COLUMNS - 1);
#pragma unroll
        for (int k = 0; k < GROUPS; ++k) {
            unsigned near[4];
            ldmatrix_x4(near, middle + row * MIDDLE_LINE + swizzled(place, k * 2 + lane.matrix_piece));
#pragma unroll
            for (int quarter = 0; quarter < 4; ++quarter)
                mma_16816(sums[quarter], near, last[k][quarter].x, last[k][quarter].y);
        }
#pragma unroll
        for (int lower = 0; lower < 2; ++lower) {
            const int at = column + lane.row + lower * 8;
            if (at >= KEPT_COLUMNS || left + at >= width) continue;
            const unsigned own = input + (row + 2) * INPUT_LINE + swizzled(at + 2, piece);
            const uint4 added = shared_load_u128(own);
            uint4 value;
            value.x = sum_relu(sums[0][lower * 2], sums[0][lower * 2 + 1], added.x);
            value.y = sum_relu(sums[1][lower * 2], sums[1][lower * 2 + 1], added.y);
            value.z = sum_relu(sums[2][lower * 2], sums[2][lower * 2 + 1], added.z);
            value.w = sum_relu(sums[3][lower * 2], sums[3][lower * 2 + 1], added.w);
            const long long pixel_out = static_cast<long long>(top + row) * width + left + at;
            if (KEEPS_Y) *reinterpret_cast<uint4 *>(out + pixel_out * CHANNELS + piece * 8) = value;
            if (JOINED > 0) shared_store_u128(own, value);
        }
    }
#if JOINED > 0
    map0 += image;
    map1 += image;
    map2 += image;
    joined += image / CHANNELS * OUTPUTS;
    copy_async_wait();
    __syncthreads();
    load_biases(bias, biases_of + 3 * CHANNELS * 4, piece);
    enum { PAIR = 2 };  // tiles at a time: each weight that is read serves both
#pragma unroll
    for (int first = 0; first < (TILE_ROWS + 1) / 2; first += PAIR) {
        float sums[PAIR][4][4];
        long long pixels[PAIR][2];
        int rows[PAIR];
#pragma unroll
        for (int i = 0; i < PAIR; ++i) {
            start_at(sums[i], bias);
            rows[i] = min((first + i) * 2 + (warp >> 2), TILE_ROWS - 1);
            const long long y = min(top + rows[i], height - 1);
#pragma unroll
            for (int lower = 0; lower < 2; ++lower)
                pixels[i][lower] = y * width + min(left + column + lane.row + lower * 8, width - 1);
        }
#pragma unroll
        for (int map = 0; map < JOINED; ++map) {
            const unsigned short *const from = map == 0 ? map0 : map == 1 ? map1 : map2;
            const unsigned weights = weights_of_map(map, input, middle, weights_of);
            uint4 near[PAIR][2][2];
#pragma unroll
            for (int i = 0; i < PAIR; ++i) load_map(near[i], from, pixels[i], lane.pair);
#pragma unroll
            for (int k = 0; k < GROUPS; ++k)
#pragma unroll
                for (int quarter = 0; quarter < 4; ++quarter) {
                    const uint2 weight =
                        shared_load_u64(weights + (((part * GROUPS + k) * 4 + quarter) * 32 + (thread & 31)) * 8);
#pragma unroll
                    for (int i = 0; i < PAIR; ++i) {
                        const uint4 upper = near[i][k >> 1][0], lower = near[i][k >> 1][1];
                        const unsigned a[4] = {k & 1 ? upper.z : upper.x, k & 1 ? lower.z : lower.x,
                                               k & 1 ? upper.w : upper.y, k & 1 ? lower.w : lower.y};
                        mma_16816(sums[i][quarter], a, weight.x, weight.y);
                    }
                }
        }
        const unsigned weights = weights_of_map(JOINED, input, middle, weights_of);
#pragma unroll
        for (int k = 0; k < GROUPS; ++k) {
            unsigned near[PAIR][4];
#pragma unroll
            for (int i = 0; i < PAIR; ++i)
                ldmatrix_x4(near[i], input + (rows[i] + 2) * INPUT_LINE +
                                         swizzled(min(column + lane.matrix_row, KEPT_COLUMNS - 1) + 2,
                                                  k * 2 + lane.matrix_piece));
#pragma unroll
            for (int quarter = 0; quarter < 4; ++quarter) {
                const uint2 weight =
                    shared_load_u64(weights + (((part * GROUPS + k) * 4 + quarter) * 32 + (thread & 31)) * 8);
#pragma unroll
                for (int i = 0; i < PAIR; ++i) mma_16816(sums[i][quarter], near[i], weight.x, weight.y);
            }
        }
#pragma unroll
        for (int i = 0; i < PAIR; ++i) {
            const int row = (first + i) * 2 + (warp >> 2);
            if (row >= TILE_ROWS || top + row >= height || piece * 8 >= OUTPUTS) continue;
#pragma unroll
            for (int lower = 0; lower < 2; ++lower) {
                const int at = column + lane.row + lower * 8;
                if (at >= KEPT_COLUMNS || left + at >= width) continue;
                uint4 value;
                value.x = pack_half2_relu(sums[i][0][lower * 2], sums[i][0][lower * 2 + 1]);
                value.y = pack_half2_relu(sums[i][1][lower * 2], sums[i][1][lower * 2 + 1]);
                value.z = pack_half2_relu(sums[i][2][lower * 2], sums[i][2][lower * 2 + 1]);
                value.w = pack_half2_relu(sums[i][3][lower * 2], sums[i][3][lower * 2 + 1]);
                *reinterpret_cast<uint4 *>(joined + pixels[i][lower] * OUTPUTS + piece * 8) = value;
            }
        }
    }
#endif
}
