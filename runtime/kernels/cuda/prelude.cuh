// The instructions that the kernels use, by name: PTX of sm_80 and later. Values of a map are halves, or bfloat16 with
// -DBFLOAT16; two of them fill an unsigned, the first one in the lower bits.
#pragma once

#ifdef BFLOAT16
#define HALF "bf16"
#else
#define HALF "f16"
#endif

__device__ __forceinline__ unsigned pack_half2(float low, float high) {
    unsigned packed;
    asm("cvt.rn." HALF "x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
    return packed;
}

// Rounds the larger of each value and 0; a NaN stays one.
__device__ __forceinline__ unsigned pack_half2_relu(float low, float high) {
    unsigned packed;
    asm("cvt.rn.relu." HALF "x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
    return packed;
}

__device__ __forceinline__ float2 unpack_half2(unsigned packed) {
    float2 values;
#ifdef BFLOAT16
    values.x = __uint_as_float(packed << 16);
    values.y = __uint_as_float(packed & 0xffff0000u);
#else
    asm("{.reg .b16 low, high; mov.b32 {low, high}, %2; cvt.f32.f16 %0, low; cvt.f32.f16 %1, high;}"
        : "=f"(values.x), "=f"(values.y)
        : "r"(packed));
#endif
    return values;
}

// Shared memory is addressed in bytes, by 32 bits.
__device__ __forceinline__ unsigned shared_begin() {
    extern __shared__ __align__(128) unsigned char bytes[];
    return static_cast<unsigned>(__cvta_generic_to_shared(bytes));
}

__device__ __forceinline__ void shared_store_u32(unsigned to, unsigned value) {
    asm volatile("st.shared.b32 [%0], %1;" ::"r"(to), "r"(value) : "memory");
}

__device__ __forceinline__ void shared_store_u128(unsigned to, uint4 value) {
    asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(to), "r"(value.x), "r"(value.y), "r"(value.z),
                 "r"(value.w)
                 : "memory");
}

__device__ __forceinline__ uint2 shared_load_u64(unsigned from) {
    uint2 value;
    asm volatile("ld.shared.v2.b32 {%0, %1}, [%2];" : "=r"(value.x), "=r"(value.y) : "r"(from) : "memory");
    return value;
}

__device__ __forceinline__ uint4 shared_load_u128(unsigned from) {
    uint4 value;
    asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
                 : "r"(from)
                 : "memory");
    return value;
}

__device__ __forceinline__ unsigned shared_load_u32(unsigned from) {
    unsigned value;
    asm volatile("ld.shared.b32 %0, [%1];" : "=r"(value) : "r"(from) : "memory");
    return value;
}

__device__ __forceinline__ void shared_add_u32(unsigned to, unsigned value) {
    asm volatile("red.shared.add.u32 [%0], %1;" ::"r"(to), "r"(value) : "memory");
}

__device__ __forceinline__ void shared_min_s32(unsigned to, int value) {
    asm volatile("red.shared.min.s32 [%0], %1;" ::"r"(to), "r"(value) : "memory");
}

__device__ __forceinline__ void shared_max_s32(unsigned to, int value) {
    asm volatile("red.shared.max.s32 [%0], %1;" ::"r"(to), "r"(value) : "memory");
}

__device__ __forceinline__ float exponential(float x) { return __expf(x); }

__device__ __forceinline__ float logarithm(float x) { return __logf(x); }

__device__ __forceinline__ float quotient(float a, float b) { return __fdividef(a, b); }

// Lane l gives the address of row l % 8 of the 8x8 matrix l / 8, and gets of matrix i the values 2 (l % 4) and
// 2 (l % 4) + 1 of row l / 4.
__device__ __forceinline__ void ldmatrix_x4(unsigned (&r)[4], unsigned row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(row)
                 : "memory");
}

// d [16, 8] += a [16, 16] b [16, 8].
__device__ __forceinline__ void mma_16816(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32." HALF "." HALF ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Copies 16 bytes, or writes zeros where they are not valid; they are there behind copy_async_wait.
__device__ __forceinline__ void copy_async_16(unsigned to, const void *from, bool valid) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(valid ? 16 : 0) : "memory");
}

__device__ __forceinline__ void copy_async_wait() { asm volatile("cp.async.wait_all;" ::: "memory"); }

// Keeps a value in its register: the compiler would compute it anew in every row.
__device__ __forceinline__ void keep(unsigned &value) { asm volatile("" : "+r"(value)); }
