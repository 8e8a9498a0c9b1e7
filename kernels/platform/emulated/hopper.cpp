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
/// Whether the block has used anything of this file but stores.
bool used = false;

constexpr unsigned kMostBarriers = 32;
constexpr std::int32_t kMostBytes = (1 << 20) - 1;  // that a phase can expect

/// What a parity does not tell: how many phases of each barrier have ended, and which phase each
/// thread last waited for; -1 is that of parity 1 before the first.
struct BarrierHistory {
  std::uint64_t* barrier;
  int ended;
  int waited_for[kMostThreads];
};
constexpr int kNeverWaited = -2;
BarrierHistory histories[kMostBarriers];
unsigned history_count = 0;

BarrierHistory* find_history(const std::uint64_t* barrier) {
  for (unsigned i = 0; i < history_count; ++i)
    if (histories[i].barrier == barrier) return &histories[i];
  return nullptr;
}
BarrierHistory& history_of(std::uint64_t* barrier) {
  check_aligned(barrier, sizeof *barrier);
  BarrierHistory* found = find_history(barrier);
  if (!found) fail_kernel("a memory barrier that was not initialised");
  return *found;
}
BarrierState& state_of(std::uint64_t* barrier) {
  history_of(barrier);
  return *reinterpret_cast<BarrierState*>(barrier);
}

/// A copy to shared memory: of a box, or of `bytes` that lie one behind the other at `global`.
struct Copy {
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
  unsigned thread, bytes;
  float* global;
  const float* shared;
  bool add, committed, read;
  float values[32 * 1024 / sizeof(float)];
};
constexpr int kMostBulkCopies = 4;
BulkCopy bulk_copies[kMostBulkCopies];
int bulk_count = 0;

struct NamedBarrier {
  unsigned threads, arrived;
  char order[2];
  unsigned passed;
};
NamedBarrier named[16];

/// Which thread's store to each 16 bytes of dynamic shared memory no fence.proxy.async has followed
/// yet, its number plus 1.
constexpr unsigned kChunk = 16;
std::uint16_t stored_by[kWindowEnd / kChunk];
unsigned stored_chunks = 0;

/// setmaxnreg. Registers of each thread, and how many have been given up and not taken yet.
constexpr unsigned kRegisters = 64 * 1024, kWarpgroup = 128;
unsigned registers_of[kMostThreads], free_registers = 0;

void end_phase_if_due(std::uint64_t* barrier) {
  BarrierState& s = state_of(barrier);
  if (s.left > 0 || s.bytes > 0) return;
  s.phase ^= 1;
  ++history_of(barrier).ended;
  s.left = s.arrivals;
  wake(barrier);
}

void copy_box(const Copy& c) {
  const std::uint32_t first = window_address(c.shared);
  for (int r = 0; r < c.map.box_rows; ++r)
    for (int i = 0; i < kBoxColumns; ++i) {
      const std::int64_t row = c.row + r, column = c.column + i;
      BFloat16 value{};
      if (row >= 0 && row < c.map.rows && column >= 0 && column < c.map.columns)
        value = c.map.data[row * c.map.stride + column];
      const std::uint32_t address = first + std::uint32_t(r * kBoxRowBytes + i * 2);
      std::memcpy(at_window_address(swizzled(address)), &value, sizeof value);
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
  end_phase_if_due(c.barrier);
}
void begin_copy(const Copy& c) {
  if (copy_count == kMostCopies) fail_kernel("too many copies to shared memory under way");
  check_aligned(c.barrier, sizeof *c.barrier);
  if (is_stored(c.shared, c.bytes))
    fail_kernel("a copy to what a thread stored without fence.proxy.async");
  std::memset(c.shared, 0xff, c.bytes);
  happens_before(c.shared);
  copies[copy_count++] = c;
}

}  // namespace

unsigned hopper_thread() {
  const unsigned thread = linear_thread();
  if (thread >= kMostThreads) fail_kernel("Hopper's instructions in a block of over 512 threads");
  used = true;
  return thread;
}

void meet_warp(WarpFunction function) {
  const char nothing = 0;
  meet(~0u, function, &nothing, 1);
}

bool is_stored(const void* p, std::size_t bytes) {
  if (stored_chunks == 0) return false;
  const auto first =
      std::size_t(static_cast<const char*>(p) - static_cast<const char*>(dynamic_shared()));
  for (std::size_t i = first / kChunk; i <= (first + bytes - 1) / kChunk; ++i)
    if (stored_by[i]) return true;
  return false;
}

unsigned char* at_window_address(std::uint32_t address) {
  return static_cast<unsigned char*>(dynamic_shared()) + (address - kWindowStart);
}

std::uint32_t window_address(const void* shared) {
  const auto offset = static_cast<const char*>(shared) - static_cast<const char*>(dynamic_shared());
  return kWindowStart + std::uint32_t(offset);
}

void memory_barrier_init(std::uint64_t* barrier, unsigned arrivals) {
  if (find_history(barrier)) fail_kernel("a memory barrier that is initialised twice");
  if (history_count == kMostBarriers) fail_kernel("too many memory barriers");
  used = true;
  BarrierHistory& h = histories[history_count++];
  h.barrier = barrier;
  h.ended = 0;
  for (int& phase : h.waited_for) phase = kNeverWaited;
  state_of(barrier) = {std::uint16_t(arrivals), std::uint16_t(arrivals & 0x7fff), 0, 0};
}

