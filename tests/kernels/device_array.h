#pragma once
#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "core/half.h"
#include "kernels/ops.h"

// Arrays for tests that run on every backend: values on the host, and tensors where the backend
// computes.

namespace lacuna::testing {

/// A contiguous f32 array on the host; `tensor()` is a view of it.
struct HostArray {
  HostArray() = default;
  explicit HostArray(Shape s, float value = 0) : shape(s), values(std::size_t(s.count()), value) {}
  Tensor tensor() const { return Tensor(const_cast<float*>(values.data()), shape); }
  operator Tensor() const { return tensor(); }
  operator Matrix() const { return tensor(); }
  float& operator[](std::int64_t i) { return values[std::size_t(i)]; }
  float operator[](std::int64_t i) const { return values[std::size_t(i)]; }
  std::int64_t count() const { return shape.count(); }

  Shape shape;
  std::vector<float> values;
};

/// Standard normal numbers times `scale`, rounded to bf16 if that is what the device will hold.
HostArray normal(Shape shape, std::uint64_t seed, DType type, double scale = 1);
/// x rounded to `type` and back.
HostArray rounded(const HostArray& x, DType type);

/// How a tensor lies in memory: elements between its rows, and elements by which it is off a
/// 256-byte boundary.
struct Layout {
  std::int64_t gap = 0, shift = 0;
};

/// A tensor in the memory of `ops`, of a device or of the host, between guards. It starts as bytes
/// of 0xFF: NaN, or -1.
class DeviceArray {
 public:
  DeviceArray(Ops& ops, Shape shape, DType type, Layout layout = {});
  /// With these values, rounded to `type`.
  DeviceArray(Ops& ops, const HostArray& values, DType type, Layout layout = {});
  template <class T>
  DeviceArray(Ops& ops, Shape shape, const std::vector<T>& values)
      : DeviceArray(ops, shape, dtype_of<T>) {
    ops.copy(tensor_, Tensor(const_cast<T*>(values.data()), shape));
  }
  ~DeviceArray();
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  const Tensor& tensor() const { return tensor_; }
  operator Tensor() const { return tensor_; }
  operator Matrix() const { return tensor_; }
  /// As f32 on the host.
  HostArray read() const;
  template <class T>
  std::vector<T> read_as() const {
    std::vector<T> values(std::size_t(tensor_.count()));
    ops_.copy(Tensor(values.data(), tensor_.shape), tensor_);
    return values;
  }
  /// Whether everything around the tensor's elements is as it was.
  bool guards_hold() const;

 private:
  std::vector<unsigned char> bytes() const;
  Ops& ops_;
  std::int64_t bytes_ = 0;
  void* memory_ = nullptr;
  Tensor tensor_;
};

/// |actual - expected| <= absolute + relative |expected|, element by element; equal infinities and
/// two NaNs are close.
::testing::AssertionResult is_close(const HostArray& actual, const HostArray& expected,
                                    double relative, double absolute);

/// The relative error of rounding once to `type`, and as much again as f32 arithmetic may add: a
/// few operations and functions of 2 units in the last place each.
double one_rounding(DType type);

}  // namespace lacuna::testing
