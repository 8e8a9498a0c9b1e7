#include <nccl.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "comm/nccl/emulated/peers.h"
#include "comm/nccl/nccl_library.h"
#include "core/check.h"
#include "kernels/platform/emulated/device_memory.h"
#include "kernels/platform/emulated/queue.h"

// NCCL between emulated GPUs, in processes of one machine. What matters to its caller is as with
// NCCL: work is queued on a stream and returns at once; the output is undefined (NaN bits) from
// when the work begins until it is done; a lost peer is an error that is found by asking, and
// leaves the work hanging until the communicator is aborted. Sums are added up in a ring's order,
// which is neither rank order nor the same for all elements. Different calls on different ranks are
// an error here, where NCCL hangs or mixes data up. What NCCL rounds or drops in ways that Lacuna
// promises not to (sums of half precision, maxima of floats) is refused. A device has room for the
// kernel of one collective at a time, whatever its communicator, so that collectives of two
// communicators which begin in different orders on two devices wait for ever.

using lacuna::str;
using lacuna::emulator::DeviceAccess;
using lacuna::nccl::Label;
using lacuna::nccl::Message;
using lacuna::nccl::Peers;

struct ncclComm {
  ncclComm(const std::string& name, int rank_, int size_)
      : rank(rank_), size(size_), peers(name, rank_, size_) {}

  const int rank, size;
  Peers peers;
  std::mutex mutex;  // of what follows
  std::condition_variable ended;
  int under_way = 0;
  ncclResult_t error = ncclSuccess;
  std::string why;  // set once, before `error`
};

