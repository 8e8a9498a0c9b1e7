#pragma once
#include "kernels/platform/intrinsics.h"
#include "kernels/platform/tensor_map.h"

// What sm_90a has beyond kernels/platform/intrinsics.h, which this continues in its manner: copies
// of boxes by the tensor memory accelerator (TMA), barriers in shared memory that count its bytes,
// and products of four warps together (wgmma). PTX ISA 8.0, "Asynchronous Warpgroup Level Matrix
// Instructions" and "Data Movement and Conversion Instructions: Tensor copy".
//
// Tiles lie in shared memory as boxes of 64 columns (128 bytes) with the 128-byte swizzle: of a box
// that begins at a multiple of 1024, the 16-byte chunk c of row r lies at place c ^ (r % 8).

namespace lacuna {

/// A barrier in shared memory: a phase ends when the arrivals it was initialised with have been
/// made and all expected bytes have come; then the next begins.
using MemoryBarrier = std::uint64_t;

/// wgmma's view of a tile of swizzled boxes. `address` of its first element in shared memory, which
/// may be further on in a box's first rows by multiples of 32 bytes; `next_box`: bytes from a box
/// to the next, for tiles that are read by columns and wider than a box.
__host__ __device__ constexpr std::uint64_t matrix_descriptor(std::uint32_t address,
                                                              std::uint32_t next_box = 0) {
  constexpr std::uint64_t kSwizzle128 = std::uint64_t{1} << 62;
  constexpr std::uint64_t kEightRows = 8 * kBoxRowBytes;  // bytes from eight rows to the next eight
  return kSwizzle128 | (kEightRows >> 4) << 32 | std::uint64_t{next_box >> 4} << 16 |
         ((address & 0x3ffff) >> 4);
}
/// The descriptor of what begins `bytes` further on: one addition in 32 bits, as no address has
/// more than the 18 bits that descriptors hold.
__host__ __device__ constexpr std::uint64_t moved(std::uint64_t descriptor, std::uint32_t bytes) {
  return (descriptor & ~std::uint64_t{0xffffffff}) | (std::uint32_t(descriptor) + (bytes >> 4));
}

}  // namespace lacuna

#if defined(__CUDACC__)
#include "kernels/platform/gpu/hopper_intrinsics.h"
#else
#include "kernels/platform/emulated/hopper_intrinsics.h"
#endif
