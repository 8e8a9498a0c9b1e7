#include "kernels/bench/noise.h"

#include <cmath>
#include <set>

#include "kernels/bench/op_cases.h"
#include "tests/kernels/support.h"

namespace lacuna::testing {
namespace {

/// The widths of the matrices that benchmarks fill.
std::set<std::int64_t> widths() {
  std::set<std::int64_t> all{8192};
  for (const BenchShape& s : bench_shapes())
    all.insert({s.dim, s.dim + 2 * s.kv_heads * s.head_dim(), s.ffn, 2 * s.ffn, s.vocab});
  return all;
}

// Rows near each other begin far from each other among the numbers that repeat: none equals another
// one, nor one that is moved by a few elements.
TEST(Noise, RowsOfBenchmarksDiffer) {
  constexpr std::int64_t kPeriod = Noise::kPeriod;
  for (std::int64_t d = 2; d * d <= kPeriod; ++d) ASSERT_NE(kPeriod % d, 0) << d;
  for (const std::int64_t width : widths())
    for (std::int64_t rows = 1; rows <= 64; ++rows) {
      const std::int64_t apart = width * rows % kPeriod;
      EXPECT_GE(std::min(apart, kPeriod - apart), 64) << rows << " rows of " << width;
    }
}

TEST(Noise, RepeatsAfterItsPeriod) {
  CpuOps ops(1);
  Noise noise(Noise::Distribution::uniform);
  Array<float> x({200, 512}), y({200, 512});
  noise.fill(ops, x, 3);
  noise.fill(ops, y, 3);
  std::int64_t equal = 0;
  for (std::int64_t i = 0; i < x.count(); ++i) {
    ASSERT_LE(std::abs(x[i]), 3);
    equal += x[i] == y[i];
    ASSERT_EQ(x[i], x[i % Noise::kPeriod]);
  }
  EXPECT_LT(equal, 10) << "two tensors hold the same numbers";
}

TEST(Noise, HasTheDistributionsMoments) {
  CpuOps ops(1);
  for (const auto kind : {Noise::Distribution::uniform, Noise::Distribution::normal}) {
    Noise noise(kind);
    Array<float> x({Noise::kPeriod});
    noise.fill(ops, x, 2);
    double mean = 0, square = 0;
    for (std::int64_t i = 0; i < x.count(); ++i) {
      mean += double(x[i]) / double(x.count());
      square += double(x[i]) * double(x[i]) / double(x.count());
    }
    const double variance = kind == Noise::Distribution::normal ? 4.0 : 4.0 / 3;
    // Five standard errors; that of the square is at most sqrt(2) times the variance.
    const double root = std::sqrt(double(x.count()));
    EXPECT_LT(std::abs(mean), 5 * std::sqrt(variance) / root);
    EXPECT_LT(std::abs(square - variance), 5 * std::sqrt(2) * variance / root);
  }
}

}  // namespace
}  // namespace lacuna::testing
