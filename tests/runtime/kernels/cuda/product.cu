// c (16 x 16, float) = a (16 x 16, half) b^T (16 x 16, half): one warp for each 8 columns of c.
// MISSING: 1: no barrier; 2: no wait; 3: neither wait nor read (the copies are never waited for).
#ifndef MISSING
#define MISSING 0
#endif

extern "C" __global__ void __launch_bounds__(64, 1)
product(const half_bits* __restrict__ a, const half_bits* __restrict__ b, float* __restrict__ c,
        int rows, int skip, float scale) {
    const unsigned memory = shared_begin();
    const int thread = (int)threadIdx.x, warp = thread / 32, lane = thread % 32;
    const int row = thread % 32 / 2, part = thread % 2 * 16;  // the 16 bytes that a thread copies
    const half_bits* from = thread < 32 ? a : b;
    copy_async_16(memory + thread / 32 * 512 + row * 32 + part, from + row * 16 + part / 2 + skip,
                  row < rows);
#if MISSING == 3
    return;
#endif
#if MISSING != 2
    copy_async_wait();
#endif
#if MISSING != 1
    __syncthreads();
#endif
    unsigned left[4], right[4];
    ldmatrix_x4(left, memory + lane % 16 * 32 + lane / 16 * 16);
    ldmatrix_x4(right, memory + 512 + lane % 16 * 32 + lane / 16 * 16);
    float sums[4] = {};
    mma_16816(sums, left, right[warp], right[warp + 2]);
    float2* out = (float2*)(c + lane / 4 * 16 + warp * 8 + lane % 4 * 2);
    out[0] = {sums[0] * scale, sums[1] * scale};
    out[64] = {sums[2] * scale, sums[3] * scale};
}
