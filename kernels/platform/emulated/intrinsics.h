#pragma once

// Of the emulator. For kernels/platform/intrinsics.h alone.

#include <bit>
#include <cmath>

#include "kernels/platform/emulated/counters.h"
#include "kernels/platform/emulated/emulator.h"

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
inline int __popc(unsigned x) { return std::popcount(x); }
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
  unsigned cluster = 1;
};

template <class... Parameters, class... Arguments>
void start(const Launch& l, void (*kernel)(Parameters...), Arguments... arguments) {
  ++emulator::counters.launches;
  const emulator::KernelLaunch k{l.op,
                                 reinterpret_cast<const void*>(kernel),
                                 {l.grid.x, l.grid.y, l.grid.z},
                                 {l.block.x, l.block.y, l.block.z},
                                 l.shared,
                                 l.stream,
                                 l.cluster};
  emulator::start_kernel(k, [=] {
    auto body = [&] { kernel(static_cast<Parameters>(arguments)...); };
    emulator::run(
        k, [](void* p) { (*static_cast<decltype(body)*>(p))(); }, &body);
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
template <class Code>
std::uint16_t fp8_pair(float low, float high) {
  return std::uint16_t(to_fp8<Code>(low).bits | to_fp8<Code>(high).bits << 8);
}
// One thread runs at a time; atomic for ThreadSanitizer alone, to which they order nothing.
inline void atomic_add(std::int32_t* at, std::int32_t x) {
  __atomic_fetch_add(at, x, __ATOMIC_RELAXED);
}
inline void atomic_max(std::uint32_t* at, std::uint32_t x) {
  if (x > __atomic_load_n(at, __ATOMIC_RELAXED)) __atomic_store_n(at, x, __ATOMIC_RELAXED);
}
inline float fast_exp2(float x) { return x < -126.0f ? 0.0f : std::exp2(x); }
inline float fast_log2(float x) { return std::log2(x); }

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
inline int count_block(std::int32_t* ended) { return (*ended)++; }
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
