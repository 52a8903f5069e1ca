// Counts pixels by difficulty: bin = clamp((difficulty - low) / (high - low) * 65536, 0, 65535), where low and high are
// the extremes, given as keys in their order. Blocks work in pairs, each on half of the bins, which it counts in shared
// memory: in memory, each pixel would be an atomic sum of its own. Both read all pixels of the pair.

#ifndef UPSAMPLERS
#define UPSAMPLERS 2
#endif

enum { THREADS = 1024, BINS = 65536, HALF_BINS = BINS / 2, TURN = 4096 };

__device__ __forceinline__ float sigmoid(float logit) {
    const float decay = exponential(logit < 0 ? logit : -logit);
    return quotient(logit >= 0 ? 1.0f : decay, 1.0f + decay);
}

__device__ __forceinline__ float of_key(int key) {
    return __uint_as_float(static_cast<unsigned>(key ^ ((key >> 31) & 0x7fffffff)));
}

__device__ __forceinline__ float difficulty_logit(const float *logits, int pixel, int pixels) {
#if UPSAMPLERS == 2
    return logits[pixel];
#else
    float values[UPSAMPLERS], largest = -1e38f, heavier = 0.0f, lighter = 0.0f;
#pragma unroll
    for (int c = 0; c < UPSAMPLERS; ++c) {
        values[c] = logits[static_cast<long long>(c) * pixels + pixel];
        largest = max(largest, values[c]);
    }
#pragma unroll
    for (int c = 0; c < UPSAMPLERS; ++c) (c < (UPSAMPLERS + 1) / 2 ? heavier : lighter) += exponential(values[c] - largest);
    const float tiny = 1.1754943508222875e-38f;  // the least normal float32
    return logarithm(max(heavier, tiny)) - logarithm(max(lighter, tiny));
#endif
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
    difficulty_histogram(const float *__restrict__ logits, const int *__restrict__ extremes, int *__restrict__ table,
                         int pixels, int parts) {
    const unsigned counts = shared_begin(), keys = counts + HALF_BINS * 4;
    const int thread = threadIdx.x, half = blockIdx.x & 1, pair = blockIdx.x >> 1, pairs = gridDim.x >> 1;
    for (int i = thread; i < HALF_BINS; i += THREADS) shared_store_u32(counts + i * 4, 0u);
    if (thread < 2) shared_store_u32(keys + thread * 4, thread == 0 ? 0x7fffffffu : 0x80000000u);
    __syncthreads();
    for (int i = thread; i < parts; i += THREADS) {
        shared_min_s32(keys, extremes[i]);
        shared_max_s32(keys + 4, extremes[parts + i]);
    }
    __syncthreads();
    const float low = sigmoid(of_key(static_cast<int>(shared_load_u32(keys))));
    const float high = sigmoid(of_key(static_cast<int>(shared_load_u32(keys + 4))));
    const float inverse = quotient(1.0f, high - low);
    int outermost = 0;  // of the first half the first bin, of the other one the last: images have most there
    for (long long first = static_cast<long long>(pair) * TURN; first < pixels; first += static_cast<long long>(pairs) * TURN) {
#pragma unroll
        for (int i = 0; i < TURN / THREADS; ++i) {
            const long long pixel = first + i * THREADS + thread;
            if (pixel >= pixels) continue;
            const float place = (sigmoid(difficulty_logit(logits, static_cast<int>(pixel), pixels)) - low) * inverse * BINS;
            const int bin = place > 0 ? static_cast<int>(place < BINS - 1 ? place : BINS - 1.0f) : 0;  // a NaN too
            if (bin == half * (BINS - 1))
                ++outermost;
            else if (bin >> 15 == half)
                shared_add_u32(counts + (bin & (HALF_BINS - 1)) * 4, 1u);
        }
    }
    if (outermost > 0) shared_add_u32(counts + half * (HALF_BINS - 1) * 4, static_cast<unsigned>(outermost));
    __syncthreads();
    for (int i = thread; i < HALF_BINS; i += THREADS) {
        const int bin = (i + pair * THREADS) & (HALF_BINS - 1);  // others begin elsewhere
        const int count = static_cast<int>(shared_load_u32(counts + bin * 4));
        if (count > 0) atomicAdd(table + half * HALF_BINS + bin, count);
    }
}
