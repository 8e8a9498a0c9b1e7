#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "core/arena.h"
#include "core/tensor.h"
#include "kernels/ops.h"
#include "kernels/platform/staging_ring.h"

struct CUstream_st;  // *cudaStream_t

namespace lacuna {

/// What a kernel with dynamic shared memory has of static, at most: both come out of what a block
/// can have.
constexpr std::size_t kStaticSharedMemory = 1024;

/// A device and the stream that orders everything done on it. Implemented twice:
/// kernels/platform/gpu/device.cpp asks the CUDA runtime, kernels/platform/emulated/device.cpp
/// plays the device in main memory. `op` names the operation at fault in messages.
class Device {
 public:
  /// How many there are; emulated ones as many as LACUNA_EMULATED_GPUS in the environment says, or
  /// one. Throws Error, one line: no driver, a driver older than the runtime, none.
  static int count();
  /// Throws Error, one line: no driver, a driver older than the runtime, no such device, or one
  /// too old for the kernels.
  explicit Device(int index);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  /// "NVIDIA H100 80GB HBM3, 132 multiprocessors, sm_90".
  std::string description() const;
  /// Its UUID, as 32 hexadecimal digits; "emulated 0".
  std::string identity() const;
  int multiprocessors() const;
  /// Whether it is of sm_90, whose wgmma and TMA instructions no other architecture has.
  bool has_wgmma() const;
  /// Whether its tensor cores multiply FP8: sm_89 or newer.
  bool has_fp8() const;
  /// Throws Error when this program holds no code of `kernel` that the device can run.
  void check_code(const void* kernel) const;
  /// For messages: what this program was compiled for, what the device is, and what to compile for.
  std::string architecture_advice() const;
  /// Bytes of dynamic shared memory that one block can have.
  std::size_t shared_memory() const;
  CUstream_st* stream() const;
  /// cudaMalloc, zeroed on the stream. Its Error says what was free.
  Memory& memory();

  /// `rows` rows of `width` bytes, consecutive ones `…_pitch` bytes apart. Returns after the copy
  /// when `to` is in main memory; the source may be changed at once when `from` is.
  void copy(const char* op, void* to, Place to_place, std::int64_t to_pitch, const void* from,
            Place from_place, std::int64_t from_pitch, std::int64_t width, std::int64_t rows);
  /// For transfers from main memory beside the work on stream().
  StagingRing& staging();
  void synchronize(const char* op);
  /// Ops::run_captured: by a CUDA graph, recorded at the second call; the first brings workspaces
  /// to their size. The emulator calls `work` each time.
  void run_captured(std::unique_ptr<CapturedGraph>& recording, const std::function<void()>& work);
  /// Scratch memory of at least `bytes`, aligned to 256, for this op alone: the next call's has
  /// the same address. Grows by allocating; then all earlier work is waited for.
  void* workspace(const char* op, std::int64_t bytes);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// After a launch: throws Error naming `op` if it, or something before it, has failed. With
/// LACUNA_CUDA_SYNC=1 in the environment it first waits, so that the op named is the one at fault.
void check_launch(const char* op);
/// Lets `kernel` have so much dynamic shared memory; without, it has 48 KiB with the static.
void allow_shared_memory(const void* kernel, std::size_t bytes, const char* op);

}  // namespace lacuna
