#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "app/device_memory.h"
#include "app/known_config.h"
#include "config/config.h"
#include "training/run_plan.h"

namespace lacuna {

/// What the options of `lacuna plan` say; none: a default of machine_for().
struct PlanOptions {
  std::vector<std::string> configs, overrides;
  std::optional<int> ranks, per_node;
  std::string gpu;                                                  // of gpu_names(), or ""
  std::optional<std::uint64_t> memory;                              // bytes
  std::optional<double> tflops, node_bandwidth, network_bandwidth;  // TFLOP/s, GB/s
  std::optional<double> disk_bandwidth, mtbf_hours;                 // GB/s; of a rank's device
  std::optional<double> host_bandwidth;                             // GB/s
  std::string sweep;                                                // "8,64": numbers of ranks
  std::string task;                                                 // of RunTask, or ""
  bool json = false;
};

/// What a rank has.
struct Machine {
  int ranks = 1, per_node = 8;
  std::int64_t memory = 0;
  double flops = 0, node_bytes = 0, network_bytes = 0;  // each second
  std::string flops_source = "assumed";
  /// On GPUs, over bf16: NVIDIA's figure for per-tensor current scaling, rounding included, of a
  /// layer's GEMMs on an H200 (Transformer Engine, docs/examples/gemm_profiling). CPUs emulate FP8.
  double fp8_speedup = 1.58;
  double disk_bytes = 2e9;    // that the ranks of a node write together, each second
  double copy_bytes = 10e9;   // of a rank to main memory, each second
  double host_bytes = 200e9;  // that the CPUs of a node read and write, each second
  /// Seconds between failures of a rank's device or its machine: 16,384 H100s had 419 unexpected
  /// interruptions in 54 days (Llama 3, arXiv:2407.21783, section 3.3.4).
  double seconds_between_failures = 16384 * 54 * 86400.0 / 419;

  int nodes() const { return (ranks + per_node - 1) / per_node; }
};

/// FLOP/s that GEMMs reach on this machine, which takes a moment to measure; 0 where nothing asks:
/// on GPUs, and where the options say.
double measured_flops(const Config& config, const PlanOptions& options);
/// `measured` by measured_flops().
Machine machine_for(const KnownConfig& known, const PlanOptions& options, double measured);
StepTime step_time(const RunPlan& plan, const Machine& machine);

/// What checkpoints cost a run: how long one stalls training, how long one takes to be
/// written, and how often one should be written.
struct CheckpointCost {
  double stall = 0, written = 0, interval = 0;  // seconds
  double lost_share = 0;  // of the time, at that interval: stalls, and steps done again
};
CheckpointCost checkpoint_cost(const RunPlan& plan, const Config& config, const Machine& machine);

}  // namespace lacuna
