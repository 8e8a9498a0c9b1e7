#include "tests/cuda/support.h"

#include <cmath>
#include <cstring>

#include "core/philox.h"
#if !defined(LACUNA_CUDA)
#include "kernels/platform/emulated/emulator.h"
#endif

namespace lacuna::testing {
namespace {

constexpr std::int64_t kGuard = 64;

}  // namespace

HostArray normal(Shape shape, std::uint64_t seed, DType type, double scale) {
  HostArray x(shape);
  const CounterRng rng{seed, Purpose::benchmark, 0};
  for (std::int64_t i = 0; i < x.count(); ++i)
    x[i] = float(scale * rng.normal_pair(std::uint32_t(i))[0]);
  return rounded(x, type);
}

HostArray rounded(const HostArray& x, DType type) {
  HostArray y = x;
  if (type == DType::bf16)
    for (float& value : y.values) value = to_float(to_bf16(value));
  return y;
}

std::vector<std::int32_t> integers(std::int64_t n, std::int64_t below, std::uint64_t seed) {
  std::vector<std::int32_t> x(std::size_t(n), 0);
  const CounterRng rng{seed, Purpose::benchmark, 1};
  for (std::int64_t i = 0; i < n; ++i)
    x[std::size_t(i)] = std::int32_t(rng.below(std::uint64_t(below), std::uint32_t(i)));
  return x;
}

DeviceArray::DeviceArray(CudaOps& ops, Shape shape, DType type, Layout layout) : ops_(ops) {
  Tensor t(nullptr, shape, type, Place::device);
  t.stride += layout.gap;
  const std::int64_t elements = kGuard + layout.shift + t.rows() * t.stride + kGuard;
  bytes_ = elements * size_of(type);
  memory_ = ops.memory().allocate(bytes_);
  std::vector<unsigned char> ones(std::size_t(bytes_), 0xff);
  ops.copy(Tensor(memory_, {bytes_}, DType::u8, Place::device), Tensor(ones.data(), {bytes_}));
  t.data = static_cast<char*>(memory_) + (kGuard + layout.shift) * size_of(type);
  tensor_ = t;
}

DeviceArray::DeviceArray(CudaOps& ops, const HostArray& values, DType type, Layout layout)
    : DeviceArray(ops, values.shape, type, layout) {
  std::vector<BFloat16> halves;
  if (type == DType::bf16) {
    for (const float value : values.values) halves.push_back(to_bf16(value));
    ops.copy(tensor_, Tensor(halves.data(), values.shape));
  } else {
    ops.copy(tensor_, values.tensor());
  }
}

DeviceArray::~DeviceArray() { ops_.memory().release(memory_, bytes_); }

std::vector<unsigned char> DeviceArray::bytes() const {
  std::vector<unsigned char> all(std::size_t(bytes_), 0);
  ops_.copy(Tensor(all.data(), {bytes_}), Tensor(memory_, {bytes_}, DType::u8, Place::device));
  return all;
}

HostArray DeviceArray::read() const {
  HostArray x(tensor_.shape);
  if (tensor_.dtype == DType::bf16) {
    const auto halves = read_as<BFloat16>();
    for (std::int64_t i = 0; i < x.count(); ++i) x[i] = to_float(halves[std::size_t(i)]);
  } else {
    ops_.copy(x.tensor(), tensor_);
  }
  return x;
}

bool DeviceArray::guards_hold() const {
  const std::vector<unsigned char> all = bytes();
  const std::int64_t size = size_of(tensor_.dtype);
  const auto first = static_cast<char*>(tensor_.data) - static_cast<char*>(memory_);
  for (std::int64_t i = 0; i < bytes_; ++i) {
    const std::int64_t from_first = i - first, row = tensor_.stride * size;
    const bool inside = from_first >= 0 && from_first < tensor_.rows() * row &&
                        from_first % row < tensor_.cols() * size;
    if (!inside && all[std::size_t(i)] != 0xff) return false;
  }
  return true;
}

::testing::AssertionResult is_close(const HostArray& actual, const HostArray& expected,
                                    double relative, double absolute) {
  if (!(actual.shape == expected.shape))
    return ::testing::AssertionFailure()
           << "shapes differ: " << str(actual.shape) << " and " << str(expected.shape);
  for (std::int64_t i = 0; i < actual.count(); ++i) {
    const double a = actual[i], e = expected[i];
    if (a == e || (std::isnan(a) && std::isnan(e))) continue;
    if (!(std::abs(a - e) <= absolute + relative * std::abs(e)))
      return ::testing::AssertionFailure()
             << "element " << i << " of " << str(actual.shape) << " is " << a << ", expected " << e
             << " within " << absolute + relative * std::abs(e);
  }
  return ::testing::AssertionSuccess();
}

double one_rounding(DType type) { return type == DType::bf16 ? 0x1p-8 + 1e-5 : 1e-5; }

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

std::string case_name(const ::testing::TestParamInfo<Case>& info) {
  constexpr const char* orders[] = {"", "_reverse", "_shuffled"};
  return std::string(name_of(std::get<0>(info.param))) + orders[int(std::get<1>(info.param))];
}

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
#if !defined(LACUNA_CUDA)
  constexpr emulator::Order orders[] = {emulator::Order::forward, emulator::Order::reverse,
                                        emulator::Order::shuffled};
  emulator::set_order(orders[int(std::get<1>(GetParam()))], 7);
#endif
}
void CudaOpsTest::TearDown() {
#if !defined(LACUNA_CUDA)
  emulator::set_order(emulator::Order::forward);
#endif
}

}  // namespace lacuna::testing
