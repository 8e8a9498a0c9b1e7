#include "comm/nccl/nccl_library.h"

#include <dlfcn.h>

#include "core/check.h"

namespace lacuna {
namespace {

constexpr const char* kName = "libnccl.so.2";
// ncclGetLastError came with 2.13; what that release lacks is not used here.
constexpr int kOldest = NCCL_VERSION(2, 13, 4);

template <class Function>
void find(Function& function, void* library, const char* name) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  CHECK(function, kName, " has no function ", name, ": NCCL 2.13 or newer is needed");
}

NcclLibrary load() {
  void* library = dlopen(kName, RTLD_NOW | RTLD_LOCAL);
  CHECK(library, "NCCL is missing, install libnccl2 (", dlerror(), ")");
  NcclLibrary nccl{};
  find(nccl.error_string, library, "ncclGetErrorString");
  find(nccl.last_error, library, "ncclGetLastError");
  find(nccl.unique_id, library, "ncclGetUniqueId");
  find(nccl.comm_init_rank, library, "ncclCommInitRank");
  find(nccl.async_error, library, "ncclCommGetAsyncError");
  find(nccl.comm_destroy, library, "ncclCommDestroy");
  find(nccl.comm_abort, library, "ncclCommAbort");
  find(nccl.group_start, library, "ncclGroupStart");
  find(nccl.group_end, library, "ncclGroupEnd");
  find(nccl.send, library, "ncclSend");
  find(nccl.receive, library, "ncclRecv");
  find(nccl.all_reduce, library, "ncclAllReduce");
  find(nccl.reduce_scatter, library, "ncclReduceScatter");
  find(nccl.all_gather, library, "ncclAllGather");
  find(nccl.broadcast, library, "ncclBroadcast");
  decltype(&ncclGetVersion) get_version;
  find(get_version, library, "ncclGetVersion");
  int version = 0;
  const ncclResult_t result = get_version(&version);
  CHECK(result == ncclSuccess, "NCCL does not tell its version: ", nccl.error_string(result));
  CHECK(version >= kOldest, "NCCL is of version ", version / 10000, ".", version / 100 % 100,
        "; 2.13 or newer is needed");
  return nccl;
}

}  // namespace

const NcclLibrary& NcclLibrary::get() {
  static const NcclLibrary library = load();
  return library;
}

}  // namespace lacuna
