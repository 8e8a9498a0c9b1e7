#pragma once
#include <cstring>
#include <initializer_list>
#include <vector>

#include "core/philox.h"
#include "core/tensor.h"

namespace lacuna::testing {

/// Memory for a tensor, with guards before, after and, if `gap` > 0, between its rows. Everything
/// starts as bytes of 0xFF, which is NaN in every float type and -1 in the integers: reading what
/// was never written, or a guard, shows in the results, and guards_hold() tells of writing there.
template <class T>
class Array {
 public:
  explicit Array(Shape shape, std::int64_t gap = 0)
      : shape_(shape), stride_((shape.rank ? shape[shape.rank - 1] : 1) + gap) {
    memory_.resize(std::size_t(2 * kGuard + rows() * stride_));
    std::memset(static_cast<void*>(memory_.data()), 0xFF, memory_.size() * sizeof(T));
  }
  Array(Shape shape, std::initializer_list<T> values) : Array(shape) {
    CHECK(std::int64_t(values.size()) == shape.count(), "an array of another size");
    std::int64_t i = 0;
    for (const T& value : values) (*this)[i++] = value;
  }

  Tensor tensor() {
    Tensor t(memory_.data() + kGuard, shape_);
    t.stride = stride_;
    return t;
  }
  operator Tensor() { return tensor(); }
  operator Matrix() { return tensor(); }
  std::int64_t count() const { return shape_.count(); }
  std::int64_t cols() const { return shape_.rank ? shape_[shape_.rank - 1] : 1; }
  std::int64_t rows() const { return cols() ? count() / cols() : 0; }
  /// Element i in row-major order.
  T& operator[](std::int64_t i) { return memory_[index(i)]; }
  const T& operator[](std::int64_t i) const { return memory_[index(i)]; }
  T& at(std::int64_t row, std::int64_t col) { return (*this)[row * cols() + col]; }
  const T& at(std::int64_t row, std::int64_t col) const { return (*this)[row * cols() + col]; }

  void set(T value) {
    for (std::int64_t i = 0; i < count(); ++i) (*this)[i] = value;
  }
  bool guards_hold() const {
    std::vector<bool> ours(memory_.size());
    for (std::int64_t i = 0; i < count(); ++i) ours[index(i)] = true;
    T untouched;
    std::memset(static_cast<void*>(&untouched), 0xFF, sizeof untouched);
    for (std::size_t i = 0; i < memory_.size(); ++i)
      if (!ours[i] && std::memcmp(&memory_[i], &untouched, sizeof untouched) != 0) return false;
    return true;
  }
  /// Equal to the last bit, NaN included.
  bool same_bits(const Array& other) const {
    if (!(shape_ == other.shape_)) return false;
    for (std::int64_t i = 0; i < count(); ++i)
      if (std::memcmp(&(*this)[i], &other[i], sizeof(T)) != 0) return false;
    return true;
  }

 private:
  static constexpr std::int64_t kGuard = 16;
  std::size_t index(std::int64_t i) const {
    return std::size_t(kGuard + i / cols() * stride_ + i % cols());
  }
  Shape shape_;
  std::int64_t stride_;
  std::vector<T> memory_;
};

/// A vector of the values given.
template <class T>
struct List : Array<T> {
  List(std::initializer_list<T> values) : Array<T>(Shape{std::int64_t(values.size())}, values) {}
};

/// Standard normal numbers times `scale`; another `seed`, other numbers.
inline Array<float> normal(Shape shape, std::uint64_t seed, double scale = 1,
                           std::int64_t gap = 0) {
  Array<float> x(shape, gap);
  const CounterRng rng{seed, Purpose::benchmark, 0};
  for (std::int64_t i = 0; i < x.count(); ++i)
    x[i] = float(scale * rng.normal_pair(std::uint32_t(i))[0]);
  return x;
}

/// Integers in [0, below).
inline Array<std::int32_t> integers(std::int64_t n, std::int64_t below, std::uint64_t seed) {
  Array<std::int32_t> x(Shape{n});
  const CounterRng rng{seed, Purpose::benchmark, 1};
  for (std::int64_t i = 0; i < n; ++i)
    x[i] = std::int32_t(rng.below(std::uint64_t(below), std::uint32_t(i)));
  return x;
}

/// A copy of a tensor on the host with memory of its own.
template <class T>
Array<T> copied(const Tensor& from, std::int64_t gap = 0) {
  Array<T> to(from.shape, gap);
  const T* rows = from.as<T>();
  for (std::int64_t i = 0; i < to.count(); ++i)
    to[i] = rows[i / from.cols() * from.stride + i % from.cols()];
  return to;
}

}  // namespace lacuna::testing
