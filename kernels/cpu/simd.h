#pragma once
#include <cstdint>

#include "kernels/adamw_constants.h"
#include "kernels/cpu/attention_tiles.h"
#include "kernels/cpu/linear_tiles.h"

namespace lacuna {

/// max_i x[i] (at least the lowest finite float) and sum_i exp(x[i] - max).
struct MaxAndSum {
  float max;
  double sum;
};

/// The stream of a CounterRng (core/philox.h).
struct GumbelStream {
  std::uint64_t seed, index;
  std::uint32_t purpose;
};

/// The loops that gain from wider vectors, over plain contiguous f32 of n elements. One source
/// (simd_kernels.inc, attention_tiles.inc, linear_tiles.inc) is compiled once per instruction set,
/// each into a table like this. Pointers may be equal where the operation in kernels/ops.h says
/// tensors may be, and must not overlap otherwise.
struct SimdKernels {
  const char* name;  // "avx2", "avx512"

  void (*add)(float* y, const float* x, std::int64_t n);
  double (*sum_of_squares)(const float* x, std::int64_t n);
  MaxAndSum (*max_and_sum)(const float* x, std::int64_t n);
  /// max_i x[i]; -inf of none.
  float (*max)(const float* x, std::int64_t n);
  /// sum_i d exp(d), d = x[i] - max, for an entropy; 0 where exp(d) is (see scaled_exp). In f32: of
  /// a few thousand elements.
  float (*weighted_sum)(const float* x, float max, std::int64_t n);
  /// x = scale * exp(x - max), the exponential within 2 units in the last place; exactly 0
  /// where x - max is below -87.
  void (*scaled_exp)(float* x, float max, float scale, std::int64_t n);
  /// x = other + factor * (x - other).
  void (*extrapolate)(float* x, const float* other, float factor, std::int64_t n);

  /// One row of rmsnorm_forward; returns rstd.
  float (*rmsnorm)(float* y, const float* x, const float* w, float eps, std::int64_t n);
  float (*add_rmsnorm)(float* sum, float* y, const float* x, const float* delta, const float* w,
                       float eps, std::int64_t n);
  /// One row of rmsnorm_backward; dw accumulates.
  void (*rmsnorm_backward)(float* dx, float* dw, const float* dy, const float* x, const float* w,
                           float rstd, bool accumulate, std::int64_t n);
  /// One row of rope: `heads` heads of 2 * half elements. sign -1 turns back.
  void (*rope)(float* x, const float* cosines, const float* sines, float sign, std::int64_t heads,
               std::int64_t half);
  void (*swiglu)(float* y, const float* gate, const float* up, std::int64_t n);
  void (*swiglu_backward)(float* d_gate, float* d_up, float* y, const float* dy, const float* gate,
                          const float* up, std::int64_t n);
  void (*adamw)(float* w, float* m, float* v, const float* g, const AdamWConstants& c,
                std::int64_t n);
  /// Which numbers can win a Gumbel-max draw. With u = CounterRng{seed, purpose, index}
  /// .uniform53(first + i), x[i] - t log(-log u) > best implies slack[i] > 0; returns the largest
  /// slack. inverse_t = 1 / t. Cheap where it matters: log(-log u) is needed for very few i, and u
  /// only where x[i] is within 37 t of the best.
  float (*gumbel_slack)(float* slack, const float* x, float best, float inverse_t,
                        const GumbelStream& stream, std::uint32_t first, std::int64_t n);

  AttentionTiles attention;  // kernels/cpu/attention_tiles.h and .inc
  LinearTiles linear;        // kernels/cpu/linear_tiles.h and .inc
};

/// The table for this processor: avx512 where it has x86-64-v4, else avx2 (other architectures:
/// the one there is). LACUNA_ISA=avx2 or avx512 chooses; Error when it is neither or not available.
const SimdKernels& simd_kernels();

/// The table by name, for tests: nullptr when this processor or build lacks it.
const SimdKernels* find_simd_kernels(const char* name);

}  // namespace lacuna
