#include "comm/collective.h"

namespace lacuna {
namespace {

const char* name_of(Collective::Kind kind) {
  constexpr const char* names[] = {"all_reduce", "all_gather", "reduce_scatter", "broadcast",
                                   "barrier"};
  return names[int(kind)];
}
const char* name_of(Reduce operation) {
  constexpr const char* names[] = {"sum", "mean", "max"};
  return names[int(operation)];
}

bool is_float(DType t) {
  return t == DType::f32 || t == DType::f64 || t == DType::bf16 || t == DType::f16;
}

void check_contiguous(const char* collective, const char* tensor, const Tensor& x) {
  CHECK(x.contiguous(), collective, ": ", tensor, ", ", x, ", has rows ", x.stride,
        " elements apart; it must be contiguous");
  CHECK(x.data || x.count() == 0, collective, ": ", tensor, ", ", x, ", has no memory");
}

void check_operation(const char* collective, DType dtype, Reduce operation) {
  CHECK(operation != Reduce::mean || is_float(dtype), collective, ": the mean of ", dtype,
        " tensors is not defined; use sum");
}

/// `part` is one of the size equal parts of `whole`, this rank's.
void check_part(const char* collective, const char* part_name, Tensor part, const char* whole_name,
                Tensor whole, int rank, int size) {
  check_contiguous(collective, part_name, part);
  check_contiguous(collective, whole_name, whole);
  CHECK(part.dtype == whole.dtype && part.place == whole.place, collective, ": ", part_name, " is ",
        part, " and ", whole_name, " ", whole, "; types and places must agree");
  CHECK(whole.count() == size * part.count(), collective, ": ", whole_name, ", ", whole,
        ", must hold ", size, " times the ", part.count(), " elements of ", part_name);
  const auto* begin = static_cast<const char*>(whole.data);
  const auto* own = static_cast<const char*>(part.data);
  const bool disjoint = own + part.bytes() <= begin || begin + whole.bytes() <= own;
  CHECK(disjoint || own == begin + rank * part.bytes(), collective, ": ", part_name, " overlaps ",
        whole_name, " elsewhere than at rank ", rank, "'s part");
}

}  // namespace

std::string describe(const Collective& c) {
  std::string text = str(name_of(c.kind), ' ', c.number);
  switch (c.kind) {
    case Collective::Kind::barrier:
      return text;
    case Collective::Kind::broadcast:
      return text + str(" (", c.count, ' ', c.dtype, " from rank ", c.root, ')');
    case Collective::Kind::all_gather:
      return text + str(" (", c.count, ' ', c.dtype, " of each rank)");
    case Collective::Kind::all_reduce:
    case Collective::Kind::reduce_scatter:
      break;
  }
  return text + str(" (", name_of(c.operation), " of ", c.count, ' ', c.dtype, ')');
}

Collective check_all_reduce(Tensor x, Reduce operation) {
  check_contiguous("all_reduce", "x", x);
  check_operation("all_reduce", x.dtype, operation);
  return {Collective::Kind::all_reduce, x.dtype, operation, 0, x.count()};
}

Collective check_all_gather(Tensor out, Tensor mine, int rank, int size) {
  check_part("all_gather", "mine", mine, "out", out, rank, size);
  return {Collective::Kind::all_gather, mine.dtype, Reduce::sum, 0, mine.count()};
}

Collective check_reduce_scatter(Tensor mine, Tensor in, Reduce operation, int rank, int size) {
  check_part("reduce_scatter", "mine", mine, "in", in, rank, size);
  check_operation("reduce_scatter", mine.dtype, operation);
  return {Collective::Kind::reduce_scatter, mine.dtype, operation, 0, mine.count()};
}

Collective check_broadcast(Tensor x, int root, int size) {
  check_contiguous("broadcast", "x", x);
  CHECK(root >= 0 && root < size, "broadcast: root ", root, " is not a rank of a group of ", size);
  return {Collective::Kind::broadcast, x.dtype, Reduce::sum, root, x.count()};
}

}  // namespace lacuna
