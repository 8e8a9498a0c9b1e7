#pragma once
#include <cstdint>

#include "core/tensor.h"
#include "kernels/adamw_constants.h"
#include "kernels/cpu/attention_tiles.h"
#include "kernels/cpu/linear_bf16.h"
#include "kernels/cpu/linear_tiles.h"

namespace lacuna {

/// max_i x[i] (at least the lowest finite float) and sum_i exp(x[i] - max).
struct MaxAndSum {
  float max;
  double sum;
};

/// The stream of a CounterRng (core/philox.h).
struct RandomStream {
  std::uint64_t seed, index;
  std::uint32_t purpose;
};

/// The loops over vectors of one type T, f32 or bf16: bf16 is widened as it is read, computed with
/// in f32, and rounded as it is written. What is `float` here is f32 in both.
template <class T>
struct FloatLoops {
  void (*add_f32)(T* y, const float* x, std::int64_t n);
  void (*add_bf16)(T* y, const BFloat16* x, std::int64_t n);
  /// y += x.
  void add(T* y, const float* x, std::int64_t n) const { add_f32(y, x, n); }
  void add(T* y, const BFloat16* x, std::int64_t n) const { add_bf16(y, x, n); }
  void (*axpby_f32)(T* y, float alpha, const float* x, float beta, std::int64_t n);
  void (*axpby_bf16)(T* y, float alpha, const BFloat16* x, float beta, std::int64_t n);
  /// y = beta y + alpha x; y is not read where beta is 0.
  void axpby(T* y, float alpha, const float* x, float beta, std::int64_t n) const {
    axpby_f32(y, alpha, x, beta, n);
  }
  void axpby(T* y, float alpha, const BFloat16* x, float beta, std::int64_t n) const {
    axpby_bf16(y, alpha, x, beta, n);
  }
  void (*widen)(float* y, const T* x, std::int64_t n);
  void (*round)(T* y, const float* x, std::int64_t n);

  double (*sum_of_squares)(const T* x, std::int64_t n);
  MaxAndSum (*max_and_sum)(const T* x, std::int64_t n);
  /// x = scale * exp(x - max), the exponential within 2 units in the last place; exactly 0
  /// where x - max is below -87.
  void (*scaled_exp)(T* x, float max, float scale, std::int64_t n);
  /// x = other + factor * (x - other).
  void (*extrapolate)(T* x, const T* other, float factor, std::int64_t n);

  /// One row of rmsnorm_forward; returns rstd.
  float (*rmsnorm)(T* y, const T* x, const float* w, float eps, std::int64_t n);
  float (*add_rmsnorm)(T* sum, T* y, const T* x, const T* delta, const float* w, float eps,
                       std::int64_t n);
  /// One row of rmsnorm_backward; dw accumulates.
  void (*rmsnorm_backward)(T* dx, float* dw, const T* dy, const T* x, const float* w, float rstd,
                           bool accumulate, std::int64_t n);
  /// One row of rope: `heads` heads of 2 * half elements. sign -1 turns back.
  void (*rope)(T* x, const float* cosines, const float* sines, float sign, std::int64_t heads,
               std::int64_t half);
  void (*swiglu)(T* y, const T* gate, const T* up, std::int64_t n);
  void (*swiglu_backward)(T* d_gate, T* d_up, T* y, const T* dy, const T* gate, const T* up,
                          std::int64_t n);
  void (*adamw)(float* w, float* m, float* v, const T* g, const AdamWConstants& c, std::int64_t n);
  AttentionTiles<T> attention;  // kernels/cpu/attention_tiles.h and .inc
};

/// The loops that gain from wider vectors, over plain contiguous arrays of n elements. One source
/// (simd_kernels.inc and what it includes) is compiled once per instruction set, each into a table
/// like this. Pointers may be equal where the operation in kernels/ops.h says tensors may be, and
/// must not overlap otherwise.
struct SimdKernels {
  const char* name;  // "avx2", "avx512", "avx512_bf16", "avx512_amx"

  FloatLoops<float> f32;
  FloatLoops<BFloat16> bf16;
  template <class T>
  const FloatLoops<T>& loops() const {
    if constexpr (sizeof(T) == sizeof(float))
      return f32;
    else
      return bf16;
  }

  /// max_i x[i]; -inf of none.
  float (*max)(const float* x, std::int64_t n);
  /// sum_i d exp(d), d = x[i] - max, for an entropy; 0 where exp(d) is (see scaled_exp). In f32: of
  /// a few thousand elements.
  float (*weighted_sum)(const float* x, float max, std::int64_t n);
  /// Which numbers can win a Gumbel-max draw. With u = CounterRng{seed, purpose, index}
  /// .uniform53(first + i), x[i] - t log(-log u) > best implies slack[i] > 0; returns the largest
  /// slack. inverse_t = 1 / t. Cheap where it matters: log(-log u) is needed for very few i, and u
  /// only where x[i] is within 37 t of the best.
  float (*gumbel_slack)(float* slack, const float* x, float best, float inverse_t,
                        const RandomStream& stream, std::uint32_t first, std::int64_t n);

  /// Words of CounterRng{seed, purpose, index} of `blocks` Philox blocks, four each, from block
  /// `first` of a 64-bit position on: its low 30 bits number the block, those above are added to
  /// the high half of the index, whose own is 0.
  void (*random_words)(std::uint32_t* words, const RandomStream& stream, std::uint64_t first,
                       std::int64_t blocks);
  /// y[i] = round_stochastically(x[i], words[i] >> shift & 0xffff) (kernels/stochastic_rounding.h).
  void (*round_stochastically)(BFloat16* y, const float* x, const std::uint32_t* words, int shift,
                               std::int64_t n);

  LinearTiles linear;      // kernels/cpu/linear_tiles.h and .inc
  LinearBf16 linear_bf16;  // kernels/cpu/linear_bf16.h and .inc
};

/// The table for this processor: the widest it has of avx512_amx (that and AMX with bf16, which
/// Linux must grant), avx512_bf16 (x86-64-v4 and AVX512_BF16), avx512 (x86-64-v4) and avx2 (other
/// architectures: the one there is). LACUNA_ISA chooses one by name; Error when it is none of them
/// or not available.
const SimdKernels& simd_kernels();

/// The table by name, for tests: nullptr when this processor or build lacks it.
const SimdKernels* find_simd_kernels(const char* name);

}  // namespace lacuna
