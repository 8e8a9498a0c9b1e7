#include "core/block_formats.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/dispatch.h"

namespace lacuna {
namespace {

constexpr int kThreads = 256;
/// Consecutive elements of a thread, which lie in one group of a block.
constexpr int kEach = 8;

__device__ __forceinline__ float half_at(const std::uint8_t* bytes) {
  return widen(Float16{std::uint16_t(bytes[0] | bytes[1] << 8)});
}

/// The 6-bit scale and minimum of group g of a BlockQ4_K or BlockQ5_K, from its packed bytes.
__device__ __forceinline__ void scale_and_minimum(const std::uint8_t* packed, int g, int& scale,
                                                  int& minimum) {
  if (g < 4) {
    scale = packed[g] & 63;
    minimum = packed[g + 4] & 63;
  } else {
    scale = (packed[g + 4] & 15) | packed[g - 4] >> 6 << 4;
    minimum = packed[g + 4] >> 4 | packed[g] >> 6 << 4;
  }
}

/// Elements [at, at + kEach) of a block (core/block_formats.h), with the bits of dequantise()
/// there.
template <MatrixFormat format>
__device__ __forceinline__ void read_elements(const std::uint8_t* block, int at,
                                              float (&to)[kEach]) {
  if constexpr (format == MatrixFormat::q8_0) {
    const float d = half_at(block);
    for (int j = 0; j < kEach; ++j) to[j] = d * float(std::int8_t(block[2 + at + j]));
  } else if constexpr (format == MatrixFormat::q4_0) {
    const float d = half_at(block);
    for (int j = 0; j < kEach; ++j)
      to[j] = d * float((block[2 + at % 16 + j] >> at / 16 * 4 & 15) - 8);
  } else if constexpr (format == MatrixFormat::q6_k) {
    const int half = at / 128, k = at % 128 / 32, i = at % 32;
    const float d = half_at(block + 208);
    const float scale = d * float(std::int8_t(block[192 + at / 16]));
    for (int j = 0; j < kEach; ++j) {
      const int low = block[64 * half + k % 2 * 32 + i + j] >> k / 2 * 4 & 15,
                high = block[128 + 32 * half + i + j] >> 2 * k & 3;
      to[j] = scale * float((low | high << 4) - 32);
    }
  } else {  // q4_k, q5_k
    constexpr bool has_high = format == MatrixFormat::q5_k;
    const int g = at / 32, i = at % 32;
    int scale = 0, minimum = 0;
    scale_and_minimum(block + 4, g, scale, minimum);
    const float d = half_at(block) * float(scale), low = half_at(block + 2) * float(minimum);
    const std::uint8_t* q = block + (has_high ? 48 : 16) + g / 2 * 32 + i;
    for (int j = 0; j < kEach; ++j) {
      const int high = has_high ? (block[16 + i + j] >> g & 1) << 4 : 0;
      to[j] = d * float((q[j] >> g % 2 * 4 & 15) + high) - low;
    }
  }
}

template <MatrixFormat format, class T>
__global__ void dequantise_kernel(T* y, const std::uint8_t* blocks, std::int64_t count) {
  constexpr int elements = int(info_of(format).block_elements);
  constexpr std::int64_t bytes = info_of(format).block_bytes;
  const std::int64_t first = (std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * kEach;
  if (first >= count) return;
  float values[kEach];
  read_elements<format>(blocks + first / elements * bytes, int(first % elements), values);
  constexpr int n = kPackOf<T>;
  for (int j = 0; j < kEach; j += n) {
    Pack<T, n> pack;
    for (int i = 0; i < n; ++i) pack.v[i] = narrow<T>(values[j + i]);
    store_pack<n>(y + first + j, pack);
  }
}

template <class F>
void visit_blocks(MatrixFormat format, F&& f) {
  switch (format) {
    case MatrixFormat::q8_0:
      return f(std::integral_constant<MatrixFormat, MatrixFormat::q8_0>{});
    case MatrixFormat::q4_0:
      return f(std::integral_constant<MatrixFormat, MatrixFormat::q4_0>{});
    case MatrixFormat::q4_k:
      return f(std::integral_constant<MatrixFormat, MatrixFormat::q4_k>{});
    case MatrixFormat::q5_k:
      return f(std::integral_constant<MatrixFormat, MatrixFormat::q5_k>{});
    case MatrixFormat::q6_k:
      return f(std::integral_constant<MatrixFormat, MatrixFormat::q6_k>{});
    case MatrixFormat::f32:
    case MatrixFormat::bf16:
    case MatrixFormat::f16:
      break;
  }
  fail("a float format has no blocks");
}

}  // namespace

void CudaOps::dequantise(Tensor y, Matrix w) {
  const Checks c = checks("dequantise");
  check_dequantise(c, y, w);
  if (w.is_float()) return copy(y, w.as_tensor());
  if (y.count() == 0) return;
  CHECK(aligned_to_packs(kEach, {y}), c.op(), ": y is not aligned to ", kEach, " elements");
  visit_float(y.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    visit_blocks(w.format, [&](auto format) {
      launch({c.op(), blocks_for_vector(y.count(), kThreads, kEach), kThreads, 0, stream()},
             dequantise_kernel<decltype(format)::value, T>, y.as<T>(),
             static_cast<const std::uint8_t*>(w.data), y.count());
    });
  });
}

}  // namespace lacuna
