#include "kernels/platform/emulated/hopper.h"

#include <cstring>

#include "core/half.h"
#include "kernels/platform/emulated/emulator.h"
#include "kernels/platform/emulated/fiber.h"
#include "kernels/platform/emulated/hopper_block.h"
#include "kernels/platform/hopper_intrinsics.h"

// Like emulator.cpp, hidden from ThreadSanitizer, and nothing allocates while a fiber runs.

namespace lacuna::emulator {
namespace {

struct BarrierState {
  std::uint16_t arrivals;
  std::uint16_t left : 15, phase : 1;
  std::int32_t bytes;  // expected and not yet come
};
static_assert(sizeof(BarrierState) == sizeof(MemoryBarrier));

constexpr unsigned kMostBarriers = 32;
constexpr std::int32_t kMostBytes = (1 << 20) - 1;  // that a phase can expect

/// What a parity does not tell: how many phases of each barrier have ended, and which phase each
/// thread last waited for; -1 is that of parity 1 before the first.
struct BarrierHistory {
  std::uint64_t* barrier;
  unsigned initialised;  // after how many barriers of the cluster
  int ended;
  int waited_for[kMostThreads];
};
constexpr int kNeverWaited = -2;

/// A copy to shared memory: of a box, or of `bytes` that lie one behind the other at `global`.
struct Copy {
  unsigned rank;  // the block whose shared memory and barrier it is
  void* shared;
  unsigned bytes;
  std::uint64_t* barrier;
  const void* global;  // or nullptr: a box
  BoxMap map;
  int column, row;
};
constexpr int kMostCopies = 64;
Copy copies[kMostCopies];
int copy_count = 0;
std::uint32_t lottery = 1;

/// A copy to global memory; `values` once shared memory has been read.
struct BulkCopy {
  unsigned rank, thread, bytes;
  float* global;
  const float* shared;
  bool add, committed, read;
  float values[32 * 1024 / sizeof(float)];
};
constexpr int kMostBulkCopies = 4;
BulkCopy bulk_copies[kMostBulkCopies];
int bulk_count = 0;
bool is_mine(const BulkCopy& c) { return c.rank == block_rank() && c.thread == hopper_thread(); }

struct NamedBarrier {
  unsigned threads, arrived;
  char order[2];
  unsigned passed;
};

constexpr unsigned kChunk = 16;  // bytes of shared memory that are marked as stored together
constexpr unsigned kRegisters = 64 * 1024, kWarpgroup = 128;

/// One of the blocks that run together.
struct BlockState {
  bool used;     // anything of this file but stores
  bool reached;  // by another block, and no barrier of the cluster has followed
  BarrierHistory histories[kMostBarriers];
  unsigned history_count;
  NamedBarrier named[16];
  /// Which thread's store to each 16 bytes of dynamic shared memory no fence.proxy.async has
  /// followed yet, its number plus 1.
  std::uint16_t stored_by[kWindowEnd / kChunk];
  unsigned stored_chunks;
  /// setmaxnreg. Registers of each thread, and how many have been given up and not taken yet.
  unsigned registers_of[kMostThreads], free_registers;
};
BlockState blocks[kMostClusterBlocks];
unsigned cluster_barriers = 0;
BlockState& mine() { return blocks[block_rank()]; }

BarrierHistory* find_history(BlockState& block, const std::uint64_t* barrier) {
  for (unsigned i = 0; i < block.history_count; ++i)
    if (block.histories[i].barrier == barrier) return &block.histories[i];
  return nullptr;
}
BarrierHistory& history_of(BlockState& block, std::uint64_t* barrier) {
  check_aligned(barrier, sizeof *barrier);
  BarrierHistory* found = find_history(block, barrier);
  if (!found) fail_kernel("a memory barrier that was not initialised");
  return *found;
}
BarrierState& state_of(std::uint64_t* barrier) { return *reinterpret_cast<BarrierState*>(barrier); }

/// What lies in block `rank` where `p` lies in this one.
template <class T>
T* in_block(unsigned rank, T* p) {
  const auto offset = reinterpret_cast<char*>(p) - static_cast<char*>(dynamic_shared());
  return reinterpret_cast<T*>(static_cast<char*>(shared_of(rank)) + offset);
}
/// Before this block does anything to block `rank`, at whose `barrier` it will count.
void reach(unsigned rank, std::uint64_t* barrier) {
  if (rank >= cluster_blocks()) fail_kernel("a block that the cluster does not have");
  if (has_ended(rank)) fail_kernel("shared memory of a block that has ended");
  const BarrierHistory& h = history_of(blocks[rank], barrier);
  if (rank == block_rank()) return;
  if (h.initialised == cluster_barriers)
    fail_kernel("another block's memory barrier without barrier.cluster since it was initialised");
  blocks[rank].reached = true;
}

void end_phase_if_due(BlockState& block, std::uint64_t* barrier) {
  BarrierState& s = state_of(barrier);
  if (s.left > 0 || s.bytes != 0) return;  // bytes can come before they are expected
  s.phase ^= 1;
  ++history_of(block, barrier).ended;
  s.left = s.arrivals;
  wake(barrier);
}

void copy_box(const Copy& c) {
  auto* const memory = static_cast<unsigned char*>(shared_of(c.rank));
  const auto first = std::uint32_t(static_cast<unsigned char*>(c.shared) - memory) + kWindowStart;
  for (int r = 0; r < c.map.box_rows; ++r)
    for (int i = 0; i < kBoxColumns; ++i) {
      const std::int64_t row = c.row + r, column = c.column + i;
      BFloat16 value{};
      if (row >= 0 && row < c.map.rows && column >= 0 && column < c.map.columns)
        value = c.map.data[row * c.map.stride + column];
      const std::uint32_t address = first + std::uint32_t(r * kBoxRowBytes + i * 2);
      std::memcpy(memory + (swizzled(address) - kWindowStart), &value, sizeof value);
    }
}
/// After what the thread that asked for it had done, and before what waits for its barrier.
void arrive(const Copy& c) {
  happens_after(c.shared);
  if (c.global)
    std::memcpy(c.shared, c.global, c.bytes);
  else
    copy_box(c);
  happens_before(c.barrier);
  state_of(c.barrier).bytes -= std::int32_t(c.bytes);
  end_phase_if_due(blocks[c.rank], c.barrier);
}
bool is_stored_in(const BlockState& block, std::size_t offset, std::size_t bytes) {
  if (block.stored_chunks == 0) return false;
  for (std::size_t i = offset / kChunk; i <= (offset + bytes - 1) / kChunk; ++i)
    if (block.stored_by[i]) return true;
  return false;
}
std::size_t offset_of(const void* shared) {
  return std::size_t(static_cast<const char*>(shared) - static_cast<char*>(dynamic_shared()));
}
/// To the place of block `rank` that `c` names in this one.
void begin_copy(Copy c, unsigned rank) {
  if (copy_count == kMostCopies) fail_kernel("too many copies to shared memory under way");
  const bool stored = is_stored_in(blocks[rank], offset_of(c.shared), c.bytes);
  c.rank = rank;
  c.shared = in_block(rank, c.shared);
  c.barrier = in_block(rank, c.barrier);
  reach(rank, c.barrier);
  if (stored) fail_kernel("a copy to what a thread stored without fence.proxy.async");
  std::memset(c.shared, 0xff, c.bytes);
  happens_before(c.shared);
  copies[copy_count++] = c;
}

void arrive_in(BlockState& block, std::uint64_t* barrier, unsigned expected_bytes) {
  history_of(block, barrier);
  BarrierState& s = state_of(barrier);
  if (s.left == 0) fail_kernel("more arrivals at a memory barrier than it counts");
  happens_before(barrier);
  if (s.bytes + std::int64_t{expected_bytes} > kMostBytes)
    fail_kernel("a memory barrier that expects 2^20 bytes or more");
  s.bytes += std::int32_t(expected_bytes);
  s.left = std::uint16_t((s.left - 1) & 0x7fff);
  end_phase_if_due(block, barrier);
}

}  // namespace

unsigned hopper_thread() {
  const unsigned thread = linear_thread();
  if (thread >= kMostThreads) fail_kernel("Hopper's instructions in a block of over 512 threads");
  mine().used = true;
  return thread;
}

void meet_warp(WarpFunction function) {
  const char nothing = 0;
  meet(~0u, function, &nothing, 1);
}

bool is_stored(const void* p, std::size_t bytes) {
  return is_stored_in(mine(), offset_of(p), bytes);
}

unsigned char* at_window_address(std::uint32_t address) {
  return static_cast<unsigned char*>(dynamic_shared()) + (address - kWindowStart);
}

std::uint32_t window_address(const void* shared) {
  return kWindowStart + std::uint32_t(offset_of(shared));
}

void memory_barrier_init(std::uint64_t* barrier, unsigned arrivals) {
  BlockState& block = mine();
  check_aligned(barrier, sizeof *barrier);
  if (find_history(block, barrier)) fail_kernel("a memory barrier that is initialised twice");
  if (block.history_count == kMostBarriers) fail_kernel("too many memory barriers");
  block.used = true;
  BarrierHistory& h = block.histories[block.history_count++];
  h.barrier = barrier;
  h.initialised = cluster_barriers;
  h.ended = 0;
  for (int& phase : h.waited_for) phase = kNeverWaited;
  state_of(barrier) = {std::uint16_t(arrivals), std::uint16_t(arrivals & 0x7fff), 0, 0};
}

void memory_barrier_arrive(std::uint64_t* barrier, unsigned expected_bytes) {
  arrive_in(mine(), barrier, expected_bytes);
}
void memory_barrier_arrive_at(std::uint64_t* barrier, unsigned rank) {
  std::uint64_t* there = in_block(rank < cluster_blocks() ? rank : 0, barrier);
  reach(rank, there);
  arrive_in(blocks[rank], there, 0);
}

void memory_barrier_wait(std::uint64_t* barrier, unsigned parity) {
  BarrierHistory& h = history_of(mine(), barrier);
  int& phase = h.waited_for[hopper_thread()];
  if (phase == kNeverWaited)
    phase = parity & 1 ? -1 : 0;
  else if (unsigned(phase & 1) != (parity & 1))
    ++phase;
  while (h.ended <= phase) sleep_on(barrier);
  // Where one more phase has ended hardware would wait for the next to, where two have it would not
  // wait: it sees the parity alone.
  if (h.ended > phase + 1) fail_kernel("a wait for a phase of a memory barrier before the last");
  happens_after(barrier);
}

void box_copy(void* shared, const unsigned char* map, int column, int row, std::uint64_t* barrier) {
  box_multicast(shared, map, column, row, barrier, 1u << block_rank());
}

void box_multicast(void* shared, const unsigned char* map, int column, int row,
                   std::uint64_t* barrier, unsigned to_blocks) {
  Copy c{0, shared, 0, barrier, nullptr, {}, column, row};
  std::memcpy(&c.map, map, sizeof c.map);
  c.bytes = unsigned(c.map.box_rows * kBoxRowBytes);
  if (window_address(shared) % 1024) fail_kernel("a swizzled box that is not aligned to 1024");
  if (to_blocks >> cluster_blocks()) fail_kernel("a block that the cluster does not have");
  for (unsigned rank = 0; rank < cluster_blocks(); ++rank)
    if (to_blocks >> rank & 1) begin_copy(c, rank);
}

void linear_copy(void* shared, const void* global, unsigned bytes, std::uint64_t* barrier) {
  if (bytes == 0 || bytes % kChunk) fail_kernel("a bulk copy of a wrong size");
  check_aligned(shared, kChunk);
  check_aligned(global, kChunk);
  begin_copy({0, shared, bytes, barrier, global, {}, 0, 0}, block_rank());
}

void bulk_begin(float* global, const float* shared, unsigned bytes, bool add) {
  if (bulk_count == kMostBulkCopies) fail_kernel("too many bulk copies under way");
  BulkCopy& c = bulk_copies[bulk_count++];
  if (bytes % kChunk || bytes > sizeof c.values) fail_kernel("a bulk copy of a wrong size");
  check_aligned(global, kChunk);
  check_aligned(shared, kChunk);
  if (is_stored(shared, bytes))
    fail_kernel("a bulk copy of what a thread stored without fence.proxy.async");
  c.rank = block_rank();
  c.thread = hopper_thread();
  c.bytes = bytes;
  c.global = global;
  c.shared = shared;
  c.add = add;
  c.committed = c.read = false;
}

void bulk_commit() {
  for (int i = 0; i < bulk_count; ++i)
    if (is_mine(bulk_copies[i])) bulk_copies[i].committed = true;
}

void bulk_wait(bool read) {
  int kept = 0;
  for (int i = 0; i < bulk_count; ++i) {
    BulkCopy& c = bulk_copies[i];
    const bool due = c.committed && is_mine(c);
    if (due && !c.read) std::memcpy(c.values, c.shared, c.bytes);
    c.read = c.read || due;
    if (!due || read) {
      if (kept != i) std::memcpy(&bulk_copies[kept], &c, sizeof c);
      ++kept;
      continue;
    }
    for (unsigned n = 0; n < c.bytes / sizeof(float); ++n)
      c.global[n] = c.add ? c.global[n] + c.values[n] : c.values[n];
  }
  bulk_count = kept;
}

void named_barrier(unsigned id, unsigned count, bool wait) {
  if (id == 0 || id > 15) fail_kernel("a named barrier that is not 1 to 15");
  mine().used = true;
  meet_warp(WarpFunction::named_barrier);
  NamedBarrier& b = mine().named[id];
  if (b.arrived && b.threads != count) fail_kernel("a named barrier of different sizes");
  b.threads = count;
  char* order = &b.order[b.passed % 2];
  happens_before(order);
  if (++b.arrived == count) {
    b.arrived = 0;
    ++b.passed;
    wake(&b);
  } else if (wait) {
    sleep_on(&b);
  }
  if (wait) happens_after(order);
}

void set_registers(unsigned registers, bool more) {
  if (registers % 8 || registers < 24 || registers > 256)
    fail_kernel("setmaxnreg of a number that is not 24 to 256 in eights");
  meet_warp(WarpFunction::set_registers);
  unsigned& own = mine().registers_of[hopper_thread()];
  unsigned& unused = mine().free_registers;
  if (more ? registers < own : registers > own)
    fail_kernel(more ? "setmaxnreg.inc to fewer registers" : "setmaxnreg.dec to more registers");
  if (more)
    while (unused < registers - own) sleep_on(&unused);
  unused += own - registers;
  own = registers;
  if (!more) wake(&unused);
}

void generic_store(const void* p, std::size_t bytes) {
  const std::size_t offset = offset_of(p);
  if (offset >= dynamic_shared_bytes()) return;
  BlockState& block = mine();
  for (std::size_t i = offset / kChunk; i <= (offset + bytes - 1) / kChunk; ++i) {
    block.stored_chunks += block.stored_by[i] == 0;
    block.stored_by[i] = std::uint16_t(linear_thread() + 1);
  }
}

void fence_generic_stores() {
  BlockState& block = mine();
  if (block.stored_chunks == 0) return;
  for (std::uint16_t& thread : block.stored_by)
    if (thread == linear_thread() + 1) {
      thread = 0;
      --block.stored_chunks;
    }
}

void begin_block_of_hopper(unsigned rank) {
  BlockState& block = blocks[rank];
  if (block.stored_chunks) std::memset(block.stored_by, 0, sizeof block.stored_by);
  block.stored_chunks = 0;
  if (rank == 0) copy_count = bulk_count = 0;
  if (block.used) {
    block.history_count = 0;
    std::memset(block.named, 0, sizeof block.named);
    forget_products(rank);
  }
  block.used = block.reached = false;
  cluster_barriers = 0;
  const Index3& extent = block_size();
  const unsigned threads = extent.x * extent.y * extent.z;
  for (unsigned& registers : block.registers_of) registers = kRegisters / threads / 8 * 8;
  block.free_registers = 0;
}

void cluster_barrier_passed() {
  ++cluster_barriers;
  for (BlockState& block : blocks) block.reached = false;
}

bool run_late_copy() {
  if (copy_count == 0) return false;
  lottery = lottery * 1664525u + 1013904223u;
  const int i = order() == Order::forward   ? 0
                : order() == Order::reverse ? copy_count - 1
                                            : int((lottery >> 16) % unsigned(copy_count));
  const Copy c = copies[i];
  for (int j = i + 1; j < copy_count; ++j) copies[j - 1] = copies[j];
  --copy_count;
  arrive(c);
  return true;
}

const char* unfinished_in_block(unsigned rank) {
  const BlockState& block = blocks[rank];
  if (!block.used) return nullptr;
  for (int i = 0; i < copy_count; ++i)
    if (copies[i].rank == rank) return "a block ended with copies to shared memory under way";
  if (block.reached)
    return "a block ended without barrier.cluster since another reached its shared memory";
  for (int i = 0; i < bulk_count; ++i)
    if (bulk_copies[i].rank == rank) return "a thread ended with bulk copies under way";
  for (const NamedBarrier& b : block.named)
    if (b.arrived) return "a block ended with arrivals at a named barrier that nobody waits for";
  if (products_under_way(rank)) return "a thread ended with products under way";
  const auto& registers = block.registers_of;
  for (unsigned i = 0; i < kMostThreads; ++i)
    if (registers[i] != registers[i / kWarpgroup * kWarpgroup])
      return "warps of one warpgroup have different numbers of registers";
  return nullptr;
}

}  // namespace lacuna::emulator
