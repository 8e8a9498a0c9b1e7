#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>

struct CUstream_st;

// Runs CUDA kernels on a CPU, one fiber per thread, one block after another, on the calling thread;
// the blocks of a cluster (sm_90) run together.
// Kernels see it through kernels/platform/intrinsics.h and never name it. What a GPU leaves
// undefined is made visible: dynamic shared memory and the targets of unfinished asynchronous
// copies hold NaN bits; a barrier or warp function that not all threads reach, threads of one warp
// in different warp functions, and a copy never waited for end the launch with an Error that says
// who waits where. Under ThreadSanitizer (the `tsan` preset), threads are ordered by barriers
// alone, so that a missing one is reported as a data race, whatever order the threads ran in.
//
// Not seen: races between blocks (they run one after another), reads of static __shared__ arrays
// left over from the block before (the blocks of a cluster have one between them: their kernels
// must not use any), bank conflicts, and anything about speed.

namespace lacuna::emulator {

struct Index3 {
  unsigned x, y, z;
};

/// In which order threads that can run are run, and blocks: ascending, descending, or shuffled anew
/// for each block. Correct kernels give the same result in every order.
enum class Order : std::uint8_t { forward, reverse, shuffled };
void set_order(Order order, std::uint64_t seed = 1);
Order order();

/// What the host asks of a GPU when it launches a kernel. `cluster`: blocks, neighbours by x, that
/// run together.
struct KernelLaunch {
  const char* op;
  const void* kernel;
  Index3 grid, block;
  std::size_t shared;
  CUstream_st* stream;
  unsigned cluster;
};
/// Blocks of a cluster that every GPU with clusters runs.
constexpr unsigned kMostClusterBlocks = 8;

/// Runs body(argument) once for each thread of each block. Throws Error naming `op`. One launch at
/// a time: a second host thread waits.
void run(const KernelLaunch& launch, void (*body)(void*), void* argument);
/// `work`, which runs it, to the stream. Implemented twice: kernels/platform/emulated/device.cpp
/// queues it, kernels/platform/emulated/toolkit checks first what a GPU would.
void start_kernel(const KernelLaunch& launch, std::function<void()> work);

// --- what a kernel sees --------------------------------------------------------------------------
const Index3& thread_index();
const Index3& block_index();
const Index3& block_size();
const Index3& grid_size();
unsigned lane();
/// This thread's number in its block.
unsigned linear_thread();
void* dynamic_shared();
std::size_t dynamic_shared_bytes();
/// The block's number in its cluster, and how many there are.
unsigned block_rank();
unsigned cluster_blocks();

/// __syncthreads and its voting relatives: the number of threads whose predicate holds.
int barrier(bool predicate = false);
/// barrier.cluster: of all threads of the cluster's blocks.
void cluster_barrier();

/// The functions a whole warp calls together. Lanes of one mask must agree on which.
enum class WarpFunction : std::uint8_t {
  sync,
  shuffle,
  ballot,
  load_matrix,
  multiply,
  warpgroup_multiply,
  warpgroup_fence,
  warpgroup_commit,
  warpgroup_wait,
  set_registers,
  named_barrier
};

constexpr unsigned kSlotBytes = 64;
/// What each lane of a warp brought, readable until the lane's next call of a warp function.
class WarpSlots {
 public:
  void read(unsigned lane, void* to, unsigned bytes) const;
  void write(unsigned lane, const void* from, unsigned bytes);
  template <class T>
  T read(unsigned lane) const {
    T value;
    read(lane, &value, sizeof(T));
    return value;
  }

  alignas(kSlotBytes) unsigned char bytes[32][kSlotBytes];
};

/// Waits for every lane in `mask`; the last to arrive calls `last`, which may rewrite the slots.
/// Only WarpFunction::sync orders memory, and warpgroup_multiply what it has read.
const WarpSlots& meet(unsigned mask, WarpFunction function, const void* in, unsigned bytes,
                      void (*last)(WarpSlots&) = nullptr);

/// cp.async of 4 or 16 bytes, the first `valid` from memory and the rest zero; arrives at the wait.
void async_copy(void* shared, const void* global, unsigned bytes, unsigned valid);
void async_commit();
void async_wait(unsigned groups_left);

/// D = A B + C of mma.sync.m16n8k16 in bf16, f32 sums.
struct MultiplyArguments {
  std::uint32_t a[4], b[2];
  float c[4];
};
void multiply_fragments(WarpSlots& slots);

/// A store by store_pack.
void generic_store(const void* p, std::size_t bytes);

/// This thread waits until someone wakes those that wait for the same.
void sleep_on(const void* event);
void wake(const void* event);

/// Ends the launch with an Error: "<op>: emulator: <what> (thread …, block …)".
[[noreturn]] void fail_kernel(const char* what);
inline void check_aligned(const void* p, std::size_t bytes) {
  if (reinterpret_cast<std::uintptr_t>(p) % bytes) fail_kernel("a misaligned vector access");
}

}  // namespace lacuna::emulator
