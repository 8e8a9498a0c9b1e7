#pragma once
#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "kernels/cpu/cpu_ops.h"
#include "kernels/cuda/cuda_ops.h"
#include "tests/kernels/device_array.h"
#include "tests/support/support.h"

// CudaOps against CpuOps, in f32 and bf16. Without a CUDA toolkit CudaOps is emulated, and each
// test runs with its threads and blocks in ascending, descending and shuffled order. With one, it
// runs on the machine's GPU, or is skipped where there is none.

namespace lacuna::testing {

/// Integers in [0, below).
std::vector<std::int32_t> integers(std::int64_t n, std::int64_t below, std::uint64_t seed);

enum class ThreadOrder : std::uint8_t { forward, reverse, shuffled };
/// While it lives, the emulator runs threads and blocks in this order.
class ThreadOrderScope {
 public:
  explicit ThreadOrderScope(ThreadOrder order);
  ~ThreadOrderScope();
  ThreadOrderScope(const ThreadOrderScope&) = delete;
  ThreadOrderScope& operator=(const ThreadOrderScope&) = delete;
};

using Case = std::tuple<DType, ThreadOrder>;
std::string name_of(const Case& c);
std::string case_name(const ::testing::TestParamInfo<Case>& info);
std::vector<Case> all_cases();
std::vector<Case> f32_cases();
std::vector<Case> bf16_cases();

class CudaOpsTest : public ::testing::TestWithParam<Case> {
 protected:
  static void SetUpTestSuite();
  static void TearDownTestSuite();
  void SetUp() override;

  static DType type() { return std::get<0>(GetParam()); }
  static bool is_f32() { return type() == DType::f32; }
  static double rounding() { return one_rounding(type()); }
  static CudaOps& device() { return *device_; }
  CpuOps host{1};

 private:
  const ThreadOrderScope order_{std::get<1>(GetParam())};
  static std::unique_ptr<CudaOps> device_;
  static std::string why_not_;
};

}  // namespace lacuna::testing