namespace {

using Bytes = std::vector<std::byte>;

enum Function : std::uint32_t { f_send, f_all_reduce, f_reduce_scatter, f_all_gather, f_broadcast };
constexpr const char* kNames[] = {"send", "all_reduce", "reduce_scatter", "all_gather",
                                  "broadcast"};

thread_local std::string complaint;

ncclResult_t refuse(const std::string& why) {
  complaint = why;
  return ncclInvalidArgument;
}

std::size_t size_of(ncclDataType_t type) {
  switch (type) {
    case ncclInt8:
    case ncclUint8:
      return 1;
    case ncclFloat16:
    case ncclBfloat16:
      return 2;
    case ncclInt32:
    case ncclUint32:
    case ncclFloat32:
      return 4;
    default:
      return 8;
  }
}

std::string describe(const Label& l) {
  return str(kNames[l.function], " of ", l.count, " elements of type ", l.type);
}

void note_error(ncclComm& comm, ncclResult_t error, const std::string& why) {
  const std::lock_guard lock(comm.mutex);
  if (comm.error != ncclSuccess) return;
  comm.why = why;
  comm.error = error;
}

/// Sends and receives; false if the work is not to go on.
bool exchange(ncclComm& comm, const std::vector<Message>& sends,
              const std::vector<Message>& receives) {
  const Peers::Result result = comm.peers.exchange(sends, receives);
  switch (result.end) {
    case Peers::End::done:
      return true;
    case Peers::End::aborted:
      return false;
    case Peers::End::peer_lost:
      note_error(comm, ncclRemoteError, str("rank ", result.peer, " of the communicator is gone"));
      break;
    case Peers::End::labels_differ:
      note_error(comm, ncclInvalidUsage,
                 str("rank ", result.peer, " calls ", describe(result.theirs), ", rank ", comm.rank,
                     " another"));
      break;
  }
  comm.peers.wait_for_abort();
  return false;
}

void enqueue(ncclComm* comm, cudaStream_t stream, std::function<void(ncclComm&)> work) {
  {
    const std::lock_guard lock(comm->mutex);
    ++comm->under_way;
  }
  lacuna::emulator::enqueue(stream, [comm, work = std::move(work)] {
    static std::mutex room;
    {
      const std::lock_guard kernel(room);
      work(*comm);
    }
    const std::lock_guard lock(comm->mutex);
    --comm->under_way;
    comm->ended.notify_all();  // under the lock: who waits for this destroys `comm`
  });
}

/// A collective: which bytes of `in` go to a rank, how many come from one, and what all of them,
/// one's own too, make of `out`.
struct Exchange {
  Label label;
  const std::byte* in;
  std::size_t in_bytes;
  std::byte* out;
  std::size_t out_bytes;
  std::function<std::span<std::byte>(int rank, Bytes& in)> to;
  std::function<std::size_t(int rank)> from;
  std::function<void(const std::vector<Bytes>& parts, std::byte* out)> finish;
};

void run(const Exchange& e, ncclComm& comm) {
  Bytes mine(e.in_bytes);
  {
    const DeviceAccess access;
    if (e.in_bytes) std::memcpy(mine.data(), e.in, e.in_bytes);
    if (e.out_bytes) std::memset(e.out, 0xff, e.out_bytes);
  }
  std::vector<Bytes> parts;
  std::vector<Message> sends, receives;
  for (int r = 0; r < comm.size; ++r) {
    const std::span<std::byte> part = e.to(r, mine);
    if (r == comm.rank) {
      parts.emplace_back(part.begin(), part.end());
      continue;
    }
    parts.emplace_back(e.from(r));
    if (!part.empty()) sends.push_back({r, e.label, part.data(), part.size()});
    if (!parts.back().empty())
      receives.push_back({r, e.label, parts.back().data(), parts.back().size()});
  }
  if (!exchange(comm, sends, receives)) return;
  Bytes result(e.out_bytes);
  e.finish(parts, result.data());
  const DeviceAccess access;
  if (e.out_bytes) std::memcpy(e.out, result.data(), e.out_bytes);
}

ncclResult_t enqueue(ncclComm* comm, cudaStream_t stream, Exchange e) {
  enqueue(comm, stream, [e = std::move(e)](ncclComm& c) { run(e, c); });
  return ncclSuccess;
}

std::span<std::byte> all_of_it(int, Bytes& in) { return in; }

void one_after_another(const std::vector<Bytes>& parts, std::byte* out) {
  for (const Bytes& part : parts) out = std::copy(part.begin(), part.end(), out);
}

std::byte* bytes(const void* p) { return static_cast<std::byte*>(const_cast<void*>(p)); }

// --- reductions ----------------------------------------------------------------------------------
/// to[i] = from the contributions of all, beginning with rank first(i).
template <class T>
void reduce(T* to, const std::vector<Bytes>& parts, std::size_t count, ncclRedOp_t operation,
            const std::function<std::size_t(std::size_t)>& first) {
  using Wrapping =
      std::conditional_t<std::is_integral_v<T>, std::make_unsigned<T>, std::type_identity<T>>::type;
  const std::size_t n = parts.size();
  for (std::size_t i = 0; i < count; ++i) {
    const auto of = [&](std::size_t rank) {
      T x;
      std::memcpy(&x, parts[rank % n].data() + i * sizeof(T), sizeof x);
      return x;
    };
    T value = of(first(i));
    for (std::size_t r = 1; r < n; ++r) {
      const T next = of(first(i) + r);
      value = operation == ncclMax ? std::max(value, next) : T(Wrapping(value) + Wrapping(next));
    }
    to[i] = value;
  }
}

template <class F>
void visit(ncclDataType_t type, F&& f) {
  if (type == ncclFloat32) f(float{});
  if (type == ncclFloat64) f(double{});
  if (type == ncclInt32) f(std::int32_t{});
  if (type == ncclInt64) f(std::int64_t{});
  if (type == ncclUint8) f(std::uint8_t{});
}

/// Exchange::finish: reduce() of whole parts.
auto reduction(std::size_t count, ncclDataType_t type, ncclRedOp_t operation,
               std::function<std::size_t(std::size_t)> first) {
  return [=](const std::vector<Bytes>& parts, std::byte* out) {
    visit(type, [&](auto zero) {
      reduce(reinterpret_cast<decltype(zero)*>(out), parts, count, operation, first);
    });
  };
}

std::string why_not_reduced(ncclDataType_t type, ncclRedOp_t operation) {
  const bool real = type == ncclFloat32 || type == ncclFloat64;
  const bool whole = type == ncclInt32 || type == ncclInt64 || type == ncclUint8;
  if ((operation == ncclSum && (real || whole)) || (operation == ncclMax && whole)) return {};
  return str("reduction ", int(operation), " of type ", int(type), " is not emulated");
}

// --- groups of sends and receives ----------------------------------------------------------------
struct PointToPoint {
  bool is_send;
  std::byte* data;
  std::size_t bytes;
  int peer;
  Label label;
};
struct Group {
  int depth = 0;
  ncclComm* comm = nullptr;
  cudaStream_t stream = nullptr;
  std::vector<PointToPoint> members;
};
thread_local Group group;

void run(const std::vector<PointToPoint>& members, ncclComm& comm) {
  std::vector<Bytes> buffers;
  std::vector<Message> sends, receives;
  {
    const DeviceAccess access;
    for (const PointToPoint& p : members) {
      Bytes& buffer = buffers.emplace_back(p.bytes);
      if (p.is_send)
        std::memcpy(buffer.data(), p.data, p.bytes);
      else
        std::memset(p.data, 0xff, p.bytes);
      (p.is_send ? sends : receives).push_back({p.peer, p.label, buffer.data(), p.bytes});
    }
  }
  if (!exchange(comm, sends, receives)) return;
  const DeviceAccess access;
  for (std::size_t i = 0; i < members.size(); ++i)
    if (!members[i].is_send) std::memcpy(members[i].data, buffers[i].data(), members[i].bytes);
}

ncclResult_t add(bool is_send, const void* data, std::size_t count, ncclDataType_t type, int peer,
                 ncclComm* comm, cudaStream_t stream) {
  if (peer < 0 || peer >= comm->size || peer == comm->rank)
    return refuse(str("there is no peer ", peer));
  if (group.depth == 0) return refuse("a send or receive outside of a group is not emulated");
  if (group.comm && (group.comm != comm || group.stream != stream))
    return refuse("a group of several communicators or streams is not emulated");
  group.comm = comm;
  group.stream = stream;
  group.members.push_back({is_send,
                           bytes(data),
                           count * size_of(type),
                           peer,
                           {f_send, std::uint32_t(type), 0, 0, count}});
  return ncclSuccess;
}

}  // namespace

