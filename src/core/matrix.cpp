#include "core/matrix.h"

#include <iterator>

namespace lacuna {

MatrixFormat format_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return MatrixFormat::f32;
    case DType::bf16:
      return MatrixFormat::bf16;
    case DType::f16:
      return MatrixFormat::f16;
    default:
      fail(str("a matrix of weights is ", dtype, "; it must be f32, bf16 or f16"));
  }
}

std::optional<MatrixFormat> format_named(std::string_view name) {
  for (std::size_t i = 0; i < std::size(kMatrixFormats); ++i)
    if (name == kMatrixFormats[i].name) return MatrixFormat(i);
  return std::nullopt;
}

std::int64_t bytes_of_row(MatrixFormat format, std::int64_t cols) {
  const MatrixFormatInfo& info = info_of(format);
  CHECK(cols % info.block_elements == 0, "rows of ", cols, " elements as ", info.name,
        ", whose blocks are ", info.block_elements, " elements long");
  return cols / info.block_elements * info.block_bytes;
}

Matrix::Matrix(const void* memory, std::int64_t rows, std::int64_t cols, MatrixFormat stored_as,
               Place where)
    : data(memory),
      shape{rows, cols},
      format(stored_as),
      place(where),
      row_bytes(bytes_of_row(stored_as, cols)) {}

Matrix::Matrix(const Tensor& tensor)
    : data(tensor.data),
      shape(tensor.shape),
      format(format_of(tensor.dtype)),
      place(tensor.place),
      row_bytes(tensor.stride * size_of(tensor.dtype)) {}

Matrix Matrix::row_range(std::int64_t from, std::int64_t n) const {
  CHECK(shape.rank == 2 && from >= 0 && n >= 0 && from + n <= rows(), "rows ", from, "+", n,
        " of the matrix ", *this);
  Matrix m = *this;
  m.shape = {n, cols()};
  m.data = static_cast<const char*>(data) + from * row_bytes;
  return m;
}

Tensor Matrix::as_tensor() const {
  const MatrixFormatInfo& info = info_of(format);
  CHECK(info.is_float, "the matrix ", *this, " was used as a tensor of floats");
  Tensor t(const_cast<void*>(data), shape, info.dtype, place);
  t.stride = row_bytes / info.block_bytes;
  return t;
}

Tensor Matrix::as_bytes() const {
  Tensor t(const_cast<void*>(data), {rows(), bytes_of_row(format, cols())}, DType::u8, place);
  t.stride = row_bytes;
  return t;
}

std::string text_of(const Matrix& matrix) { return str(matrix.shape, ' ', matrix.format); }

}  // namespace lacuna
