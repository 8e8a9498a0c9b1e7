#include "core/fp8.h"

#include <algorithm>
#include <atomic>
#include <bit>

#include "core/half.h"
#include "kernels/checks.h"
#include "kernels/cpu/blocks.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/fp8_types.h"

// FP8 without FP8 instructions: codes are bf16 values, which the products of bf16 matrices multiply
// exactly and sum in f32.

namespace lacuna {
namespace {

float widened_to_quantise(float x) { return x; }
float widened_to_quantise(BFloat16 x) { return to_float(x); }

template <class T>
std::uint32_t largest_magnitude(const T* x, std::int64_t n) {
  std::uint32_t largest = 0;
  for (std::int64_t i = 0; i < n; ++i)
    largest = std::max(largest, magnitude_bits(widened_to_quantise(x[i])));
  return largest;
}

/// Codes as the bf16 numbers that they are.
void expand(ThreadPool& pool, BFloat16* to, const Tensor& codes) {
  visit_fp8(codes.dtype, [&](auto type) {
    using Code = typename decltype(type)::type;
    const Code* from = codes.as<Code>();
    pool.for_ranges(codes.count(), kGrain, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i)
        to[i].bits = std::uint16_t(std::bit_cast<std::uint32_t>(to_float(from[i])) >> 16);
    });
  });
}

template <class Code, class T>
void quantise(Code* to, const T* from, float inverse, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) to[i] = to_fp8<Code>(widened_to_quantise(from[i]) * inverse);
}

/// Columns [first, first + cols), at most kSquare, of x [rows, …], which become rows of `padded`
/// codes; kSquare rows of x at a time, whose codes stay in the first-level cache.
constexpr std::int64_t kSquare = 64;
template <class Code, class T>
void quantise_transposed(Code* to, std::int64_t padded, const T* x, std::int64_t stride,
                         std::int64_t rows, std::int64_t first, std::int64_t cols, float inverse) {
  Code square[kSquare][kSquare];
  for (std::int64_t from = 0; from < padded; from += kSquare) {
    const std::int64_t n = std::min(kSquare, padded - from);
    for (std::int64_t row = 0; row < n; ++row)
      if (from + row < rows)
        quantise(square[row], x + (from + row) * stride + first, inverse, cols);
      else
        std::fill(square[row], square[row] + cols, Code{0});
    for (std::int64_t col = 0; col < cols; ++col)
      for (std::int64_t row = 0; row < n; ++row)
        to[(first + col) * padded + from + row] = square[row][col];
  }
}

/// y = factor sums, or y += …, a row.
void store_scaled(float* y, const float* sums, float factor, bool accumulate, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) y[i] = (accumulate ? y[i] : 0.0f) + factor * sums[i];
}
void store_scaled(BFloat16* y, const float* sums, float factor, bool accumulate, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i)
    y[i] = to_bf16((accumulate ? to_float(y[i]) : 0.0f) + factor * sums[i]);
}

}  // namespace

void CpuOps::absolute_maximum(Tensor amax, Tensor x) {
  check_absolute_maximum(checks("absolute_maximum"), amax, x);
  std::atomic<std::uint32_t> largest{0};
  visit_float(x.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    pool_.for_ranges(x.rows(), row_grain(x.cols()), [&](std::int64_t begin, std::int64_t end) {
      std::uint32_t mine = 0;
      for (std::int64_t row = begin; row < end; ++row)
        mine = std::max(mine, largest_magnitude(x.as<T>() + row * x.stride, x.cols()));
      std::uint32_t seen = largest;
      while (mine > seen && !largest.compare_exchange_weak(seen, mine)) {
      }
    });
  });
  *amax.as<float>() = std::bit_cast<float>(largest.load());
}

void CpuOps::quantise_fp8(Tensor codes, Tensor transposed, Tensor factor, Tensor x, Tensor amax) {
  const auto [rows, cols] =
      check_quantise_fp8(checks("quantise_fp8"), codes, transposed, factor, x, amax);
  const std::int64_t N = rows, C = cols, padded = padded_for_fp8(rows);
  visit_float(x.dtype, [&](auto x_type) {
    visit_fp8(codes.data ? codes.dtype : transposed.dtype, [&](auto code_type) {
      using T = typename decltype(x_type)::type;
      using Code = typename decltype(code_type)::type;
      const float f = fp8_factor<Code>(*amax.as<float>()), inverse = 1 / f;
      *factor.as<float>() = f;
      const T* from = x.as<T>();
      if (codes.data)
        pool_.for_ranges(N, row_grain(C), [&](std::int64_t begin, std::int64_t end) {
          for (std::int64_t row = begin; row < end; ++row)
            quantise(codes.as<Code>() + row * C, from + row * x.stride, inverse, C);
        });
      if (!transposed.data) return;
      pool_.for_ranges((C + kSquare - 1) / kSquare, 1, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t first = begin * kSquare; first < std::min(C, end * kSquare);
             first += kSquare)
          quantise_transposed(transposed.as<Code>(), padded, from, x.stride, N, first,
                              std::min(kSquare, C - first), inverse);
      });
    });
  });
}

void CpuOps::multiply_fp8(Tensor y, Fp8Matrix a, Fp8Matrix b, GradMode mode) {
  check_multiply_fp8(checks("multiply_fp8"), y, a, b);
  const bool accumulate = mode == GradMode::accumulate;
  if (y.count() == 0 || (accumulate && a.codes.count() == 0)) return;
  const std::int64_t in_a = a.codes.count(), rows = y.rows(), cols = y.cols();
  fp8_values_.resize(std::size_t(in_a + b.codes.count()));
  fp8_sums_.resize(std::size_t(rows * cols));
  expand(pool_, fp8_values_.data(), a.codes);
  expand(pool_, fp8_values_.data() + in_a, b.codes);
  const Tensor sums(fp8_sums_.data(), {rows, cols});
  multiply_bf16(sums, Tensor(fp8_values_.data(), a.codes.shape), false,
                Tensor(fp8_values_.data() + in_a, b.codes.shape), true, GradMode::overwrite);
  const float factor = *a.factor.as<float>() * *b.factor.as<float>();
  visit_float(y.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    pool_.for_ranges(rows, row_grain(cols), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row)
        store_scaled(y.as<T>() + row * y.stride, sums.as<float>() + row * cols, factor, accumulate,
                     cols);
    });
  });
}

}  // namespace lacuna
