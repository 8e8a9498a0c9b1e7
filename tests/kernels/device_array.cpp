#include "tests/kernels/device_array.h"

#include <cmath>

#include "core/philox.h"

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

DeviceArray::DeviceArray(Ops& ops, Shape shape, DType type, Layout layout) : ops_(ops) {
  Tensor t(nullptr, shape, type, ops.place());
  t.stride += layout.gap;
  const std::int64_t elements = kGuard + layout.shift + t.rows() * t.stride + kGuard;
  bytes_ = elements * size_of(type);
  memory_ = ops.memory().allocate(bytes_);
  std::vector<unsigned char> ones(std::size_t(bytes_), 0xff);
  ops.copy(Tensor(memory_, {bytes_}, DType::u8, ops.place()), Tensor(ones.data(), {bytes_}));
  t.data = static_cast<char*>(memory_) + (kGuard + layout.shift) * size_of(type);
  tensor_ = t;
}

DeviceArray::DeviceArray(Ops& ops, const HostArray& values, DType type, Layout layout)
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
  ops_.copy(Tensor(all.data(), {bytes_}), Tensor(memory_, {bytes_}, DType::u8, ops_.place()));
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

}  // namespace lacuna::testing