void memory_barrier_arrive(std::uint64_t* barrier, unsigned expected_bytes) {
  BarrierState& s = state_of(barrier);
  if (s.left == 0) fail_kernel("more arrivals at a memory barrier than it counts");
  happens_before(barrier);
  if (s.bytes + std::int64_t{expected_bytes} > kMostBytes)
    fail_kernel("a memory barrier that expects 2^20 bytes or more");
  s.bytes += std::int32_t(expected_bytes);
  s.left = std::uint16_t((s.left - 1) & 0x7fff);
  end_phase_if_due(barrier);
}

void memory_barrier_wait(std::uint64_t* barrier, unsigned parity) {
  BarrierHistory& h = history_of(barrier);
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
  Copy c{shared, 0, barrier, nullptr, {}, column, row};
  std::memcpy(&c.map, map, sizeof c.map);
  c.bytes = unsigned(c.map.box_rows * kBoxRowBytes);
  if (window_address(shared) % 1024) fail_kernel("a swizzled box that is not aligned to 1024");
  begin_copy(c);
}

void linear_copy(void* shared, const void* global, unsigned bytes, std::uint64_t* barrier) {
  if (bytes == 0 || bytes % kChunk) fail_kernel("a bulk copy of a wrong size");
  check_aligned(shared, kChunk);
  check_aligned(global, kChunk);
  begin_copy({shared, bytes, barrier, global, {}, 0, 0});
}

void bulk_begin(float* global, const float* shared, unsigned bytes, bool add) {
  if (bulk_count == kMostBulkCopies) fail_kernel("too many bulk copies under way");
  BulkCopy& c = bulk_copies[bulk_count++];
  if (bytes % kChunk || bytes > sizeof c.values) fail_kernel("a bulk copy of a wrong size");
  check_aligned(global, kChunk);
  check_aligned(shared, kChunk);
  if (is_stored(shared, bytes))
    fail_kernel("a bulk copy of what a thread stored without fence.proxy.async");
  c.thread = hopper_thread();
  c.bytes = bytes;
  c.global = global;
  c.shared = shared;
  c.add = add;
  c.committed = c.read = false;
}

void bulk_commit() {
  for (int i = 0; i < bulk_count; ++i)
    if (bulk_copies[i].thread == hopper_thread()) bulk_copies[i].committed = true;
}

void bulk_wait(bool read) {
  int kept = 0;
  for (int i = 0; i < bulk_count; ++i) {
    BulkCopy& c = bulk_copies[i];
    const bool due = c.committed && c.thread == hopper_thread();
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
  used = true;
  meet_warp(WarpFunction::named_barrier);
  NamedBarrier& b = named[id];
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
  unsigned& mine = registers_of[hopper_thread()];
  if (more ? registers < mine : registers > mine)
    fail_kernel(more ? "setmaxnreg.inc to fewer registers" : "setmaxnreg.dec to more registers");
  if (more)
    while (free_registers < registers - mine) sleep_on(&free_registers);
  free_registers += mine - registers;
  mine = registers;
  if (!more) wake(&free_registers);
}

void generic_store(const void* p, std::size_t bytes) {
  const auto offset =
      std::size_t(static_cast<const char*>(p) - static_cast<const char*>(dynamic_shared()));
  if (offset >= dynamic_shared_bytes()) return;
  for (std::size_t i = offset / kChunk; i <= (offset + bytes - 1) / kChunk; ++i) {
    stored_chunks += stored_by[i] == 0;
    stored_by[i] = std::uint16_t(linear_thread() + 1);
  }
}

void fence_generic_stores() {
  if (stored_chunks == 0) return;
  for (std::uint16_t& thread : stored_by)
    if (thread == linear_thread() + 1) {
      thread = 0;
      --stored_chunks;
    }
}

void begin_block_of_hopper() {
  if (stored_chunks) std::memset(stored_by, 0, sizeof stored_by);
  stored_chunks = 0;
  if (used) {
    copy_count = 0;
    bulk_count = 0;
    history_count = 0;
    std::memset(named, 0, sizeof named);
    forget_products();
  }
  used = false;
  const Index3& block = block_size();
  const unsigned threads = block.x * block.y * block.z;
  for (unsigned& registers : registers_of) registers = kRegisters / threads / 8 * 8;
  free_registers = 0;
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

const char* unfinished_in_block() {
  if (!used) return nullptr;
  if (copy_count) return "a block ended with copies to shared memory under way";
  if (bulk_count) return "a thread ended with bulk copies under way";
  for (const NamedBarrier& b : named)
    if (b.arrived) return "a block ended with arrivals at a named barrier that nobody waits for";
  if (products_under_way()) return "a thread ended with products under way";
  for (unsigned i = 0; i < kMostThreads; ++i)
    if (registers_of[i] != registers_of[i / kWarpgroup * kWarpgroup])
      return "warps of one warpgroup have different numbers of registers";
  return nullptr;
}

}  // namespace lacuna::emulator
