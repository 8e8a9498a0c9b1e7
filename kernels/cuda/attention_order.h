#pragma once
#include "kernels/platform/intrinsics.h"

// In which order blocks of the Hopper attention kernels take tiles and heads. A tile is named by
// its slot (tile_in_slot).

namespace lacuna::hopper {

/// Of tiles of queries and heads, for blocks that take one after another, each the next: heads in
/// sections of `section_heads`, a divisor of all, whose keys and values fit the L2 cache together;
/// in a section the last tiles first, which see the most by a causal mask, so that blocks end
/// together.
struct ItemOrder {
  int slots, section_heads, count;

  __host__ __device__ constexpr int slot(int item) const {
    return slots - 1 - item / section_heads % slots;
  }
  __host__ __device__ constexpr int head(int item) const {
    return item / (section_heads * slots) * section_heads + item % section_heads;
  }
};

/// Of tiles of keys and key heads, for blocks of which each has one, by its ticket: the tiles of a
/// head in ascending order, those of kTogether heads beside each other, so that few blocks of a
/// head run at the same time, while what all of them read and add to still fits the L2 cache.
struct TicketOrder {
  static constexpr int kTogether = 8;
  int slots, heads;

  __host__ __device__ constexpr int slot(int ticket) const {
    return place(ticket) / beside(ticket);
  }
  __host__ __device__ constexpr int head(int ticket) const {
    return first_head(ticket) + place(ticket) % beside(ticket);
  }

 private:
  __host__ __device__ constexpr int first_head(int ticket) const {
    return ticket / (kTogether * slots) * kTogether;
  }
  __host__ __device__ constexpr int place(int ticket) const {
    return ticket - first_head(ticket) * slots;
  }
  __host__ __device__ constexpr int beside(int ticket) const {
    const int left = heads - first_head(ticket);
    return left < kTogether ? left : kTogether;
  }
};

}  // namespace lacuna::hopper
