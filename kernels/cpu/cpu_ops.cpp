#include "kernels/cpu/cpu_ops.h"

#include <algorithm>

#include "core/half.h"
#include "kernels/checks.h"
#include "kernels/cpu/blocks.h"
#include "kernels/cpu/quantised_product.h"
#include "kernels/cpu/simd.h"
#include "kernels/float_types.h"

namespace lacuna {

CpuOps::CpuOps(int threads) : CpuOps(threads, simd_kernels()) {}

CpuOps::CpuOps(int threads, const SimdKernels& kernels)
    : CpuOps(threads, kernels, quantised_kernels()) {}

CpuOps::CpuOps(int threads, const SimdKernels& kernels, const QuantisedKernels& quantised)
    : pool_(threads), simd_(kernels), quantised_(quantised), scratch_(std::size_t(pool_.size())) {}

CpuOps::~CpuOps() = default;

std::string CpuOps::description() const {
  const int n = pool_.size();
  return str("cpu, ", n, n == 1 ? " thread, " : " threads, ", simd_.name);
}

float* CpuOps::scratch(int thread, std::size_t floats) {
  constexpr std::size_t kLine = 64 / sizeof(float);
  std::vector<float>& mine = scratch_[std::size_t(thread)];
  if (mine.size() < floats + kLine) mine.resize(floats + kLine);
  const auto address = reinterpret_cast<std::uintptr_t>(mine.data());
  return mine.data() + (64 - address % 64) % 64 / sizeof(float);
}

void CpuOps::fill(Tensor x, float value) {
  const Checks c = checks("fill");
  c.is_float("x", x);
  c.is_contiguous("x", x);
  visit_float(x.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    auto* to = x.as<T>();
    T rounded;
    simd_.loops<T>().round(&rounded, &value, 1);
    pool_.for_ranges(x.count(), kGrain, [&](std::int64_t begin, std::int64_t end) {
      std::fill(to + begin, to + end, rounded);
    });
  });
}

void CpuOps::add(Tensor y, Tensor x) {
  const Checks c = checks("add");
  c.is_float("y", y);
  c.is_float("x", x);
  c.is_contiguous("y", y);
  c.is_contiguous("x", x);
  c.is_same_shape("y", y, "x", x);
  visit_float(y.dtype, [&](auto y_type) {
    visit_float(x.dtype, [&](auto x_type) {
      using T = typename decltype(y_type)::type;
      using U = typename decltype(x_type)::type;
      pool_.for_ranges(y.count(), kGrain, [&](std::int64_t begin, std::int64_t end) {
        simd_.loops<T>().add(y.as<T>() + begin, x.as<U>() + begin, end - begin);
      });
    });
  });
}

void CpuOps::axpby(Tensor y, float alpha, Tensor x, float beta, Tensor factor) {
  check_axpby(checks("axpby"), y, x, factor);
  if (factor.data) alpha *= *factor.as<float>();
  visit_float(y.dtype, [&](auto y_type) {
    visit_float(x.dtype, [&](auto x_type) {
      using T = typename decltype(y_type)::type;
      using U = typename decltype(x_type)::type;
      pool_.for_ranges(y.count(), kGrain, [&](std::int64_t begin, std::int64_t end) {
        simd_.loops<T>().axpby(y.as<T>() + begin, alpha, x.as<U>() + begin, beta, end - begin);
      });
    });
  });
}

}  // namespace lacuna
