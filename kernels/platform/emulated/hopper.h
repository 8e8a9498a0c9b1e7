#pragma once
#include <cstddef>
#include <cstdint>
#include <initializer_list>

#include "core/half.h"
#include "kernels/platform/tensor_map.h"

// What kernels/platform/hopper_intrinsics.h needs of the emulator: sm_90a's barriers in shared
// memory, its copies of boxes, and its products of a warpgroup, which read their descriptors as the
// hardware does (PTX ISA, "Matrix Descriptor" and "Shared Memory Matrix Layout"; the canonical
// layouts as in CUTLASS, cute/arch/mma_sm90_desc.hpp). All that is asynchronous happens as late as
// it may: a copy when no thread can run without it, its target holding NaN bits until then; a
// product at the wait for it, its sums holding NaN bits until then. What the PTX manual leaves
// undefined ends the launch: registers of a product that no fence named, or that were written while
// it was under way; shared memory that a thread has written and a product reads without
// fence.proxy.async between; a wait for a phase of a memory barrier that ended before the last one;
// a warpgroup's instruction that not all lanes of a warp reach; more registers than the block has.
//
// The blocks of a cluster reach each other's shared memory by multicast copies and by arrivals at
// memory barriers. In any order of threads the launch ends if a block does so before a barrier of
// the cluster has followed the other's initialisation of the barrier, or if a block ends before one
// has followed the last of what others did to it.

namespace lacuna::emulator {

/// The address of something in dynamic shared memory as the GPU has it: from the window's start,
/// below 2^18. Dynamic shared memory does not begin at a multiple of 1024 there.
std::uint32_t window_address(const void* shared);

void memory_barrier_init(std::uint64_t* barrier, unsigned arrivals);
void memory_barrier_arrive(std::uint64_t* barrier, unsigned expected_bytes);
/// At the barrier in this place of block `rank` of the cluster.
void memory_barrier_arrive_at(std::uint64_t* barrier, unsigned rank);
void memory_barrier_wait(std::uint64_t* barrier, unsigned parity);

/// What a TensorMap holds.
struct BoxMap {
  const BFloat16* data;
  std::int64_t rows, columns, stride;
  int box_rows;
};
static_assert(sizeof(BoxMap) <= sizeof(TensorMap));
/// Begins a copy; `map` is a TensorMap's content.
void box_copy(void* shared, const unsigned char* map, int column, int row, std::uint64_t* barrier);
/// To the same place of all blocks of the cluster that `blocks` has bits of; the bytes count at the
/// barrier in the same place of each.
void box_multicast(void* shared, const unsigned char* map, int column, int row,
                   std::uint64_t* barrier, unsigned blocks);
/// Begins a copy of `bytes` from global to shared memory: cp.async.bulk.
void linear_copy(void* shared, const void* global, unsigned bytes, std::uint64_t* barrier);

/// cp.async.bulk of f32 from shared to global memory, or cp.reduce.async.bulk with .add. The
/// shared memory is read at the wait for that at the earliest, and the global written at the wait
/// for the whole.
void bulk_begin(float* global, const float* shared, unsigned bytes, bool add);
void bulk_commit();
/// For the calling thread's committed groups; `read`: until they have read shared memory.
void bulk_wait(bool read);

/// bar.sync id, threads; or bar.arrive, which does not wait.
void named_barrier(unsigned id, unsigned threads, bool wait);
/// setmaxnreg.inc (`more`) or .dec: waits until the block has as many to give.
void set_registers(unsigned registers, bool more);
/// fence.proxy.async, for this thread's stores by store_pack.
void fence_generic_stores();

/// One product of a warpgroup, as one thread gives it: wgmma.m64nNk16.
struct WarpgroupProduct {
  float* d;     // N / 2 of them
  int columns;  // N
  bool a_in_shared_memory;
  bool a_by_columns;  // of shared memory; else by rows
  bool b_by_columns;
  bool accumulate;
  std::uint64_t a_descriptor;
  const std::uint32_t* a_registers;  // what `a` holds, or nullptr
  std::uint32_t a[4];
  std::uint64_t b_descriptor;
};
/// A thread's registers: an array of its own.
struct Registers {
  const void* first;
  std::size_t bytes;
};
using RegisterList = std::initializer_list<Registers>;
/// wgmma.fence; `registers` are all that the next products read or add to.
void products_fence(RegisterList registers);
/// The product happens at products_wait().
void product_begin(const WarpgroupProduct& product);
void products_commit();
/// `finished`: all registers of the products that have then ended.
void products_wait(unsigned groups_left, RegisterList finished);

// --- for the scheduler ---------------------------------------------------------------------------
/// Block `rank` of the cluster.
void begin_block_of_hopper(unsigned rank);
void cluster_barrier_passed();
/// When no thread can run: one of the copies under way arrives. False when there is none.
bool run_late_copy();
/// At a block's end: what it should have waited for, or nullptr.
const char* unfinished_in_block(unsigned rank);

}  // namespace lacuna::emulator
