#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "core/half.h"
#include "core/tensor.h"
#include "kernels/cuda/device.h"

// The one place that decides which world a kernel lives in. nvcc compiles kernels/cuda/*.cu for a
// GPU; any C++ compiler compiles the same files for kernels/emulator, which runs them on a CPU. In
// both, kernels are plain CUDA with these restrictions:
//   - launched by launch({op, grid, block, shared, stream}, kernel, arguments…), not <<<…>>>
//   - PTX only through the functions below; 16-byte accesses through load_pack and store_pack
//   - dynamic shared memory through dynamic_shared<T>(), not extern __shared__
//   - no block waits for another, but for one that took an earlier ticket (hopper.h)

namespace lacuna {

/// n neighbouring elements, moved as one.
template <class T, int n>
struct alignas(n * sizeof(T)) Pack {
  T v[n];
};
/// Elements of a 16-byte access.
template <class T>
inline constexpr int kPackOf = 16 / int(sizeof(T));

}  // namespace lacuna

#if defined(__CUDACC__)
// --- a GPU ---------------------------------------------------------------------------------------
#include <cuda_runtime.h>

namespace lacuna {

struct Launch {
  const char* op;  // for error messages
  dim3 grid, block;
  std::size_t shared;
  CUstream_st* stream;
};

template <class... Parameters, class... Arguments>
void start(const Launch& l, void (*kernel)(Parameters...), Arguments... arguments) {
  kernel<<<l.grid, l.block, l.shared, l.stream>>>(static_cast<Parameters>(arguments)...);
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
/// 2^x to about 2 units in the last place; results below 2^-126 are 0.
__device__ __forceinline__ float fast_exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
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

#else
// --- the emulator --------------------------------------------------------------------------------
#include <cmath>

#include "kernels/emulator/counters.h"
#include "kernels/emulator/emulator.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static  // blocks run one after another on one host thread
#define threadIdx (::lacuna::emulator::thread_index())
#define blockIdx (::lacuna::emulator::block_index())
#define blockDim (::lacuna::emulator::block_size())
#define gridDim (::lacuna::emulator::grid_size())

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

inline void __syncthreads() { lacuna::emulator::barrier(); }
[[noreturn]] inline void __trap() { lacuna::emulator::fail_kernel("a trap"); }
inline int __syncthreads_or(int predicate) { return lacuna::emulator::barrier(predicate) != 0; }
inline void __syncwarp(unsigned mask = ~0u) {
  const char nothing = 0;
  lacuna::emulator::meet(mask, lacuna::emulator::WarpFunction::sync, &nothing, 1);
}
template <class T>
T __shfl_sync(unsigned mask, T value, int source) {
  using namespace lacuna::emulator;
  return meet(mask, WarpFunction::shuffle, &value, sizeof value)
      .template read<T>(unsigned(source) % 32);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits) {
  return __shfl_sync(mask, value, int(lacuna::emulator::lane()) ^ bits);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned by) {
  const unsigned lane = lacuna::emulator::lane();
  return __shfl_sync(mask, value, int(lane + by < 32 ? lane + by : lane));
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
  using namespace lacuna::emulator;
  const WarpSlots& slots = meet(mask, WarpFunction::ballot, &predicate, sizeof predicate);
  unsigned votes = 0;
  for (unsigned i = 0; i < 32; ++i)
    if (mask >> i & 1) votes |= unsigned(slots.read<int>(i) != 0) << i;
  return votes;
}
// CUDA's names for what <cmath> lacks, or keeps in std.
using std::isfinite;
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __expf(float x) { return std::exp(x); }
inline float __fdividef(float x, float y) { return x / y; }

namespace lacuna {

struct Launch {
  const char* op;
  dim3 grid, block;
  std::size_t shared;
  CUstream_st* stream;
};

template <class... Parameters, class... Arguments>
void start(const Launch& l, void (*kernel)(Parameters...), Arguments... arguments) {
  ++emulator::counters.launches;
  const emulator::KernelLaunch k{l.op,
                                 reinterpret_cast<const void*>(kernel),
                                 {l.grid.x, l.grid.y, l.grid.z},
                                 {l.block.x, l.block.y, l.block.z},
                                 l.shared,
                                 l.stream};
  emulator::start_kernel(k, [=] {
    auto body = [&] { kernel(static_cast<Parameters>(arguments)...); };
    emulator::run(
        k.op, k.grid, k.block, k.shared, [](void* p) { (*static_cast<decltype(body)*>(p))(); },
        &body);
  });
}

template <class T>
T* dynamic_shared() {
  return static_cast<T*>(emulator::dynamic_shared());
}

template <int n, class T>
Pack<T, n> load_pack(const T* p) {
  emulator::check_aligned(p, sizeof(Pack<T, n>));
  return *reinterpret_cast<const Pack<T, n>*>(p);
}
template <int n, class T>
void store_pack(T* p, const Pack<T, n>& x) {
  emulator::check_aligned(p, sizeof(Pack<T, n>));
  emulator::generic_store(p, sizeof(Pack<T, n>));
  *reinterpret_cast<Pack<T, n>*>(p) = x;
}

inline float widen(float x) { return x; }
inline float widen(BFloat16 x) { return to_float(x); }
inline float widen(Float16 x) { return to_float(x); }
template <class T>
T narrow(float x);
template <>
inline float narrow<float>(float x) {
  return x;
}
template <>
inline BFloat16 narrow<BFloat16>(float x) {
  return to_bf16(x);
}
template <>
inline Float16 narrow<Float16>(float x) {
  return to_f16(x);
}
inline std::uint32_t pack_bf16(float low, float high) {
  return to_bf16(low).bits | std::uint32_t{to_bf16(high).bits} << 16;
}
inline float fast_exp2(float x) { return x < -126.0f ? 0.0f : std::exp2(x); }

inline void mma_bf16(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                     std::uint32_t b1) {
  using namespace emulator;
  const MultiplyArguments x{{a[0], a[1], a[2], a[3]}, {b0, b1}, {c[0], c[1], c[2], c[3]}};
  meet(~0u, WarpFunction::multiply, &x, sizeof x, multiply_fragments).read(lane(), c, sizeof c);
}
using SharedAddress = std::uintptr_t;
inline SharedAddress shared_address(const void* shared) {
  return reinterpret_cast<SharedAddress>(shared);
}
template <bool transposed>
void ldmatrix_x4(std::uint32_t (&r)[4], SharedAddress address) {
  using namespace emulator;
  const void* row = reinterpret_cast<const void*>(address);
  check_aligned(row, 16);
  const WarpSlots& slots = meet(~0u, WarpFunction::load_matrix, &row, sizeof row);
  const unsigned group = lane() / 4, member = lane() % 4;
  for (unsigned j = 0; j < 4; ++j) {
    std::uint16_t low, high;
    if constexpr (transposed) {
      low = slots.read<const std::uint16_t*>(8 * j + 2 * member)[group];
      high = slots.read<const std::uint16_t*>(8 * j + 2 * member + 1)[group];
    } else {
      const auto* elements = slots.read<const std::uint16_t*>(8 * j + group);
      low = elements[2 * member];
      high = elements[2 * member + 1];
    }
    r[j] = low | std::uint32_t{high} << 16;
  }
}
inline void cp_async_16(SharedAddress shared, const void* global, unsigned valid) {
  emulator::async_copy(reinterpret_cast<void*>(shared), global, 16, valid);
}
inline void cp_async_4(SharedAddress shared, const void* global, bool valid) {
  emulator::async_copy(reinterpret_cast<void*>(shared), global, 4, valid ? 4 : 0);
}
inline void cp_async_commit() { emulator::async_commit(); }
template <int n>
void cp_async_wait() {
  emulator::async_wait(n);
}

}  // namespace lacuna
#endif

namespace lacuna {

/// Queues a kernel; nothing where the grid is empty.
template <class... Parameters, class... Arguments>
void launch(const Launch& l, void (*kernel)(Parameters...), Arguments... arguments) {
  if (l.grid.x == 0 || l.grid.y == 0 || l.grid.z == 0) return;
  if (l.shared > 48 * 1024 - kStaticSharedMemory)
    allow_shared_memory(reinterpret_cast<const void*>(kernel), l.shared, l.op);
  start(l, kernel, arguments...);
  check_launch(l.op);
}

}  // namespace lacuna
