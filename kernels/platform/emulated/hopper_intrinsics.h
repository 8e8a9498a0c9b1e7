#pragma once
#include "kernels/platform/emulated/hopper.h"

// Of the emulator. For kernels/platform/hopper_intrinsics.h alone.

#define __grid_constant__

namespace lacuna {

/// A test compiles the kernels as a build for other architectures has them.
#if defined(LACUNA_WITHOUT_HOPPER_CODE)
inline constexpr bool kHopperCode = false;
#else
inline constexpr bool kHopperCode = true;
#endif

inline std::uint32_t window_address(const void* shared) { return emulator::window_address(shared); }
inline void barrier_init(MemoryBarrier* b, unsigned arrivals) {
  emulator::memory_barrier_init(b, arrivals);
}
inline void barrier_init_done() {}
inline void barrier_arrive(MemoryBarrier* b) { emulator::memory_barrier_arrive(b, 0); }
inline void barrier_arrive_expecting(MemoryBarrier* b, unsigned bytes) {
  emulator::memory_barrier_arrive(b, bytes);
}
inline void barrier_wait(MemoryBarrier* b, unsigned parity) {
  emulator::memory_barrier_wait(b, parity);
}
inline unsigned block_rank() { return emulator::block_rank(); }
inline void sync_cluster() { emulator::cluster_barrier(); }
inline void barrier_arrive_at(MemoryBarrier* b, unsigned rank) {
  emulator::memory_barrier_arrive_at(b, rank);
}
inline void tma_load(void* shared, const TensorMap& map, int column, int row, MemoryBarrier* b) {
  emulator::box_copy(shared, map.bytes, column, row, b);
}
inline void tma_multicast(void* shared, const TensorMap& map, int column, int row, MemoryBarrier* b,
                          unsigned blocks) {
  emulator::box_multicast(shared, map.bytes, column, row, b, blocks);
}
inline void bulk_load(void* shared, const void* global, unsigned bytes, MemoryBarrier* b) {
  emulator::linear_copy(shared, global, bytes, b);
}
inline void tma_prefetch(const TensorMap&) {}
template <int n>
void fewer_registers() {
  emulator::set_registers(n, false);
}
template <int n>
void more_registers() {
  emulator::set_registers(n, true);
}
template <int id, int threads = 128>
void sync_warpgroups() {
  emulator::named_barrier(id, threads, true);
}
template <int id, int threads>
void arrive_warpgroups() {
  emulator::named_barrier(id, threads, false);
}
inline void fence_proxy_async() { emulator::fence_generic_stores(); }
inline void bulk_store(float* global, const float* shared, unsigned bytes) {
  emulator::bulk_begin(global, shared, bytes, false);
}
inline void bulk_add(float* global, const float* shared, unsigned bytes) {
  emulator::bulk_begin(global, shared, bytes, true);
}
inline void bulk_commit() { emulator::bulk_commit(); }
inline void bulk_wait_read() { emulator::bulk_wait(true); }
inline void bulk_wait() { emulator::bulk_wait(false); }
inline int take_ticket(std::int32_t* tickets) { return (*tickets)++; }
inline void wait_for_turn(const std::int32_t* turns, int mine) {
  if (*turns != mine) emulator::fail_kernel("a block waits for a turn that no block has ended");
}
inline void end_turn(std::int32_t* turns) { ++*turns; }
template <class... Registers>
void wgmma_fence(Registers&... registers) {
  emulator::products_fence({{&registers, sizeof registers}...});
}
inline void wgmma_commit() { emulator::products_commit(); }
template <int n, class... Registers>
void wgmma_wait(Registers&... registers) {
  emulator::products_wait(n, {{&registers, sizeof registers}...});
}
template <int n>
void wgmma_rows(float (&d)[n], std::uint64_t a, std::uint64_t b, bool accumulate) {
  emulator::product_begin({d, 2 * n, true, false, false, accumulate, a, nullptr, {}, b});
}
template <int n>
void wgmma_columns(float (&d)[n], const std::uint32_t (&a)[4], std::uint64_t b) {
  emulator::product_begin({d, 2 * n, false, false, true, true, 0, a, {a[0], a[1], a[2], a[3]}, b});
}
template <int n>
void wgmma_columns(float (&d)[n], std::uint64_t a, std::uint64_t b, bool accumulate) {
  emulator::product_begin({d, 2 * n, true, true, true, accumulate, a, nullptr, {}, b});
}

}  // namespace lacuna
