#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/tensor.h"

namespace lacuna {

/// How a matrix of weights is stored. A format is a value here, a row of the table below and, where
/// elements are packed in blocks, a case of core/block_formats.h. Ops::reads() says which of them a
/// backend computes with; ModelReader::stored() gives matrices of them.
enum class MatrixFormat : std::uint8_t { f32, bf16, f16, q8_0, q4_0, q4_k, q5_k, q6_k };

/// A row of a matrix is a whole number of blocks.
struct MatrixFormatInfo {
  const char* name;
  std::int64_t block_elements, block_bytes;
  bool is_float;  // whether a block is one element, of type `dtype`
  DType dtype;
};
inline constexpr MatrixFormatInfo kMatrixFormats[] = {
    {"f32", 1, 4, true, DType::f32}, {"bf16", 1, 2, true, DType::bf16},
    {"f16", 1, 2, true, DType::f16}, {"q8_0", 32, 34, false, {}},
    {"q4_0", 32, 18, false, {}},     {"q4_k", 256, 144, false, {}},
    {"q5_k", 256, 176, false, {}},   {"q6_k", 256, 210, false, {}},
};
constexpr const MatrixFormatInfo& info_of(MatrixFormat format) {
  return kMatrixFormats[int(format)];
}
constexpr const char* text_of(MatrixFormat format) { return info_of(format).name; }
/// Throws Error for a dtype that is no format of weights (integers, f64).
MatrixFormat format_of(DType dtype);
/// By its name in the table.
std::optional<MatrixFormat> format_named(std::string_view name);
/// Bytes of a row. Throws Error when `cols` is no whole number of blocks.
std::int64_t bytes_of_row(MatrixFormat format, std::int64_t cols);

/// A view of a matrix of weights [rows, cols], to be read only, in an Arena's memory or a mapped
/// file: copied freely, frees nothing. Row-major.
struct Matrix {
  const void* data = nullptr;
  Shape shape;
  MatrixFormat format = MatrixFormat::f32;
  Place place = Place::host;
  std::int64_t row_bytes = 0;  // between the beginnings of rows

  Matrix() = default;
  Matrix(const void* memory, std::int64_t rows, std::int64_t cols, MatrixFormat stored_as,
         Place where = Place::host);
  /// Throws Error as format_of(). Operations check that it is a contiguous matrix.
  Matrix(const Tensor& tensor);  // NOLINT(google-explicit-constructor): a tensor serves as weights

  std::int64_t cols() const { return shape.rank ? shape[shape.rank - 1] : 1; }
  std::int64_t rows() const { return cols() ? shape.count() / cols() : 0; }
  std::int64_t count() const { return shape.count(); }
  bool contiguous() const { return row_bytes == bytes_of_row(format, cols()) || rows() <= 1; }
  bool is_float() const { return info_of(format).is_float; }

  /// Rows [from, from + n).
  Matrix row_range(std::int64_t from, std::int64_t n) const;
  /// The same elements, to be read only. Throws Error for a format of blocks.
  Tensor as_tensor() const;
  /// The memory as u8 [rows, bytes of a row], to be read only, whatever the format.
  Tensor as_bytes() const;
  template <class T>
  const T* as() const {
    return as_tensor().as<T>();
  }
};
/// "[2,3] f32", for messages.
std::string text_of(const Matrix& matrix);

}  // namespace lacuna
