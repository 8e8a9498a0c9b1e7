#pragma once
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/simd.h"
#include "tests/kernels/array.h"
#include "tests/support/golden.h"
#include "tests/support/support.h"

namespace lacuna::testing {

/// Every instruction set that runs here, and, so that the code for 64-byte vectors is tested
/// everywhere, that code compiled for 32-byte ones (simd_wide.cpp).
std::vector<const SimdKernels*> instruction_sets();

/// Calls test(ops) for every instruction set and several numbers of threads.
void on_every_backend(const std::function<void(CpuOps&)>& test);

/// One backend per instruction set, of one thread.
void on_every_instruction_set(const std::function<void(CpuOps&)>& test);

/// Of a product x [rows, in] w^T [out, in].
struct ProductSizes {
  std::int64_t rows, in, out;
};

/// |actual - expected| <= absolute + relative |expected|, element by element, for float tensors of
/// one count. NaN is close to nothing.
::testing::AssertionResult is_close(const Tensor& actual, const Tensor& expected, double relative,
                                    double absolute);

/// Compares `gradient`, of loss() with respect to x, with central differences for every element,
/// extrapolated to fourth order: f' = (4 D(h) - D(2h)) / 3. With losses of order 1 computed from
/// f32 (errors of a few 1e-7) and h = 2^-5 the difference is good to about 3e-5; a wrong formula
/// is off by far more than `tolerance`.
void expect_gradient(const std::string& name, Tensor x, Tensor gradient,
                     const std::function<double()>& loss, double tolerance = 1e-3,
                     double h = 0x1p-5);

/// sum_i y[i] weights[i] in f64: a loss whose gradient with respect to y is `weights`.
double weighted_sum(const Tensor& y, const Tensor& weights);

/// Element (row, col) of a float tensor.
double value(const Tensor& t, std::int64_t row, std::int64_t col);

}  // namespace lacuna::testing
