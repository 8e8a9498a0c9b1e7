#pragma once
// Of a GPU. For kernels/platform/intrinsics.h alone.

#include <cuda_runtime.h>

namespace lacuna {

struct Launch {
  const char* op;  // for error messages
  dim3 grid, block;
  std::size_t shared;
  CUstream_st* stream;
  unsigned cluster = 1;  // blocks, neighbours by x, that run together; more than 1: sm_90
};

template <class... Parameters, class... Arguments>
void start(const Launch& l, void (*kernel)(Parameters...), Arguments... arguments) {
  if (l.cluster == 1) {
    kernel<<<l.grid, l.block, l.shared, l.stream>>>(static_cast<Parameters>(arguments)...);
    return;
  }
  cudaLaunchAttribute cluster{};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim = {l.cluster, 1, 1};
  cudaLaunchConfig_t config{};
  config.gridDim = l.grid;
  config.blockDim = l.block;
  config.dynamicSmemBytes = l.shared;
  config.stream = l.stream;
  config.attrs = &cluster;
  config.numAttrs = 1;
  // check_launch() finds an error as it does after <<<...>>>.
  (void)cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...);
}

template <class T>
__device__ __forceinline__ T* dynamic_shared() {
  extern __shared__ __align__(128) unsigned char lacuna_dynamic_shared[];
  return reinterpret_cast<T*>(lacuna_dynamic_shared);
}

template <int n, class T>
__device__ __forceinline__ Pack<T, n> load_pack(const T* p) {
  return *reinterpret_cast<const Pack<T, n>*>(p);
}
template <int n, class T>
__device__ __forceinline__ void store_pack(T* p, const Pack<T, n>& x) {
  *reinterpret_cast<Pack<T, n>*>(p) = x;
}

__device__ __forceinline__ float widen(float x) { return x; }
__device__ __forceinline__ float widen(BFloat16 x) {
  return __uint_as_float(std::uint32_t{x.bits} << 16);
}
__device__ __forceinline__ float widen(Float16 x) {
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
  return y;
}
/// Rounded to nearest even: narrow<T>(float).
template <class T>
__device__ __forceinline__ T narrow(float x);
template <>
__device__ __forceinline__ float narrow<float>(float x) {
  return x;
}
template <>
__device__ __forceinline__ BFloat16 narrow<BFloat16>(float x) {
  BFloat16 y;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
  return y;
}
template <>
__device__ __forceinline__ Float16 narrow<Float16>(float x) {
  Float16 y;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
  return y;
}
/// Two bf16 in a register, `low` first in memory.
__device__ __forceinline__ std::uint32_t pack_bf16(float low, float high) {
  std::uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}
/// Two codes, `low` first in memory, as to_fp8() rounds.
template <class Code>
__device__ __forceinline__ std::uint16_t fp8_pair(float low, float high) {
#if __CUDA_ARCH__ >= 890
  std::uint16_t pair;
  if constexpr (Fp8Format<Code>::has_infinity)
    asm("cvt.rn.satfinite.e5m2x2.f32 %0, %1, %2;" : "=h"(pair) : "f"(high), "f"(low));
  else
    asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(pair) : "f"(high), "f"(low));
  return pair;
#else
  return std::uint16_t(to_fp8<Code>(low).bits | to_fp8<Code>(high).bits << 8);
#endif
}
/// *at += x.
__device__ __forceinline__ void atomic_add(std::int32_t* at, std::int32_t x) { atomicAdd(at, x); }
/// *at = max(*at, x).
__device__ __forceinline__ void atomic_max(std::uint32_t* at, std::uint32_t x) { atomicMax(at, x); }
/// 2^x to about 2 units in the last place; results below 2^-126 are 0.
__device__ __forceinline__ float fast_exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/// log2 x for x >= 0, off by at most 2^-22 or 2 units in the last place; -inf of 0.
__device__ __forceinline__ float fast_log2(float x) {
  float y;
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/// c += a b for the 16x16 matrix a and the 16x8 matrix b (mma.sync.m16n8k16), one warp together.
__device__ __forceinline__ void mma_bf16(float (&c)[4], const std::uint32_t (&a)[4],
                                         std::uint32_t b0, std::uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
/// An address in shared memory as a number that can be reckoned with.
using SharedAddress = std::uint32_t;
__device__ __forceinline__ SharedAddress shared_address(const void* shared) {
  return std::uint32_t(__cvta_generic_to_shared(shared));
}
/// Four 8x8 matrices of 16-bit elements; lane l gives the address of row l % 8 of matrix l / 8.
template <bool transposed>
__device__ __forceinline__ void ldmatrix_x4(std::uint32_t (&r)[4], SharedAddress address) {
  if constexpr (transposed)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3},[%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3},[%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
}
/// How many blocks have called this with `ended` before. What their threads wrote before their
/// calls, this one's threads see after a __syncthreads. One thread of a block calls it, after what
/// it publishes.
__device__ __forceinline__ int count_block(std::int32_t* ended) {
  __threadfence();
  const int before = atomicAdd(ended, 1);
  __threadfence();
  return before;
}
/// Begins to copy 16 bytes to shared memory: `valid` of them, then zeros. `global` need only be
/// readable for the valid ones, but aligned to 16.
__device__ __forceinline__ void cp_async_16(SharedAddress shared, const void* global,
                                            unsigned valid) {
  asm volatile("cp.async.cg.shared.global [%0],[%1],16,%2;" ::"r"(shared), "l"(global), "r"(valid)
               : "memory");
}
/// Begins to copy one float or integer; zero if not `valid`.
__device__ __forceinline__ void cp_async_4(SharedAddress shared, const void* global, bool valid) {
  asm volatile("cp.async.ca.shared.global [%0],[%1],4,%2;" ::"r"(shared), "l"(global),
               "r"(valid ? 4u : 0u)
               : "memory");
}
__device__ __forceinline__ void cp_async_commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
/// Waits until at most n of this thread's committed groups are under way.
template <int n>
__device__ __forceinline__ void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(n) : "memory");
}

}  // namespace lacuna
