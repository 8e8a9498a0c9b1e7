#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/checks.h"
#include "kernels/cpu/blocks.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/simd.h"
#include "kernels/float_types.h"

namespace lacuna {
namespace {

constexpr std::int64_t kPiece = 2048;

/// The words of elements [at, at + n), n <= kPiece, four to a block; element 0's is in block
/// `base`.
void rounding_words(std::uint32_t* words, const SimdKernels& simd, const RandomStream& stream,
                    std::uint64_t base, const ElementNumbers& numbers, std::int64_t at,
                    std::int64_t n) {
  std::uint32_t blocks[kPiece + 8];
  for (std::int64_t done = 0; done < n;) {
    const std::int64_t left = n - done,
                       in_row = numbers.width - (numbers.first + at + done) % numbers.width,
                       count = numbers.consecutive() ? left : std::min(left, in_row);
    const std::uint64_t first = numbers[at + done];
    const auto skipped = std::int64_t(first % 4);
    simd.random_words(blocks, stream, base + first / 4, (skipped + count + 3) / 4);
    std::memcpy(words + done, blocks + skipped, std::size_t(count) * sizeof(std::uint32_t));
    done += count;
  }
}

/// A piece of bf16 moments, widened for an update, and rounded again.
class WideMoments {
 public:
  WideMoments(const SimdKernels& simd, const AdamWPiece& x, std::int64_t at, std::int64_t n)
      : simd_(simd), m_(x.m.as<BFloat16>() + at), v_(x.v.as<BFloat16>() + at), n_(n) {
    simd.bf16.widen(mean, m_, n);
    simd.bf16.widen(square, v_, n);
  }
  void round(const std::uint32_t* words) {
    simd_.round_stochastically(m_, mean, words, 0, n_);
    simd_.round_stochastically(v_, square, words, 16, n_);
  }
  float mean[kPiece], square[kPiece];

 private:
  const SimdKernels& simd_;
  BFloat16 *m_, *v_;
  std::int64_t n_;
};

}  // namespace

void CpuOps::add_to_gradient_sums(const std::vector<GradientSumPiece>& pieces, GradMode mode,
                                  const GradientRounding& rounding) {
  check_gradient_sums(checks("add_to_gradient_sums"), pieces, rounding);
  // GradientRounding
  const RandomStream stream{rounding.seed, rounding.step,
                            std::uint32_t(Purpose::gradient_rounding)};
  const std::uint64_t base = rounding.micro_batch << 42;
  for (const GradientSumPiece& piece : pieces)
    pool_.for_ranges(piece.x.count(), kGrain, [&](std::int64_t begin, std::int64_t end) {
      float wide[kPiece];
      std::uint32_t words[kPiece];
      for (std::int64_t at = begin; at < end; at += kPiece) {
        const std::int64_t n = std::min(kPiece, end - at);
        BFloat16* const sum = piece.sum.as<BFloat16>() + at;
        const float* x = piece.x.as<float>() + at;
        if (mode == GradMode::accumulate) {
          simd_.bf16.widen(wide, sum, n);
          simd_.f32.add(wide, x, n);
          x = wide;
        }
        rounding_words(words, simd_, stream, base, piece.numbers, at, n);
        simd_.round_stochastically(sum, x, words, 0, n);
      }
    });
}

void CpuOps::adamw(const std::vector<AdamWPiece>& pieces, Tensor scale, const AdamWParameters& p) {
  check_adamw(checks("adamw"), pieces, scale, p);
  const float gradient_scale = *scale.as<float>();
  if (!std::isfinite(gradient_scale)) return;
  AdamWConstants c = adamw_constants(p);
  c.gradient_scale = gradient_scale;
  const float kept = c.kept;
  // MomentRounding
  const RandomStream stream{p.seed, std::uint64_t(p.step), std::uint32_t(Purpose::moment_rounding)};
  for (const AdamWPiece& x : pieces) {
    c.kept = x.decays ? kept : 1;
    visit_float(x.g.dtype, [&](auto type) {
      using T = typename decltype(type)::type;
      const auto update = [&](std::int64_t at, std::int64_t n) {
        float* w = x.w.as<float>() + at;
        const T* g = x.g.as<T>() + at;
        if (x.m.dtype == DType::bf16) {
          WideMoments wide(simd_, x, at, n);
          std::uint32_t words[kPiece];
          rounding_words(words, simd_, stream, 0, x.numbers, at, n);
          simd_.loops<T>().adamw(w, wide.mean, wide.square, g, c, n);
          wide.round(words);
        } else {
          simd_.loops<T>().adamw(w, x.m.as<float>() + at, x.v.as<float>() + at, g, c, n);
        }
        if (x.rounded.data)
          move(static_cast<char*>(x.rounded.data) + at * size_of(x.rounded.dtype), x.rounded.dtype,
               w, DType::f32, n);
      };
      // In pieces whose new weights are still in the cache when they are rounded.
      pool_.for_ranges(x.w.count(), kGrain, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t at = begin; at < end; at += kPiece)
          update(at, std::min(kPiece, end - at));
      });
    });
  }
}

}  // namespace lacuna
