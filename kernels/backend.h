#pragma once
#include <memory>
#include <optional>
#include <string_view>

#include "kernels/ops.h"

namespace lacuna {

/// What each backend takes of these is its own affair; results differ by rounding alone.
struct DeviceOptions {
  int index = 0;    // which GPU
  int threads = 0;  // of the CPU; 0: every core this process may use
  /// cuda: within Ops::tune_gemms, time cuBLASLt's algorithms for each new GEMM shape and
  /// keep the fastest. Off, and elsewhere, its first choice is taken, the same in every run.
  bool tune_gemms = false;
  /// cuda: attention by wgmma and TMA where the GPU has them (sm_90), or else by mma.sync. Without
  /// a value, where the program has code of sm_90a too; with true, it is an error if it has not.
  std::optional<bool> hopper_attention = std::nullopt;
  /// With hopper_attention: the backward pass in one kernel of five GEMMs instead of two of seven,
  /// and the forward pass with ping-pong scheduling. Run in the emulator, but not yet on a GPU.
  bool fused_hopper_attention = false;
  /// With fused_hopper_attention: whether two blocks, a cluster, share the keys and values that
  /// they copy in the forward pass, at head width 128. Without a value, where it pays.
  std::optional<bool> attention_clusters = std::nullopt;
};

/// The backend that compute.device or --device names: "cpu", "cuda", or "cuda-emulated" (the CUDA
/// kernels run by the host, to try them out; slow). Throws UsageError for another word, or one this
/// build does not have: one with CUDA has "cuda", one without "cuda-emulated". Throws Error when
/// there is no usable GPU.
std::unique_ptr<Ops> make_ops(std::string_view device, const DeviceOptions& options = {});

/// How many devices of this kind the process sees, numbered from 0 (DeviceOptions::index): for cuda
/// what CUDA_VISIBLE_DEVICES shows, for the others 1. Throws as make_ops does.
int device_count(std::string_view device);

}  // namespace lacuna
