#pragma once
// For the .cpp files of this folder alone.
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "comm/collective.h"
#include "comm/nccl/nccl_library.h"
#include "comm/parts.h"

namespace lacuna::nccl {

/// One of NCCL's communicators, and the collectives of comm/communicator.h queued on a stream.
/// Pointers are to device memory. What NCCL refuses at once is thrown as an Error.
class Link {
 public:
  /// Connects the ranks: collective over them. `stream` must outlive this.
  Link(const ncclUniqueId& id, int rank, int size, cudaStream_t stream);
  ~Link();
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;

  /// Whether a reduction needs reduce_parts(), and thus the exchange's buffer.
  static bool is_exchanged(const Collective& c);
  /// Memory for what arrives; kept by the caller.
  void give_buffer(std::byte* memory, std::int64_t bytes);

  void all_reduce(const Collective& c, std::byte* x);
  void reduce_scatter(const Collective& c, std::byte* mine, std::byte* in);
  void all_gather(const Collective& c, std::byte* out, const std::byte* mine);
  void broadcast(const Collective& c, std::byte* x);

  /// What NCCL found wrong since, empty if nothing. From any thread.
  std::string asynchronous_error() const;
  /// Ends what is under way; nothing else may be called any more.
  void abort();

 private:
  template <class Queue>
  void group(Queue&& queue);
  void check(ncclResult_t result) const;
  void reduce_own_part(const Collective& c, const Parts& parts, std::byte* out, std::byte* in);

  const NcclLibrary& nccl_;
  ncclComm_t comm_ = nullptr;
  const int rank_, size_;
  cudaStream_t stream_;
  std::byte* buffer_ = nullptr;
  std::int64_t buffer_bytes_ = 0;
};

}  // namespace lacuna::nccl