const char* ncclGetErrorString(ncclResult_t result) {
  constexpr const char* texts[] = {"no error",          "unhandled cuda error", "system error",
                                   "internal error",    "invalid argument",     "invalid usage",
                                   "a peer is missing", "in progress"};
  return texts[int(result)];
}

const char* ncclGetLastError(ncclComm_t comm) {
  if (!comm) return complaint.c_str();
  const std::lock_guard lock(comm->mutex);
  return comm->error != ncclSuccess ? comm->why.c_str() : complaint.c_str();
}

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  const std::string name = str("lacuna-nccl-", getpid(), '-', std::random_device{}());
  *id = {};
  name.copy(id->internal, sizeof id->internal - 1);
  return ncclSuccess;
}

ncclResult_t ncclCommInitRank(ncclComm_t* comm, int ranks, ncclUniqueId id, int rank) {
  try {
    *comm = new ncclComm(id.internal, rank, ranks);
    return ncclSuccess;
  } catch (const lacuna::Error& e) {
    complaint = e.what();
    return ncclSystemError;
  }
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* error) {
  const std::lock_guard lock(comm->mutex);
  *error = comm->error;
  return ncclSuccess;
}

ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  {
    std::unique_lock lock(comm->mutex);
    comm->ended.wait(lock, [&] { return comm->under_way == 0; });
  }
  delete comm;
  return ncclSuccess;
}

ncclResult_t ncclCommAbort(ncclComm_t comm) {
  comm->peers.abort();
  return ncclCommDestroy(comm);
}

ncclResult_t ncclGroupStart() {
  ++group.depth;
  return ncclSuccess;
}

ncclResult_t ncclGroupEnd() {
  if (--group.depth > 0) return ncclSuccess;
  const Group ended = std::exchange(group, {});
  if (ended.comm)
    enqueue(ended.comm, ended.stream,
            [members = ended.members](ncclComm& comm) { run(members, comm); });
  return ncclSuccess;
}

