#include <cstring>

#include "core/half.h"
#include "kernels/platform/emulated/hopper.h"
#include "kernels/platform/emulated/hopper_block.h"

// A warpgroup's products (wgmma). Like emulator.cpp, hidden from ThreadSanitizer, and nothing
// allocates while a fiber runs.

namespace lacuna::emulator {
namespace {

/// What the thread's own registers hold while a product adds to them: a signalling NaN, of which
/// arithmetic makes another, so that even `x *= 2` shows.
constexpr std::uint32_t kUndefined = 0xffbfffff;

/// Sums that products under way add to.
struct Sums {
  float* registers;
  unsigned count, products;
  float value[64];
};
constexpr unsigned kMostProducts = 64, kMostGroups = 8, kMostSums = 4, kMostFenced = 8;
struct Queue {
  WarpgroupProduct products[kMostProducts];  // their `d` is of `sums`
  unsigned count, group_end[kMostGroups], groups;
  Sums sums[kMostSums];
  Registers fenced[kMostFenced];
  unsigned fenced_count;
};
Queue queues[kMostClusterBlocks][kMostThreads];
Queue& my_queue() { return queues[block_rank()][hopper_thread()]; }

bool holds(const Registers& r, const void* p) {
  const auto* first = static_cast<const char*>(r.first);
  return p >= first && p < first + r.bytes;
}
bool any_holds(RegisterList list, const void* p) {
  for (const Registers& r : list)
    if (holds(r, p)) return true;
  return false;
}

void check_fenced(const Queue& q, const void* registers) {
  for (unsigned i = 0; i < q.fenced_count; ++i)
    if (holds(q.fenced[i], registers)) return;
  fail_kernel("a product's registers were not named in a wgmma.fence since they were in use");
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
    if (is_stored(at_window_address(address), 2))
      fail_kernel("a product reads what a thread stored without fence.proxy.async");
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
        other->a_by_columns != p.a_by_columns || other->b_by_columns != p.b_by_columns ||
        other->accumulate != p.accumulate || other->a_descriptor != p.a_descriptor ||
        other->b_descriptor != p.b_descriptor)
      fail_kernel("lanes of one warp ask for different products");
  const unsigned warp = linear_thread() / 32 % 4;
  if (p.a_in_shared_memory) {
    const Tile tile(p.a_descriptor);
    for (unsigned row = 0; row < 16; ++row)
      for (unsigned k = 0; k < 16; ++k)
        a[row][k] =
            p.a_by_columns ? tile.by_columns(16 * warp + row, k) : tile.by_rows(16 * warp + row, k);
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

/// Of the first `end` products, which have been done: their registers are the thread's again.
void finish_products(Queue& q, unsigned end, RegisterList finished) {
  for (unsigned i = 0; i < end; ++i) {
    const WarpgroupProduct& p = q.products[i];
    if (p.a_registers && !any_holds(finished, p.a_registers))
      fail_kernel("a wait that does not name the registers of a product that it ends");
    if (p.a_registers && std::memcmp(p.a_registers, p.a, sizeof p.a) != 0)
      fail_kernel("a product's first factor was written while it was under way");
    for (Sums& s : q.sums)
      if (p.d == s.value) --s.products;
  }
  for (Sums& s : q.sums) {
    if (!s.registers || s.products) continue;
    if (!any_holds(finished, s.registers))
      fail_kernel("a wait that does not name the registers of a product that it ends");
    for (unsigned i = 0; i < s.count; ++i)
      if (std::memcmp(s.registers + i, &kUndefined, sizeof kUndefined) != 0)
        fail_kernel("a product's sums were written while it was under way");
    std::memcpy(s.registers, s.value, s.count * sizeof(float));
    s.registers = nullptr;
  }
}

}  // namespace

void products_fence(RegisterList registers) {
  meet_warp(WarpFunction::warpgroup_fence);
  Queue& q = my_queue();
  for (const Registers& r : registers) {
    if (q.fenced_count == kMostFenced) fail_kernel("too many registers in use by products");
    q.fenced[q.fenced_count++] = r;
  }
}

void product_begin(const WarpgroupProduct& product) {
  Queue& q = my_queue();
  if (q.count == kMostProducts) fail_kernel("too many products under way");
  check_fenced(q, product.d);
  if (product.a_registers) check_fenced(q, product.a_registers);
  Sums* sums = nullptr;
  for (Sums& s : q.sums)
    if (s.products && s.registers == product.d) sums = &s;
  for (Sums& s : q.sums)
    if (!sums && s.products == 0) {
      sums = &s;
      s.registers = product.d;
      s.count = unsigned(product.columns) / 2;
      std::memcpy(s.value, product.d, s.count * sizeof(float));
      for (unsigned i = 0; i < s.count; ++i)
        std::memcpy(product.d + i, &kUndefined, sizeof kUndefined);
    }
  if (!sums) fail_kernel("products under way add to too many sums");
  ++sums->products;
  q.products[q.count] = product;
  q.products[q.count++].d = sums->value;
}

void products_commit() {
  meet_warp(WarpFunction::warpgroup_commit);
  Queue& q = my_queue();
  if (q.groups == kMostGroups) fail_kernel("too many groups of products");
  q.group_end[q.groups++] = q.count;
}

void products_wait(unsigned groups_left, RegisterList finished) {
  meet_warp(WarpFunction::warpgroup_wait);
  Queue& q = my_queue();
  unsigned end = 0;
  if (q.groups > groups_left) {
    const unsigned groups = q.groups - groups_left;
    end = q.group_end[groups - 1];
    for (unsigned i = 0; i < end; ++i) {
      const WarpgroupProduct* product = &q.products[i];
      meet(~0u, WarpFunction::warpgroup_multiply, &product, sizeof product, multiply_warp_rows);
    }
    for (unsigned g = groups; g < q.groups; ++g) q.group_end[g - groups] = q.group_end[g] - end;
    q.groups -= groups;
  }
  finish_products(q, end, finished);
  for (unsigned i = end; i < q.count; ++i) q.products[i - end] = q.products[i];
  q.count -= end;
  for (const Sums& s : q.sums)
    if (s.registers && any_holds(finished, s.registers))
      fail_kernel("a wait that names registers of a product still under way");
  for (unsigned i = 0; i < q.count; ++i)
    if (q.products[i].a_registers && any_holds(finished, q.products[i].a_registers))
      fail_kernel("a wait that names registers of a product still under way");
  unsigned kept = 0;
  for (unsigned i = 0; i < q.fenced_count; ++i)
    if (!any_holds(finished, q.fenced[i].first)) q.fenced[kept++] = q.fenced[i];
  q.fenced_count = kept;
}

bool products_under_way(unsigned rank) {
  for (const Queue& q : queues[rank])
    if (q.count) return true;
  return false;
}

void forget_products(unsigned rank) {
  for (Queue& q : queues[rank]) {
    q.count = q.groups = q.fenced_count = 0;
    for (Sums& sums : q.sums) {
      sums.registers = nullptr;
      sums.products = 0;
    }
  }
}

}  // namespace lacuna::emulator
