#pragma once
#include "kernels/platform/intrinsics.h"
#include "kernels/stochastic_rounding.h"

namespace lacuna {

/// The random words of consecutive elements, a Philox block at a time. `Rounding`: MomentRounding
/// or GradientRounding.
template <class Rounding>
class RandomWords {
 public:
  __device__ explicit RandomWords(const Rounding& rounding) : rounding_(rounding) {}
  __device__ std::uint32_t operator[](std::uint64_t n) {
    if (n / 4 != block_) {
      block_ = n / 4;
      words_ = rounding_.words(n);
    }
    const unsigned i = unsigned(n) % 4;  // chosen, not indexed: the words stay in registers
    return i == 0 ? words_[0] : i == 1 ? words_[1] : i == 2 ? words_[2] : words_[3];
  }

 private:
  const Rounding& rounding_;
  std::uint64_t block_ = ~std::uint64_t{0};
  std::array<std::uint32_t, 4> words_{};
};

}  // namespace lacuna
