#pragma once
#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>

#include "core/check.h"

namespace lacuna {

/// u16 is a form of token ids on disk; nothing computes with it. e4m3 and e5m2 are operands of
/// products in FP8 alone (Ops::multiply_fp8).
enum class DType : std::uint8_t { f32, f64, bf16, f16, i32, i64, u8, u16, e4m3, e5m2 };
enum class Place : std::uint8_t { host, device };

/// bfloat16 bits; converted with to_float and to_bf16 (core/half.h).
struct BFloat16 {
  std::uint16_t bits;
};
/// IEEE half bits.
struct Float16 {
  std::uint16_t bits;
};
/// FP8 bits; converted in core/fp8.h.
struct E4M3 {
  std::uint8_t bits;
};
struct E5M2 {
  std::uint8_t bits;
};

template <class T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::f32;
};
template <>
struct DTypeOf<double> {
  static constexpr DType value = DType::f64;
};
template <>
struct DTypeOf<BFloat16> {
  static constexpr DType value = DType::bf16;
};
template <>
struct DTypeOf<Float16> {
  static constexpr DType value = DType::f16;
};
template <>
struct DTypeOf<std::int32_t> {
  static constexpr DType value = DType::i32;
};
template <>
struct DTypeOf<std::int64_t> {
  static constexpr DType value = DType::i64;
};
template <>
struct DTypeOf<std::uint8_t> {
  static constexpr DType value = DType::u8;
};
template <>
struct DTypeOf<std::uint16_t> {
  static constexpr DType value = DType::u16;
};
template <>
struct DTypeOf<E4M3> {
  static constexpr DType value = DType::e4m3;
};
template <>
struct DTypeOf<E5M2> {
  static constexpr DType value = DType::e5m2;
};
template <class T>
inline constexpr DType dtype_of = DTypeOf<T>::value;

constexpr const char* name_of(DType t) {
  constexpr const char* names[] = {"f32", "f64", "bf16", "f16",  "i32",
                                   "i64", "u8",  "u16",  "e4m3", "e5m2"};
  return names[int(t)];
}
constexpr std::int64_t size_of(DType t) {
  constexpr int sizes[] = {4, 8, 2, 2, 4, 8, 1, 2, 1, 1};
  return sizes[int(t)];
}

/// Up to four extents, outermost first.
struct Shape {
  std::array<std::int64_t, 4> extent{};
  int rank = 0;
  constexpr Shape() = default;
  constexpr Shape(std::initializer_list<std::int64_t> extents) {
    for (std::int64_t e : extents) extent[rank++] = e;
  }
  constexpr bool operator==(const Shape&) const = default;
  constexpr std::int64_t operator[](int i) const { return extent[i]; }
  constexpr std::int64_t count() const {
    std::int64_t n = 1;
    for (int i = 0; i < rank; ++i) n *= extent[i];
    return n;
  }
};
/// "[2,3]", for messages.
std::string text_of(const Shape& shape);
constexpr const char* text_of(DType type) { return name_of(type); }

/// A view of memory owned by an Arena (or anyone else): copied freely, frees nothing. Row-major.
/// Seen as a matrix [rows, cols], cols being the last extent, consecutive rows lie `stride`
/// elements apart; stride > cols only in a view of some columns of a wider matrix.
struct Tensor {
  void* data = nullptr;
  Shape shape;
  DType dtype = DType::f32;
  Place place = Place::host;
  std::int64_t stride = 0;

  Tensor() = default;
  Tensor(void* memory, Shape s, DType type = DType::f32, Place where = Place::host)
      : data(memory), shape(s), dtype(type), place(where), stride(s.rank ? s[s.rank - 1] : 1) {}
  template <class T>
  Tensor(T* memory, Shape s) : Tensor(static_cast<void*>(memory), s, dtype_of<T>) {}

  std::int64_t cols() const { return shape.rank ? shape[shape.rank - 1] : 1; }
  std::int64_t rows() const { return cols() ? shape.count() / cols() : 0; }
  std::int64_t count() const { return shape.count(); }
  std::int64_t bytes() const { return count() * size_of(dtype); }
  bool contiguous() const { return stride == cols() || rows() <= 1; }

  template <class T>
  T* as() const {
    if (dtype != dtype_of<T>) [[unlikely]]
      fail_used_as(dtype_of<T>);
    return static_cast<T*>(data);
  }
  /// Rows [from, from + n) of the matrix view: [n, cols]; of a vector, its elements: [n].
  Tensor row_range(std::int64_t from, std::int64_t n) const;
  /// Columns [from, from + n) of every row: [rows, n], strided.
  Tensor column_range(std::int64_t from, std::int64_t n) const;
  /// The same contiguous elements under another shape.
  Tensor reshaped(Shape s) const;

 private:
  [[noreturn]] void fail_used_as(DType type) const;
};
/// "[2,3] f32", for messages.
std::string text_of(const Tensor& tensor);

/// For the messages of tests.
template <class Stream>
Stream& operator<<(Stream& out, const Shape& shape) {
  out << text_of(shape);
  return out;
}
template <class Stream>
Stream& operator<<(Stream& out, DType type) {
  out << text_of(type);
  return out;
}
template <class Stream>
Stream& operator<<(Stream& out, const Tensor& tensor) {
  out << text_of(tensor);
  return out;
}

}  // namespace lacuna
