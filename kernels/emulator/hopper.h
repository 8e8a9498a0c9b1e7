#pragma once
#include <cstdint>

#include "core/half.h"
#include "kernels/cuda/tensor_map.h"

// What kernels/cuda/hopper.h needs of the emulator: sm_90a's barriers in shared memory, its copies
// of boxes, and its products of a warpgroup, which read their descriptors as the hardware does
// (PTX ISA, "Matrix Descriptor" and "Shared Memory Matrix Layout"; the canonical layouts as in
// CUTLASS, cute/arch/mma_sm90_desc.hpp). All that is asynchronous happens as late as it may: a copy
// when no thread can run without it, its target holding NaN bits until then; a product at the wait
// for it.

namespace lacuna::emulator {

/// The address of something in dynamic shared memory as the GPU has it: from the window's start,
/// below 2^18. Dynamic shared memory does not begin at a multiple of 1024 there.
std::uint32_t window_address(const void* shared);

void memory_barrier_init(std::uint64_t* barrier, unsigned arrivals);
void memory_barrier_arrive(std::uint64_t* barrier, unsigned expected_bytes);
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

/// bar.sync id, threads.
void named_barrier(unsigned id, unsigned threads);

/// One product of a warpgroup, as one thread gives it: wgmma.m64nNk16.
struct WarpgroupProduct {
  float* d;     // N / 2 of them
  int columns;  // N
  bool a_in_shared_memory;
  bool b_by_columns;  // else by rows
  bool accumulate;
  std::uint64_t a_descriptor;
  std::uint32_t a[4];
  std::uint64_t b_descriptor;
};
/// The product happens at products_wait().
void product_begin(const WarpgroupProduct& product);
void products_commit();
void products_wait(unsigned groups_left);

// --- for the scheduler ---------------------------------------------------------------------------
void begin_block_of_hopper();
/// When no thread can run: one of the copies under way arrives. False when there is none.
bool run_late_copy();
/// At a block's end: what it should have waited for, or nullptr.
const char* unfinished_in_block();

}  // namespace lacuna::emulator
