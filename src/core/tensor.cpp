#include "core/tensor.h"

namespace lacuna {

std::string text_of(const Shape& shape) {
  std::string text = "[";
  for (int i = 0; i < shape.rank; ++i) text += str(i ? "," : "", shape[i]);
  return text + ']';
}

std::string text_of(const Tensor& tensor) { return str(tensor.shape, ' ', tensor.dtype); }

void Tensor::fail_used_as(DType type) const {
  fail(str("a ", dtype, " tensor ", shape, " was used as ", type));
}

Tensor Tensor::row_range(std::int64_t from, std::int64_t n) const {
  const bool vector = shape.rank == 1;
  CHECK(from >= 0 && n >= 0 && from + n <= (vector ? count() : rows()), "rows ", from, "+", n,
        " of ", shape);
  Tensor t = *this;
  t.shape = vector ? Shape{n} : Shape{n, cols()};
  t.stride = vector ? n : stride;
  t.data = static_cast<char*>(data) + from * (vector ? 1 : stride) * size_of(dtype);
  return t;
}

Tensor Tensor::column_range(std::int64_t from, std::int64_t n) const {
  CHECK(from >= 0 && n >= 0 && from + n <= cols(), "columns ", from, "+", n, " of ", shape);
  Tensor t = *this;
  t.shape = Shape{rows(), n};
  t.data = static_cast<char*>(data) + from * size_of(dtype);
  return t;
}

Tensor Tensor::reshaped(Shape s) const {
  CHECK(contiguous() && s.count() == count(), "cannot view ", shape, " as ", s);
  return Tensor(data, s, dtype, place);
}

}  // namespace lacuna
