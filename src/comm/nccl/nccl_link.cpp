#include "comm/nccl/nccl_link.h"

#include <algorithm>

#include "kernels/cuda/reduce_parts.h"

namespace lacuna::nccl {
namespace {

ncclDataType_t type_of(DType type) {
  switch (type) {
    case DType::f32:
      return ncclFloat32;
    case DType::f64:
      return ncclFloat64;
    case DType::bf16:
      return ncclBfloat16;
    case DType::f16:
      return ncclFloat16;
    case DType::i32:
      return ncclInt32;
    case DType::i64:
      return ncclInt64;
    case DType::u8:
      return ncclUint8;
    case DType::u16:
    case DType::e4m3:
    case DType::e5m2:
      break;  // NCCL has no such type, or nothing is sent in it
  }
  fail("a tensor of unknown type");
}
bool is_integer(DType type) {
  return type == DType::i32 || type == DType::i64 || type == DType::u8;
}
ncclRedOp_t operation_of(const Collective& c) {
  return c.operation == Reduce::max ? ncclMax : ncclSum;
}
std::size_t bytes_of(const Collective& c) { return std::size_t(c.count * size_of(c.dtype)); }

}  // namespace

Link::Link(const ncclUniqueId& id, int rank, int size, cudaStream_t stream)
    : nccl_(NcclLibrary::get()), rank_(rank), size_(size), stream_(stream) {
  check(nccl_.comm_init_rank(&comm_, size, id, rank));
}

Link::~Link() {
  if (comm_) (void)nccl_.comm_destroy(comm_);
}

void Link::abort() {
  if (comm_) (void)nccl_.comm_abort(comm_);
  comm_ = nullptr;
}

void Link::check(ncclResult_t result) const {
  if (result == ncclSuccess) return;
  const char* detail = nccl_.last_error(comm_);
  fail(str("NCCL: ", nccl_.error_string(result), detail && *detail ? str(", ", detail) : "",
           "; NCCL_DEBUG=WARN says more"));
}

std::string Link::asynchronous_error() const {
  ncclResult_t state = ncclSuccess;
  const ncclResult_t asked = nccl_.async_error(comm_, &state);
  try {
    check(asked);
    if (state != ncclInProgress) check(state);
  } catch (const Error& e) {
    return e.what();
  }
  return {};
}

void Link::give_buffer(std::byte* memory, std::int64_t bytes) {
  buffer_ = memory;
  buffer_bytes_ = bytes;
}

bool Link::is_exchanged(const Collective& c) {
  const bool reduces =
      c.kind == Collective::Kind::all_reduce || c.kind == Collective::Kind::reduce_scatter;
  const bool exact = is_integer(c.dtype) || ((c.dtype == DType::f32 || c.dtype == DType::f64) &&
                                             c.operation == Reduce::sum);
  return reduces && !exact;
}

/// What `queue` sends and receives goes together.
template <class Queue>
void Link::group(Queue&& queue) {
  check(nccl_.group_start());
  try {
    queue();
  } catch (...) {
    (void)nccl_.group_end();
    throw;
  }
  check(nccl_.group_end());
}

/// out = the reduction of this rank's part of every rank's `in`, by blocks that the buffer holds.
void Link::reduce_own_part(const Collective& c, const Parts& parts, std::byte* out, std::byte* in) {
  const std::int64_t element = size_of(c.dtype);
  const std::int64_t step =
      std::min((parts.length + 63) / 64 * 64, buffer_bytes_ / (size_ * element) / 64 * 64);
  CHECK(step > 0, "a buffer of ", buffer_bytes_, " bytes holds no block of ", size_, " ranks");
  const auto block = [&](int rank, std::int64_t offset) {
    return std::clamp<std::int64_t>(parts.size(rank) - offset, 0, step);
  };
  for (std::int64_t offset = 0; offset < parts.length; offset += step) {
    const std::int64_t own = block(rank_, offset);
    group([&] {
      for (int other = 0; other < size_; ++other) {
        if (other == rank_) continue;
        if (const std::int64_t theirs = block(other, offset); theirs > 0)
          check(nccl_.send(in + (parts.begin(other) + offset) * element, std::size_t(theirs),
                           type_of(c.dtype), other, comm_, stream_));
        if (own > 0)
          check(nccl_.receive(buffer_ + other * step * element, std::size_t(own), type_of(c.dtype),
                              other, comm_, stream_));
      }
    });
    if (own == 0) continue;
    Tensor landed(buffer_, {size_, own}, c.dtype, Place::device);
    landed.stride = step;
    reduce_parts(
        Tensor(out + offset * element, {own}, c.dtype, Place::device),
        Tensor(in + (parts.begin(rank_) + offset) * element, {own}, c.dtype, Place::device), landed,
        rank_, c.operation, stream_);
  }
}

void Link::all_reduce(const Collective& c, std::byte* x) {
  if (!is_exchanged(c)) {
    check(nccl_.all_reduce(x, x, std::size_t(c.count), type_of(c.dtype), operation_of(c), comm_,
                           stream_));
    return;
  }
  const Parts parts(c.count, size_);
  const std::int64_t element = size_of(c.dtype);
  const auto at = [&](int rank) { return x + parts.begin(rank) * element; };
  reduce_own_part(c, parts, at(rank_), x);
  group([&] {
    for (int other = 0; other < size_; ++other) {
      if (other == rank_) continue;
      if (parts.size(rank_) > 0)
        check(nccl_.send(at(rank_), std::size_t(parts.size(rank_)), type_of(c.dtype), other, comm_,
                         stream_));
      if (parts.size(other) > 0)
        check(nccl_.receive(at(other), std::size_t(parts.size(other)), type_of(c.dtype), other,
                            comm_, stream_));
    }
  });
}

void Link::reduce_scatter(const Collective& c, std::byte* mine, std::byte* in) {
  if (is_exchanged(c)) return reduce_own_part(c, Parts::equal(c.count, size_), mine, in);
  check(nccl_.reduce_scatter(in, mine, std::size_t(c.count), type_of(c.dtype), operation_of(c),
                             comm_, stream_));
}

void Link::all_gather(const Collective& c, std::byte* out, const std::byte* mine) {
  check(nccl_.all_gather(mine, out, bytes_of(c), ncclUint8, comm_, stream_));
}

void Link::broadcast(const Collective& c, std::byte* x) {
  check(nccl_.broadcast(x, x, bytes_of(c), ncclUint8, c.root, comm_, stream_));
}

}  // namespace lacuna::nccl
