#include "kernels/cpu/cpu_ops.h"

#include <algorithm>

#include "kernels/checks.h"
#include "kernels/cpu/blocks.h"
#include "kernels/cpu/quantised_product.h"
#include "kernels/cpu/simd.h"

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
  std::vector<float>& mine = scratch_[std::size_t(thread)];
  if (mine.size() < floats) mine.resize(floats);
  return mine.data();
}

void CpuOps::fill(Tensor x, float value) {
  const Checks c("fill", Place::host);
  c.is_float("x", x);
  c.is_contiguous("x", x);
  auto* to = x.as<float>();
  pool_.for_ranges(x.count(), kGrain, [&](std::int64_t begin, std::int64_t end) {
    std::fill(to + begin, to + end, value);
  });
}

void CpuOps::add(Tensor y, Tensor x) {
  const Checks c("add", Place::host);
  c.is_float("y", y);
  c.is_float("x", x);
  c.is_contiguous("y", y);
  c.is_contiguous("x", x);
  c.is_same_shape("y", y, "x", x);
  auto* to = y.as<float>();
  const auto* from = x.as<float>();
  pool_.for_ranges(y.count(), kGrain, [&](std::int64_t begin, std::int64_t end) {
    simd_.add(to + begin, from + begin, end - begin);
  });
}

}  // namespace lacuna
