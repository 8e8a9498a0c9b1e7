#include "kernels/emulator/hopper.h"

#include <cstring>

#include "core/half.h"
#include "kernels/cuda/hopper.h"
#include "kernels/emulator/emulator.h"
#include "kernels/emulator/fiber.h"

// Like emulator.cpp, hidden from ThreadSanitizer, and nothing allocates while a fiber runs.

namespace lacuna::emulator {
namespace {

constexpr std::uint32_t kWindowStart = 128;  // static shared memory lies before the dynamic
constexpr std::uint32_t kWindowEnd = 1u << 18;

struct BarrierState {
  std::uint16_t arrivals;
  std::uint16_t left : 15, phase : 1;
  std::int32_t bytes;  // expected and not yet come
};
static_assert(sizeof(BarrierState) == sizeof(MemoryBarrier));
BarrierState& state_of(std::uint64_t* barrier) {
  check_aligned(barrier, sizeof *barrier);
  return *reinterpret_cast<BarrierState*>(barrier);
}

struct BoxCopy {
  void* shared;
  BoxMap map;
  int column, row;
  std::uint64_t* barrier;
};
constexpr int kMostCopies = 64;
BoxCopy copies[kMostCopies];
int copy_count = 0;
std::uint32_t lottery = 1;

struct NamedBarrier {
  unsigned threads, arrived;
  char order[2];
  unsigned passed;
};
NamedBarrier named[16];

constexpr unsigned kMostThreads = 512, kMostProducts = 64, kMostGroups = 8;
struct Queue {
  WarpgroupProduct products[kMostProducts];
  unsigned count, group_end[kMostGroups], groups;
};
Queue queues[kMostThreads];
Queue& my_queue() {
  const unsigned thread = linear_thread();
  if (thread >= kMostThreads) fail_kernel("a warpgroup's product in a block of over 512 threads");
  return queues[thread];
}

void end_phase_if_due(std::uint64_t* barrier) {
  BarrierState& s = state_of(barrier);
  if (s.left > 0 || s.bytes > 0) return;
  s.phase ^= 1;
  s.left = s.arrivals;
  wake(barrier);
}

unsigned char* at_window_address(std::uint32_t address) {
  return static_cast<unsigned char*>(dynamic_shared()) + (address - kWindowStart);
}
/// The 128-byte swizzle is a function of address bits alone.
std::uint32_t swizzled(std::uint32_t address) { return address ^ (address >> 7 & 7) << 4; }

/// After what the thread that asked for it had done, and before what waits for its barrier.
void copy_box(const BoxCopy& c) {
  happens_after(c.shared);
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
  happens_before(c.barrier);
  state_of(c.barrier).bytes -= c.map.box_rows * kBoxRowBytes;
  end_phase_if_due(c.barrier);
}

/// What a descriptor says, all in bytes.
struct Tile {
  explicit Tile(std::uint64_t d)
      : start(std::uint32_t(d & 0x3fff) << 4),
        leading(std::uint32_t(d >> 16 & 0x3fff) << 4),
        stride(std::uint32_t(d >> 32 & 0x3fff) << 4) {
    if (d >> 62 != 1) fail_kernel("a matrix descriptor without the 128-byte swizzle");
    if (d >> 49 & 7) fail_kernel("a matrix descriptor with a base offset");
  }
  float element(std::uint32_t offset) const {
    const std::uint32_t address = swizzled(start + offset);
    if (address < kWindowStart || address + 2 > kWindowEnd)
      fail_kernel("a matrix descriptor outside of shared memory");
    BFloat16 x;
    std::memcpy(&x, at_window_address(address), sizeof x);
    return to_float(x);
  }
  /// Of a tile read by rows (K-major), k < 16.
  float by_rows(std::uint32_t row, std::uint32_t k) const {
    return element(row / 8 * stride + row % 8 * 128 + k * 2);
  }
  /// Of one read by columns (MN-major): column n of row k.
  float by_columns(std::uint32_t n, std::uint32_t k) const {
    return element(n / 64 * leading + n % 64 * 2 + k / 8 * stride + k % 8 * 128);
  }
  std::uint32_t start, leading, stride;
};

/// 16 rows of a product, those of one warp. Which lane holds what: PTX ISA, "Register Fragments for
/// wgmma.mma_async.m64nNk16"; the warp's rows of A and D are laid out as in mma.m16n8k16.
void multiply_warp_rows(WarpSlots& slots) {
  static float a[16][16], b[16][128];
  const WarpgroupProduct* lanes[32];
  for (unsigned lane = 0; lane < 32; ++lane)
    lanes[lane] = slots.read<const WarpgroupProduct*>(lane);
  const WarpgroupProduct& p = *lanes[0];
  for (const WarpgroupProduct* other : lanes)
    if (other->columns != p.columns || other->a_in_shared_memory != p.a_in_shared_memory ||
        other->b_by_columns != p.b_by_columns || other->accumulate != p.accumulate ||
        other->a_descriptor != p.a_descriptor || other->b_descriptor != p.b_descriptor)
      fail_kernel("lanes of one warp ask for different products");
  const unsigned warp = linear_thread() / 32 % 4;
  if (p.a_in_shared_memory) {
    const Tile tile(p.a_descriptor);
    for (unsigned row = 0; row < 16; ++row)
      for (unsigned k = 0; k < 16; ++k) a[row][k] = tile.by_rows(16 * warp + row, k);
  } else {
    for (unsigned lane = 0; lane < 32; ++lane)
      for (unsigned i = 0; i < 4; ++i) {
        const std::uint32_t pair = lanes[lane]->a[i];
        float* at = &a[lane / 4 + i % 2 * 8][2 * (lane % 4) + i / 2 * 8];
        at[0] = to_float(BFloat16{std::uint16_t(pair)});
        at[1] = to_float(BFloat16{std::uint16_t(pair >> 16)});
      }
  }
  const Tile tile(p.b_descriptor);
  for (unsigned n = 0; n < unsigned(p.columns); ++n)
    for (unsigned k = 0; k < 16; ++k)
      b[k][n] = p.b_by_columns ? tile.by_columns(n, k) : tile.by_rows(n, k);
  for (unsigned lane = 0; lane < 32; ++lane)
    for (unsigned i = 0; i < unsigned(p.columns) / 2; ++i) {
      const unsigned row = lane / 4 + i % 4 / 2 * 8, n = i / 4 * 8 + 2 * (lane % 4) + i % 2;
      float sum = p.accumulate ? lanes[lane]->d[i] : 0.0f;
      for (unsigned k = 0; k < 16; ++k) sum += a[row][k] * b[k][n];
      lanes[lane]->d[i] = sum;
    }
}

}  // namespace

std::uint32_t window_address(const void* shared) {
  const auto offset = static_cast<const char*>(shared) - static_cast<const char*>(dynamic_shared());
  return kWindowStart + std::uint32_t(offset);
}

void memory_barrier_init(std::uint64_t* barrier, unsigned arrivals) {
  state_of(barrier) = {std::uint16_t(arrivals), std::uint16_t(arrivals & 0x7fff), 0, 0};
}

void memory_barrier_arrive(std::uint64_t* barrier, unsigned expected_bytes) {
  BarrierState& s = state_of(barrier);
  if (s.left == 0) fail_kernel("more arrivals at a memory barrier than it counts");
  happens_before(barrier);
  s.bytes += std::int32_t(expected_bytes);
  s.left = std::uint16_t((s.left - 1) & 0x7fff);
  end_phase_if_due(barrier);
}

void memory_barrier_wait(std::uint64_t* barrier, unsigned parity) {
  while (state_of(barrier).phase == (parity & 1)) sleep_on(barrier);
  happens_after(barrier);
}

void box_copy(void* shared, const unsigned char* map, int column, int row, std::uint64_t* barrier) {
  if (copy_count == kMostCopies) fail_kernel("too many copies of boxes under way");
  BoxCopy c{shared, {}, column, row, barrier};
  std::memcpy(&c.map, map, sizeof c.map);
  check_aligned(barrier, sizeof *barrier);
  if (window_address(shared) % 1024) fail_kernel("a swizzled box that is not aligned to 1024");
  std::memset(shared, 0xff, std::size_t(c.map.box_rows * kBoxRowBytes));
  happens_before(shared);
  copies[copy_count++] = c;
}

void named_barrier(unsigned id, unsigned count) {
  if (id == 0 || id > 15) fail_kernel("a named barrier that is not 1 to 15");
  NamedBarrier& b = named[id];
  if (b.arrived && b.threads != count) fail_kernel("a named barrier of different sizes");
  b.threads = count;
  char* order = &b.order[b.passed % 2];
  happens_before(order);
  if (++b.arrived == count) {
    b.arrived = 0;
    ++b.passed;
    wake(&b);
  } else {
    sleep_on(&b);
  }
  happens_after(order);
}

void product_begin(const WarpgroupProduct& product) {
  Queue& q = my_queue();
  if (q.count == kMostProducts) fail_kernel("too many products under way");
  q.products[q.count++] = product;
}

void products_commit() {
  Queue& q = my_queue();
  if (q.groups == kMostGroups) fail_kernel("too many groups of products");
  q.group_end[q.groups++] = q.count;
}

void products_wait(unsigned groups_left) {
  Queue& q = my_queue();
  if (q.groups <= groups_left) return;
  const unsigned groups = q.groups - groups_left, end = q.group_end[groups - 1];
  for (unsigned i = 0; i < end; ++i) {
    const WarpgroupProduct* product = &q.products[i];
    meet(~0u, WarpFunction::warpgroup_multiply, &product, sizeof product, multiply_warp_rows);
  }
  for (unsigned i = end; i < q.count; ++i) q.products[i - end] = q.products[i];
  q.count -= end;
  for (unsigned g = groups; g < q.groups; ++g) q.group_end[g - groups] = q.group_end[g] - end;
  q.groups -= groups;
}

void begin_block_of_hopper() {
  copy_count = 0;
  std::memset(named, 0, sizeof named);
  for (Queue& q : queues) q.count = q.groups = 0;
}

bool run_late_copy() {
  if (copy_count == 0) return false;
  lottery = lottery * 1664525u + 1013904223u;
  const int i = order() == Order::forward   ? 0
                : order() == Order::reverse ? copy_count - 1
                                            : int((lottery >> 16) % unsigned(copy_count));
  const BoxCopy c = copies[i];
  for (int j = i + 1; j < copy_count; ++j) copies[j - 1] = copies[j];
  --copy_count;
  copy_box(c);
  return true;
}

const char* unfinished_in_block() {
  if (copy_count) return "a block ended with copies of boxes under way";
  for (const Queue& q : queues)
    if (q.count) return "a thread ended with products under way";
  return nullptr;
}

}  // namespace lacuna::emulator
