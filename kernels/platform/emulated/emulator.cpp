#include "kernels/platform/emulated/emulator.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "core/check.h"
#include "kernels/platform/emulated/device_memory.h"
#include "kernels/platform/emulated/fiber.h"
#include "kernels/platform/emulated/hopper.h"
#include "kernels/platform/emulated/hopper_block.h"

// ThreadSanitizer must not see this file's own accesses, which one operating-system thread makes on
// behalf of all fibers: it is compiled without, and nothing here allocates while a fiber runs.

namespace lacuna::emulator {
namespace {

constexpr unsigned kWarp = 32, kMaxThreads = 1024, kMaxCopies = 256, kMaxGroups = 16;
/// Kept for static __shared__ arrays, whose size is not known here.
constexpr std::size_t kStaticShared = 1024;

enum class State : std::uint8_t { ready, waiting, done };
enum class Waiting : std::uint8_t { nothing, barrier, cluster_barrier, warp_function, event };

struct AsyncCopy {
  void* to;
  const void* from;
  unsigned bytes, valid;
};

struct Barrier {
  unsigned arrived = 0, passed = 0;
  int votes = 0, result = 0;
  // Addresses that stand for an order in ThreadSanitizer's eyes, used in turn: a thread that wakes
  // late must not be ordered after what others did on their way to the next one.
  char order[2] = {};
};

/// One of the blocks that run together.
struct Block {
  Index3 id{};
  unsigned rank = 0, live = 0;  // its threads that have not ended
  void* shared = nullptr;
  Barrier barrier;
};

struct Thread {
  Fiber fiber;
  Block* block = nullptr;
  Index3 index{};
  unsigned linear = 0;
  State state = State::ready;
  Waiting waiting = Waiting::nothing;
  const void* event = nullptr;
  AsyncCopy copies[kMaxCopies];
  unsigned copy_count = 0, group_end[kMaxGroups], group_count = 0;
};

/// A meeting of the lanes of one mask. Two sets of slots: a lane may already bring its next value
/// while others still read the last ones.
struct Meeting {
  unsigned mask = 0, arrived = 0;
  WarpFunction function{};
  unsigned parity = 0;
  WarpSlots slots[2];
};

/// Masks in use at the same time by one warp.
constexpr unsigned kMasks = 8;
struct Warp {
  Meeting meetings[kMasks];
};

std::mutex one_launch;
Order chosen_order = Order::forward;
std::mt19937_64 shuffler{1};

// Never destroyed: a stream's thread may still run a kernel when the process ends.
auto& threads = *new std::vector<std::unique_ptr<Thread>>;
auto& warps = *new std::vector<Warp>;
Thread* current = nullptr;
Block blocks[kMostClusterBlocks];
unsigned thread_count = 0, warp_count = 0;  // of a block
unsigned block_count = 0, live = 0;         // of the cluster: blocks, threads that have not ended
Barrier of_cluster;
Index3 block_extent, grid_extent;
std::size_t shared_bytes = 0;
void (*kernel_body)(void*) = nullptr;
void* kernel_argument = nullptr;
const char* failure = nullptr;
char block_begins, block_ends;  // like Barrier::order

Thread& thread_of(const Block& block, unsigned linear) {
  return *threads[block.rank * thread_count + linear];
}
Warp& warp_of(const Thread& t) { return warps[t.block->rank * warp_count + t.linear / kWarp]; }

void wait_for(Waiting what) {
  current->state = State::waiting;
  current->waiting = what;
  happens_before(&block_ends);  // should the launch fail while this thread waits
  current->fiber.leave(false);
}

/// Of a block, or of the cluster.
void release(Barrier& barrier) {
  const Waiting at = &barrier == &of_cluster ? Waiting::cluster_barrier : Waiting::barrier;
  for (unsigned i = 0; i < block_count * thread_count; ++i) {
    Thread& t = *threads[i];
    if (t.state == State::waiting && t.waiting == at &&
        (&barrier == &of_cluster || &t.block->barrier == &barrier))
      t.state = State::ready;
  }
  barrier.result = barrier.votes;
  barrier.votes = 0;
  barrier.arrived = 0;
  ++barrier.passed;
  if (&barrier == &of_cluster) cluster_barrier_passed();
}

/// `expected`: threads that come here.
int wait_at(Barrier& barrier, unsigned expected, bool predicate) {
  char* order = &barrier.order[barrier.passed % 2];
  barrier.votes += predicate;
  happens_before(order);
  if (++barrier.arrived == expected)
    release(barrier);
  else
    wait_for(&barrier == &of_cluster ? Waiting::cluster_barrier : Waiting::barrier);
  happens_after(order);
  return barrier.result;
}

void thread_main() {
  happens_after(&block_begins);
  kernel_body(kernel_argument);
  if (current->copy_count) fail_kernel("a thread ended with asynchronous copies under way");
  happens_before(&block_ends);
  current->state = State::done;
  Block& block = *current->block;
  --block.live;
  --live;
  // Threads that have ended count as arrived.
  if (block.barrier.arrived && block.barrier.arrived == block.live) release(block.barrier);
  if (of_cluster.arrived && of_cluster.arrived == live) release(of_cluster);
  current->fiber.leave(true);
}

std::string where_threads_wait() {
  const char* const names[] = {
      "warp sync",        "shuffle",    "ballot",      "load_matrix",
      "multiply",         "wgmma",      "wgmma.fence", "wgmma.commit_group",
      "wgmma.wait_group", "setmaxnreg", "bar.sync"};
  std::string text;
  unsigned shown = 0;
  for (unsigned i = 0; i < block_count * thread_count && shown < 4; ++i) {
    const Thread& t = *threads[i];
    if (t.state != State::waiting) continue;
    std::string what = t.waiting == Waiting::event             ? "a barrier in memory"
                       : t.waiting == Waiting::cluster_barrier ? "barrier.cluster"
                                                               : "__syncthreads";
    if (t.waiting == Waiting::warp_function)
      for (const Meeting& m : warp_of(t).meetings)
        if (m.arrived >> t.linear % kWarp & 1) what = names[int(m.function)];
    text += str(shown++ ? ", " : "; ", "thread ", t.linear);
    if (block_count > 1) text += str(" of block ", t.block->rank, " of the cluster");
    text += str(" waits at ", what);
  }
  return text;
}

[[noreturn]] void throw_failure(const char* op) {
  happens_after(&block_ends);
  const Index3& id = current->block->id;
  const std::string what = str(op, ": emulator: ", failure, " (block ", id.x, ",", id.y, ",", id.z,
                               " thread ", current->linear, ")", where_threads_wait());
  failure = nullptr;
  fail(what);
}

struct Released {
  void operator()(void* p) const { std::free(p); }
};
using SharedMemory = std::unique_ptr<void, Released>;

/// Makes blocks[rank] that of this id.
SharedMemory begin_block(const char* op, unsigned rank, Index3 id) {
  Block& block = blocks[rank];
  block = {};
  block.id = id;
  block.rank = rank;
  block.live = thread_count;
  // Of exactly the size asked for, so that AddressSanitizer sees an access beyond it.
  CHECK(posix_memalign(&block.shared, 128, shared_bytes) == 0, op, ": emulator: no memory");
  SharedMemory memory(block.shared);
  std::memset(block.shared, 0xff, shared_bytes);
  begin_block_of_hopper(rank);
  for (unsigned i = 0; i < thread_count; ++i) {
    Thread& t = thread_of(block, i);
    t.block = &block;
    t.index = {i % block_extent.x, i / block_extent.x % block_extent.y,
               i / (block_extent.x * block_extent.y)};
    t.linear = i;
    t.state = State::ready;
    t.copy_count = t.group_count = 0;
    t.fiber.start(thread_main);
  }
  return memory;
}

/// Runs the blocks of a cluster, of which `first` is the first.
void run_cluster(const char* op, Index3 first, std::vector<unsigned>& turn) {
  SharedMemory memory[kMostClusterBlocks];
  for (Warp& w : warps)
    for (Meeting& m : w.meetings) m.mask = m.arrived = 0;
  of_cluster = {};
  for (unsigned rank = 0; rank < block_count; ++rank)
    memory[rank] = begin_block(op, rank, {first.x + rank, first.y, first.z});
  if (chosen_order == Order::shuffled) std::shuffle(turn.begin(), turn.end(), shuffler);
  live = block_count * thread_count;
  happens_before(&block_begins);
  while (live) {
    bool ran = false;
    for (const unsigned i : turn) {
      if (threads[i]->state != State::ready) continue;
      ran = true;
      current = threads[i].get();
      current->fiber.enter();
      if (!failure && current->block->live == 0)
        failure = unfinished_in_block(current->block->rank);
      if (failure) throw_failure(op);
    }
    if (!ran && !run_late_copy()) {
      failure = "a barrier or warp function was not reached by all its threads";
      throw_failure(op);
    }
  }
  current = nullptr;
  happens_after(&block_ends);
}

/// 0..n-1 in the chosen order.
std::vector<unsigned> in_order(unsigned n) {
  std::vector<unsigned> turn(n);
  std::iota(turn.begin(), turn.end(), 0u);
  if (chosen_order == Order::reverse) std::reverse(turn.begin(), turn.end());
  if (chosen_order == Order::shuffled) std::shuffle(turn.begin(), turn.end(), shuffler);
  return turn;
}

}  // namespace

void set_order(Order order, std::uint64_t seed) {
  const std::lock_guard lock(one_launch);
  chosen_order = order;
  shuffler.seed(seed);
}

Order order() { return chosen_order; }

void run(const KernelLaunch& launch, void (*body)(void*), void* argument) {
  const std::lock_guard lock(one_launch);
  const DeviceAccess access;
  const char* op = launch.op;
  const Index3 &grid = launch.grid, &block = launch.block;
  thread_count = block.x * block.y * block.z;
  block_count = launch.cluster;
  // Of shared memory as much as sm_90 has: Device::shared_memory() says what portable kernels may
  // ask for.
  CHECK(thread_count >= 1 && thread_count <= kMaxThreads && block.z <= 64, op, ": a block of ",
        block.x, "x", block.y, "x", block.z, " threads");
  CHECK(grid.x <= 0x7fffffffu && grid.y <= 65535 && grid.z <= 65535, op, ": a grid of ", grid.x,
        "x", grid.y, "x", grid.z, " blocks");
  CHECK(block_count >= 1 && block_count <= kMostClusterBlocks && grid.x % block_count == 0, op,
        ": clusters of ", block_count, " blocks in a grid of ", grid.x);
  CHECK(launch.shared + kStaticShared <= 227 * 1024, op, ": ", launch.shared,
        " bytes of dynamic shared memory");
  while (threads.size() < block_count * thread_count) threads.push_back(std::make_unique<Thread>());
  warp_count = (thread_count + kWarp - 1) / kWarp;
  warps.resize(block_count * warp_count);
  kernel_body = body;
  kernel_argument = argument;
  block_extent = block;
  grid_extent = grid;
  shared_bytes = launch.shared;
  std::vector<unsigned> turn = in_order(block_count * thread_count);
  const unsigned row = grid.x / block_count;
  for (const unsigned c : in_order(row * grid.y * grid.z))  // the emulator's grids are small
    run_cluster(op, {c % row * block_count, c / row % grid.y, c / (row * grid.y)}, turn);
}

const Index3& thread_index() { return current->index; }
const Index3& block_index() { return current->block->id; }
const Index3& block_size() { return block_extent; }
const Index3& grid_size() { return grid_extent; }
unsigned lane() { return current->linear % kWarp; }
unsigned linear_thread() { return current->linear; }
void* dynamic_shared() { return current->block->shared; }
std::size_t dynamic_shared_bytes() { return shared_bytes; }
unsigned block_rank() { return current->block->rank; }
unsigned cluster_blocks() { return block_count; }
void* shared_of(unsigned rank) { return blocks[rank].shared; }
bool has_ended(unsigned rank) { return blocks[rank].live == 0; }

void sleep_on(const void* event) {
  current->event = event;
  wait_for(Waiting::event);
}

void wake(const void* event) {
  for (unsigned i = 0; i < block_count * thread_count; ++i) {
    Thread& t = *threads[i];
    if (t.state == State::waiting && t.waiting == Waiting::event && t.event == event)
      t.state = State::ready;
  }
}

void fail_kernel(const char* what) {
  failure = what;
  happens_before(&block_ends);
  current->fiber.leave(false);
  std::abort();  // the launch has ended; nobody comes back here
}

int barrier(bool predicate) {
  Block& block = *current->block;
  return wait_at(block.barrier, block.live, predicate);
}
void cluster_barrier() { wait_at(of_cluster, live, false); }

// Copied byte by byte through volatile: neither memcpy's interceptors nor the compiler's vectors
// may make a race of what hardware does in registers.
void WarpSlots::read(unsigned lane, void* to, unsigned count) const {
  for (unsigned i = 0; i < count; ++i)
    static_cast<volatile unsigned char*>(to)[i] = bytes[lane % kWarp][i];
}

void WarpSlots::write(unsigned lane, const void* from, unsigned count) {
  for (unsigned i = 0; i < count; ++i)
    bytes[lane % kWarp][i] = static_cast<const volatile unsigned char*>(from)[i];
}

const WarpSlots& meet(unsigned mask, WarpFunction function, const void* in, unsigned bytes,
                      void (*last)(WarpSlots&)) {
  const unsigned mine = lane(), first = current->linear - mine;
  Warp& warp = warp_of(*current);
  if (!(mask >> mine & 1)) fail_kernel("a lane is not in the mask it gave");
  if (bytes > kSlotBytes) fail_kernel("a value too large for a warp function");
  if (thread_count - first < kWarp) mask &= (1u << (thread_count - first)) - 1;
  Meeting* m = nullptr;
  for (Meeting& other : warp.meetings) {
    if (other.mask == mask)
      m = &other;
    else if (other.arrived && (other.mask & mask))
      fail_kernel("lanes of one warp meet under different masks");
  }
  if (!m) {
    for (Meeting& other : warp.meetings)
      if (!m && !other.mask) m = &other;
    if (!m) fail_kernel("too many masks in use by one warp");
    m->mask = mask;
  }
  if (m->arrived && m->function != function)
    fail_kernel("lanes of one warp call different warp functions");
  m->function = function;
  WarpSlots& slots = m->slots[m->parity];
  slots.write(mine, in, bytes);
  m->arrived |= 1u << mine;
  if (function == WarpFunction::sync) happens_before(&slots);
  if (m->arrived == mask) {
    if (last) last(slots);
    // wgmma.wait_group: whichever lane goes on, the warp's product has read its tiles.
    if (function == WarpFunction::warpgroup_multiply) happens_before(&slots);
    m->arrived = 0;
    m->parity ^= 1;
    for (unsigned i = 0; i < kWarp; ++i)
      if (i != mine && (mask >> i & 1)) thread_of(*current->block, first + i).state = State::ready;
  } else {
    wait_for(Waiting::warp_function);
  }
  if (function == WarpFunction::sync || function == WarpFunction::warpgroup_multiply)
    happens_after(&slots);
  return slots;
}

void async_copy(void* shared, const void* global, unsigned bytes, unsigned valid) {
  check_aligned(shared, bytes);
  check_aligned(global, bytes);
  Thread& t = *current;
  if (t.copy_count == kMaxCopies) fail_kernel("too many asynchronous copies under way");
  std::memset(shared, 0xff, bytes);  // undefined until the wait
  t.copies[t.copy_count++] = {shared, global, bytes, valid};
}

void async_commit() {
  Thread& t = *current;
  if (t.group_count == kMaxGroups) fail_kernel("too many groups of asynchronous copies");
  t.group_end[t.group_count++] = t.copy_count;
}

void async_wait(unsigned groups_left) {
  Thread& t = *current;
  if (t.group_count <= groups_left) return;
  const unsigned groups = t.group_count - groups_left, end = t.group_end[groups - 1];
  for (unsigned i = 0; i < end; ++i) {
    const AsyncCopy& c = t.copies[i];
    std::memset(c.to, 0, c.bytes);
    if (c.valid) std::memcpy(c.to, c.from, c.valid);
  }
  std::copy(t.copies + end, t.copies + t.copy_count, t.copies);
  t.copy_count -= end;
  for (unsigned g = groups; g < t.group_count; ++g) t.group_end[g - groups] = t.group_end[g] - end;
  t.group_count -= groups;
}

}  // namespace lacuna::emulator