ncclResult_t ncclSend(const void* from, std::size_t count, ncclDataType_t type, int peer,
                      ncclComm_t comm, cudaStream_t stream) {
  return add(true, from, count, type, peer, comm, stream);
}

ncclResult_t ncclRecv(void* to, std::size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  return add(false, to, count, type, peer, comm, stream);
}

ncclResult_t ncclAllReduce(const void* in, void* out, std::size_t count, ncclDataType_t type,
                           ncclRedOp_t operation, ncclComm_t comm, cudaStream_t stream) {
  if (const std::string why = why_not_reduced(type, operation); !why.empty()) return refuse(why);
  const std::size_t size = count * size_of(type), n = std::size_t(comm->size);
  // A ring's parts: the sum of part p begins with the rank after it.
  const auto first = [=](std::size_t i) { return i * n / count + 1; };
  return enqueue(comm, stream,
                 {.label = {f_all_reduce, std::uint32_t(type), std::uint32_t(operation), 0, count},
                  .in = bytes(in),
                  .in_bytes = size,
                  .out = bytes(out),
                  .out_bytes = size,
                  .to = all_of_it,
                  .from = [=](int) { return size; },
                  .finish = reduction(count, type, operation, first)});
}

ncclResult_t ncclReduceScatter(const void* in, void* out, std::size_t count, ncclDataType_t type,
                               ncclRedOp_t operation, ncclComm_t comm, cudaStream_t stream) {
  if (const std::string why = why_not_reduced(type, operation); !why.empty()) return refuse(why);
  const std::size_t size = count * size_of(type), rank = std::size_t(comm->rank);
  const auto first = [=](std::size_t) { return rank + 1; };
  return enqueue(
      comm, stream,
      {.label = {f_reduce_scatter, std::uint32_t(type), std::uint32_t(operation), 0, count},
       .in = bytes(in),
       .in_bytes = size * std::size_t(comm->size),
       .out = bytes(out),
       .out_bytes = size,
       .to = [=](int r,
                 Bytes& mine) { return std::span(mine).subspan(std::size_t(r) * size, size); },
       .from = [=](int) { return size; },
       .finish = reduction(count, type, operation, first)});
}

ncclResult_t ncclAllGather(const void* in, void* out, std::size_t count, ncclDataType_t type,
                           ncclComm_t comm, cudaStream_t stream) {
  const std::size_t size = count * size_of(type);
  return enqueue(comm, stream,
                 {.label = {f_all_gather, std::uint32_t(type), 0, 0, count},
                  .in = bytes(in),
                  .in_bytes = size,
                  .out = bytes(out),
                  .out_bytes = size * std::size_t(comm->size),
                  .to = all_of_it,
                  .from = [=](int) { return size; },
                  .finish = one_after_another});
}

ncclResult_t ncclBroadcast(const void* in, void* out, std::size_t count, ncclDataType_t type,
                           int root, ncclComm_t comm, cudaStream_t stream) {
  if (root < 0 || root >= comm->size) return refuse(str("there is no rank ", root));
  const std::size_t size = count * size_of(type);
  return enqueue(comm, stream,
                 {.label = {f_broadcast, std::uint32_t(type), 0, std::uint32_t(root), count},
                  .in = bytes(in),
                  .in_bytes = comm->rank == root ? size : 0,
                  .out = bytes(out),
                  .out_bytes = size,
                  .to = all_of_it,
                  .from = [=](int r) { return r == root ? size : 0; },
                  .finish = one_after_another});  // there is one
}

const lacuna::NcclLibrary& lacuna::NcclLibrary::get() {
  static const NcclLibrary library{
      ncclGetErrorString,    ncclGetLastError, ncclGetUniqueId, ncclCommInitRank,
      ncclCommGetAsyncError, ncclCommDestroy,  ncclCommAbort,   ncclGroupStart,
      ncclGroupEnd,          ncclSend,         ncclRecv,        ncclAllReduce,
      ncclReduceScatter,     ncclAllGather,    ncclBroadcast};
  return library;
}
