#pragma once
#include <cstddef>
#include <cstdint>

#include "kernels/platform/emulated/emulator.h"

// What hopper.cpp and wgmma.cpp, between them kernels/platform/emulated/hopper.h, and emulator.cpp
// know of each other: the blocks that run.

namespace lacuna::emulator {

constexpr std::uint32_t kWindowStart = 128;  // static shared memory lies before the dynamic
constexpr std::uint32_t kWindowEnd = 1u << 18;
constexpr unsigned kMostThreads = 512;

/// Of the block of this number in the cluster: its dynamic shared memory, and whether all of its
/// threads have ended.
void* shared_of(unsigned rank);
bool has_ended(unsigned rank);

/// linear_thread(), below kMostThreads.
unsigned hopper_thread();
/// Waits for the warp's other lanes, all of which come here. Orders no memory.
void meet_warp(WarpFunction function);
/// Whether any of these bytes of the block's shared memory were stored by a thread without
/// fence.proxy.async since.
bool is_stored(const void* p, std::size_t bytes);
unsigned char* at_window_address(std::uint32_t address);
/// The 128-byte swizzle is a function of address bits alone.
inline std::uint32_t swizzled(std::uint32_t address) { return address ^ (address >> 7 & 7) << 4; }

bool products_under_way(unsigned rank);
void forget_products(unsigned rank);

}  // namespace lacuna::emulator
