// A residual block of CARN in one launch: y = ReLU(x + W3 ReLU(conv2(ReLU(conv1(x) + b1)) + b2) + b3), where conv1 and
// conv2 are 3x3 convolutions of four groups of 16 channels, zeros past the border, and W3 is a 1x1 one. Only x is read
// and only y written, 64 channels of a pixel side by side. Results between are rounded as maps in memory would be.
//
// A block of 256 threads makes TILE_ROWS x 30 pixels. Warp w convolves group w % 4 of the columns 16 (w / 4) to
// 16 (w / 4) + 15. Down the rows, it reads each row of its input once, at three columns, and multiplies it into the
// three rows of results that it belongs to; the weights of its group stay in registers.

#ifndef TILE_ROWS
#define TILE_ROWS 8
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
    BIAS_BYTES = CHANNELS * 3 * 4,
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

extern "C" __global__ void __launch_bounds__(THREADS, 2)
    residual_block(const unsigned short *__restrict__ x, const unsigned char *__restrict__ packed,
                   const unsigned char *__restrict__ biases, unsigned short *__restrict__ out, int height, int width) {
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
        copy_async(weights_of, packed + 2 * CONVOLUTION_BYTES, LAST_BYTES, thread);
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
#pragma unroll
    for (int quarter = 0; quarter < 4; ++quarter) {
        const uint2 pair = shared_load_u64(biases_of + (2 * CHANNELS + piece * 8 + quarter * 2) * 4);
        bias[quarter][0] = __uint_as_float(pair.x);
        bias[quarter][1] = __uint_as_float(pair.y);
    }
    const int column = (warp >> 1 & 1) * 16;
#pragma unroll
    for (int step = 0; step < (TILE_ROWS + 1) / 2; ++step) {
        const int row = step * 2 + (warp >> 2);
        if (row >= TILE_ROWS || top + row >= height) break;
        float sums[4][4];
#pragma unroll
        for (int quarter = 0; quarter < 4; ++quarter)
#pragma unroll
            for (int i = 0; i < 4; ++i) sums[quarter][i] = bias[quarter][i & 1];
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
            const uint4 added = shared_load_u128(input + (row + 2) * INPUT_LINE + swizzled(at + 2, piece));
            uint4 value;
            value.x = sum_relu(sums[0][lower * 2], sums[0][lower * 2 + 1], added.x);
            value.y = sum_relu(sums[1][lower * 2], sums[1][lower * 2 + 1], added.y);
            value.z = sum_relu(sums[2][lower * 2], sums[2][lower * 2 + 1], added.z);
            value.w = sum_relu(sums[3][lower * 2], sums[3][lower * 2 + 1], added.w);
            const long long pixel_out = static_cast<long long>(top + row) * width + left + at;
            *reinterpret_cast<uint4 *>(out + pixel_out * CHANNELS + piece * 8) = value;
        }
    }
}
