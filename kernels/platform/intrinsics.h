#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "core/fp8.h"
#include "core/half.h"
#include "core/tensor.h"
#include "kernels/platform/device.h"

// What kernels are written in, on both platforms: nvcc compiles kernels/cuda/*.cu for a GPU
// (gpu/intrinsics.h); any C++ compiler compiles the same files for the emulator
// (emulated/intrinsics.h), which runs them on a CPU. Both headers define the same names, documented
// in the former. Kernels are plain CUDA with these restrictions:
//   - launched by launch({op, grid, block, shared, stream}, kernel, arguments…), not <<<…>>>
//   - PTX only through the functions below; 16-byte accesses through load_pack and store_pack
//   - dynamic shared memory through dynamic_shared<T>(), not extern __shared__
//   - no block waits for another, but for one that took an earlier ticket or is of its cluster
//     (hopper_intrinsics.h)

namespace lacuna {

/// n neighbouring elements, moved as one.
template <class T, int n>
struct alignas(n * sizeof(T)) Pack {
  T v[n];
};
/// Elements of a 16-byte access.
template <class T>
inline constexpr int kPackOf = 16 / int(sizeof(T));

}  // namespace lacuna

#if defined(__CUDACC__)
#include "kernels/platform/gpu/intrinsics.h"
#else
#include "kernels/platform/emulated/intrinsics.h"
#endif

namespace lacuna {

/// Queues a kernel; nothing where the grid is empty.
template <class... Parameters, class... Arguments>
void launch(const Launch& l, void (*kernel)(Parameters...), Arguments... arguments) {
  if (l.grid.x == 0 || l.grid.y == 0 || l.grid.z == 0) return;
  if (l.shared > 48 * 1024 - kStaticSharedMemory)
    allow_shared_memory(reinterpret_cast<const void*>(kernel), l.shared, l.op);
  start(l, kernel, arguments...);
  check_launch(l.op);
}

}  // namespace lacuna
