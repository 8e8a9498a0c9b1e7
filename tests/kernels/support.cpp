#include "tests/kernels/support.h"

#include <cmath>

#include "core/half.h"

namespace lacuna {
namespace simd_wide {
extern const SimdKernels kernels;
}
namespace simd_tiles {
extern const SimdKernels kernels;
}

namespace testing {

std::vector<const SimdKernels*> instruction_sets() {
  std::vector<const SimdKernels*> sets;
  for (const char* name : {"avx2", "avx512", "avx512_bf16", "avx512_amx", "portable"})
    if (const SimdKernels* found = find_simd_kernels(name)) sets.push_back(found);
  sets.push_back(&simd_wide::kernels);
  sets.push_back(&simd_tiles::kernels);
  return sets;
}

void on_every_backend(const std::function<void(CpuOps&)>& test) {
  std::vector<int> threads = {1, 2, 3, 7};
  for (const SimdKernels* kernels : instruction_sets()) {
    for (const int n : threads) {
      CpuOps ops(n, *kernels);
      SCOPED_TRACE(ops.description());
      test(ops);
    }
    threads = {1, 3};  // how work is cut does not depend on the instruction set
  }
}

void on_every_instruction_set(const std::function<void(CpuOps&)>& test) {
  for (const SimdKernels* kernels : instruction_sets()) {
    CpuOps ops(1, *kernels);
    SCOPED_TRACE(ops.description());
    test(ops);
  }
}

double value(const Tensor& t, std::int64_t row, std::int64_t col) {
  const std::int64_t i = row * t.stride + col;
  switch (t.dtype) {
    case DType::f32:
      return double(t.as<float>()[i]);
    case DType::f64:
      return t.as<double>()[i];
    case DType::bf16:
      return double(to_float(t.as<BFloat16>()[i]));
    case DType::f16:
      return double(to_float(t.as<Float16>()[i]));
    default:
      fail(str("value of ", t));
  }
}

::testing::AssertionResult is_close(const Tensor& actual, const Tensor& expected, double relative,
                                    double absolute) {
  if (actual.count() != expected.count())
    return ::testing::AssertionFailure() << "is " << actual << ", expected " << expected;
  for (std::int64_t i = 0; i < actual.count(); ++i) {
    const double a = value(actual, i / actual.cols(), i % actual.cols());
    const double e = value(expected, i / expected.cols(), i % expected.cols());
    if (!(std::abs(a - e) <= absolute + relative * std::abs(e)) && a != e)
      return ::testing::AssertionFailure() << "element " << i << " of " << actual << " is " << a
                                           << ", expected " << e << ", off by " << std::abs(a - e);
  }
  return ::testing::AssertionSuccess();
}

double weighted_sum(const Tensor& y, const Tensor& weights) {
  double sum = 0;
  for (std::int64_t row = 0; row < y.rows(); ++row)
    for (std::int64_t col = 0; col < y.cols(); ++col)
      sum += value(y, row, col) * value(weights, row, col);
  return sum;
}

void expect_gradient(const std::string& name, Tensor x, Tensor gradient,
                     const std::function<double()>& loss, double tolerance, double h) {
  ASSERT_EQ(x.count(), gradient.count());
  for (std::int64_t row = 0; row < x.rows(); ++row) {
    for (std::int64_t col = 0; col < x.cols(); ++col) {
      float& element = x.as<float>()[row * x.stride + col];
      const float original = element;
      const auto difference = [&](double step) {
        element = float(double(original) + step);
        const double above = loss(), top = double(element);
        element = float(double(original) - step);
        const double below = loss(), bottom = double(element);
        element = original;
        return (above - below) / (top - bottom);
      };
      const double expected = (4 * difference(h) - difference(2 * h)) / 3;
      const double actual = value(gradient, row, col);
      ASSERT_LE(std::abs(actual - expected), tolerance * std::max(1.0, std::abs(expected)))
          << name << "[" << row << "," << col << "] is " << actual << ", by differences "
          << expected;
    }
  }
}

}  // namespace testing
}  // namespace lacuna
