#pragma once
#include <cublasLt.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

// Stand-ins for the CUDA runtime, the driver's tensor maps and cuBLASLt, so that the files of
// kernels/cuda that call them (device.cpp, gemm.cpp, stream.cpp, tensor_map.cpp) run on a CPU,
// in tests/cuda/host. Streams and kernels are the emulator's. A call that breaks a rule of the real
// library returns its error and leaves a line in take_violations(); so does what the real one would
// leave undefined: memory, streams or events that are gone, a copy in the wrong direction, work
// that a recorded graph does with freed memory. Device memory holds NaN bits until it is written.
//
// Stricter than the real libraries, where they are known to differ or the documentation leaves it
// open: pageable memory cannot be copied while a stream captures; cudaErrorNotReady stays until
// cudaGetLastError(); each kernel is taken to have kStaticSharedMemory bytes of static shared
// memory.

namespace lacuna::toolkit {

struct DeviceModel {
  std::string name;
  int major, minor, multiprocessors;
  std::size_t shared_memory;  // that a block can have
  std::size_t memory;
};
/// As the emulator's device: few multiprocessors, so that loops over a fixed number of blocks take
/// more than one turn in small tests.
DeviceModel sm_80();
DeviceModel sm_90();

/// What the calls find.
struct Machine {
  std::vector<DeviceModel> devices = {sm_90()};
  int driver = 13000, runtime = 13000;    // CUDA's versions; driver 0: there is none
  cudaError_t kernel_code = cudaSuccess;  // what asking for a kernel answers
};

/// Algorithms of the cuBLASLt stand-in. The first two add up f32 sums, as does split_k; the last
/// two, which the heuristic prefers where it may, round partial sums to the result's type.
enum class Algorithm : std::uint8_t {
  tiled,    // needs 16-byte alignment
  general,  // needs that of an element
  split_k,
  split_k_in_place,
  split_k_rounded
};
struct Blas {
  std::set<Algorithm> in_error_state =
      {};                            // listed by the heuristic with a state that is no success
  std::set<Algorithm> failing = {};  // listed, but cublasLtMatmul fails
  std::set<Algorithm> missing = {};
  double microseconds[5] = {2, 8, 4, 3, 1};  // what each takes
};

/// A machine as after a start: forgets errors, violations and counts. Nothing of the last one may
/// be in use any more; what is left over of it is a violation.
void start_machine(Machine machine = {}, Blas blas = {});
void set_blas(Blas blas);

/// What broke a rule since the last call.
std::vector<std::string> take_violations();
/// How often a function was called since start_machine; "kernel" are the launches.
std::int64_t calls(std::string_view function);
/// The algorithm that the last cublasLtMatmul ran.
Algorithm last_algorithm();
/// Allocations, streams, events, graphs and cuBLASLt's objects that exist.
std::string in_use();

}  // namespace lacuna::toolkit
