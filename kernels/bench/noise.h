#pragma once
#include <cstdint>
#include <vector>

#include "kernels/ops.h"

namespace lacuna {

/// Random numbers for tensors of any size. Some are drawn, and used over and over, as drawing all
/// would take longer than a benchmark. How many is a prime, so that the rows of a matrix differ:
/// with equal ones fewer bits change from product to product, and a GPU draws less power and runs
/// faster than on a model's numbers.
class Noise {
 public:
  static constexpr std::int64_t kPeriod = 81023;
  enum class Distribution : std::uint8_t {
    uniform,  // in [-1, 1)
    normal    // standard
  };
  explicit Noise(Distribution distribution);
  /// x, contiguous and of f32 or bf16, = scale times numbers that begin elsewhere in each call.
  void fill(Ops& ops, Tensor x, float scale = 1);

 private:
  std::vector<float> drawn_;
  std::int64_t calls_ = 0;
};

}  // namespace lacuna
