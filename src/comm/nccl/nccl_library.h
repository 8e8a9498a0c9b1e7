#pragma once
// For the .cpp files of this folder alone: shows NCCL's own interface.
#include <nccl.h>

#include <string>

namespace lacuna {

/// NCCL's functions. Loaded by name rather than linked, so that the program starts on a machine
/// that has a GPU and no NCCL. Builds without CUDA have emulated ones (emulated/nccl.cpp).
struct NcclLibrary {
  decltype(&ncclGetErrorString) error_string;
  decltype(&ncclGetLastError) last_error;
  decltype(&ncclGetUniqueId) unique_id;
  decltype(&ncclCommInitRank) comm_init_rank;
  decltype(&ncclCommGetAsyncError) async_error;
  decltype(&ncclCommDestroy) comm_destroy;
  decltype(&ncclCommAbort) comm_abort;
  decltype(&ncclGroupStart) group_start;
  decltype(&ncclGroupEnd) group_end;
  decltype(&ncclSend) send;
  decltype(&ncclRecv) receive;
  decltype(&ncclAllReduce) all_reduce;
  decltype(&ncclReduceScatter) reduce_scatter;
  decltype(&ncclAllGather) all_gather;
  decltype(&ncclBroadcast) broadcast;

  /// The one of this process. Throws Error, one line, when there is none or it is too old.
  static const NcclLibrary& get();
};

}  // namespace lacuna
