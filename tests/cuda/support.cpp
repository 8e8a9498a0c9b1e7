#include "tests/cuda/support.h"

#include "core/philox.h"
#if !defined(LACUNA_CUDA)
#include "kernels/platform/emulated/emulator.h"
#endif

namespace lacuna::testing {

std::vector<std::int32_t> integers(std::int64_t n, std::int64_t below, std::uint64_t seed) {
  std::vector<std::int32_t> x(std::size_t(n), 0);
  const CounterRng rng{seed, Purpose::benchmark, 1};
  for (std::int64_t i = 0; i < n; ++i)
    x[std::size_t(i)] = std::int32_t(rng.below(std::uint64_t(below), std::uint32_t(i)));
  return x;
}

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const DType type : {DType::f32, DType::bf16}) {
    cases.emplace_back(type, ThreadOrder::forward);
#if !defined(LACUNA_CUDA)
    cases.emplace_back(type, ThreadOrder::reverse);
    cases.emplace_back(type, ThreadOrder::shuffled);
#endif
  }
  return cases;
}

std::vector<Case> f32_cases() {
  std::vector<Case> cases = all_cases();
  std::erase_if(cases, [](const Case& c) { return std::get<0>(c) != DType::f32; });
  return cases;
}

std::vector<Case> bf16_cases() {
  std::vector<Case> cases = all_cases();
  std::erase_if(cases, [](const Case& c) { return std::get<0>(c) != DType::bf16; });
  return cases;
}

std::string name_of(const Case& c) {
  constexpr const char* orders[] = {"", "_reverse", "_shuffled"};
  return std::string(name_of(std::get<0>(c))) + orders[int(std::get<1>(c))];
}
std::string case_name(const ::testing::TestParamInfo<Case>& info) { return name_of(info.param); }

#if defined(LACUNA_CUDA)
ThreadOrderScope::ThreadOrderScope(ThreadOrder) {}
ThreadOrderScope::~ThreadOrderScope() {}
#else
ThreadOrderScope::ThreadOrderScope(ThreadOrder order) {
  constexpr emulator::Order orders[] = {emulator::Order::forward, emulator::Order::reverse,
                                        emulator::Order::shuffled};
  emulator::set_order(orders[int(order)], 7);
}
ThreadOrderScope::~ThreadOrderScope() { emulator::set_order(emulator::Order::forward); }
#endif

std::unique_ptr<CudaOps> CudaOpsTest::device_;
std::string CudaOpsTest::why_not_;

void CudaOpsTest::SetUpTestSuite() {
  try {
    device_ = std::make_unique<CudaOps>(DeviceOptions{.hopper_attention = false});
  } catch (const Error& e) {
    why_not_ = e.what();
  }
}
void CudaOpsTest::TearDownTestSuite() { device_.reset(); }

void CudaOpsTest::SetUp() {
  if (!device_) GTEST_SKIP() << why_not_;
}

}  // namespace lacuna::testing
