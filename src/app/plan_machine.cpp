#include "app/plan_machine.h"

#include <algorithm>
#include <memory>

#include "app/gpu_type.h"
#include "config/dtype.h"
#include "core/check.h"
#include "kernels/backend.h"
#include "kernels/bench/peak.h"
#include "training/fitting_layout.h"
#include "training/save_interval.h"

namespace lacuna {
namespace {

// Between two ranks on one machine, through MPI's shared memory (docs/multi-node.md), and 10 Gb/s.
constexpr double kHostNodeBytes = 3e9, kHostNetworkBytes = 1.2e9;

void take_gpu(Machine& m, const Config& config, const std::string& name) {
  const GpuType& type = gpu_type(name);
  if (config.compute.linear_dtype == LinearDtype::fp8 && !type.has_fp8)
    fail_usage("compute.linear_dtype = \"fp8\" needs a GPU of sm_89 or newer, not --gpu " + name);
  m.memory = type.memory();
  m.flops = kReachedShare * type.peak_tflops * 1e12;
  m.node_bytes = type.node_bandwidth * 1e9;
  m.network_bytes = type.network_bandwidth * 1e9;
}

}  // namespace

double measured_flops(const Config& config, const PlanOptions& options) {
  if (options.tflops || config.compute.device != DeviceKind::cpu) return 0;
  const std::unique_ptr<Ops> ops =
      make_ops(word_of(DeviceKind::cpu), {.threads = int(config.compute.threads)});
  return measure_matmul_peak(*ops, type_of(config.compute.dtype));
}

Machine machine_for(const KnownConfig& known, const PlanOptions& options, double measured) {
  const Config& config = known.config;
  Machine m;
  const bool host = config.compute.device == DeviceKind::cpu;
  if (host && !options.gpu.empty())
    fail_usage("--gpu = " + options.gpu + " is for compute.device = \"cuda\", not \"cpu\"");
  if (!host) take_gpu(m, config, options.gpu.empty() ? kDefaultGpu : options.gpu);
  if (options.memory) m.memory = std::int64_t(*options.memory);
  if (options.ranks)
    m.ranks = *options.ranks;
  else if (host)
    m.ranks = int(config.parallel.tensor_parallel);
  else
    m.ranks = fewest_ranks_that_fit(config, m.memory, known.task)
                  .value_or(int(config.parallel.tensor_parallel));
  m.per_node = options.per_node.value_or(host ? m.ranks : 8);
  const int here = std::min(m.ranks, m.per_node);
  if (host) {
    m.fp8_speedup = 1;
    if (!options.memory) m.memory = memory_of_device(config, here);
    m.node_bytes = kHostNodeBytes;
    m.network_bytes = kHostNetworkBytes;
  }
  if (options.tflops) {
    m.flops = *options.tflops * 1e12;
    m.flops_source = "given";
  } else if (host) {
    m.flops = measured / (config.compute.threads > 0 ? 1 : here);
    m.flops_source = "what GEMMs reach here";
  }
  if (options.node_bandwidth) m.node_bytes = *options.node_bandwidth * 1e9;
  if (options.network_bandwidth) m.network_bytes = *options.network_bandwidth * 1e9;
  if (options.disk_bandwidth) m.disk_bytes = *options.disk_bandwidth * 1e9;
  if (options.host_bandwidth) m.host_bytes = *options.host_bandwidth * 1e9;
  if (options.mtbf_hours) m.seconds_between_failures = *options.mtbf_hours * 3600;
  return m;
}

StepTime step_time(const RunPlan& plan, const Machine& m) {
  return predict_step(plan, {m.flops, plan.tensor <= m.per_node ? m.node_bytes : m.network_bytes,
                             m.ranks <= m.per_node ? m.node_bytes : m.network_bytes, m.fp8_speedup,
                             m.copy_bytes, m.host_bytes / std::min(m.ranks, m.per_node)});
}

CheckpointCost checkpoint_cost(const RunPlan& plan, const Config& config, const Machine& m) {
  const auto bytes = double(plan.checkpoint_bytes);
  CheckpointCost cost;
  cost.written = bytes / (m.disk_bytes * m.nodes());
  cost.stall = config.train.async_checkpoint ? bytes / m.ranks / m.copy_bytes : cost.written;
  const double between = m.seconds_between_failures / m.ranks;
  cost.interval = std::max(best_save_interval(cost.stall, between), cost.written);
  cost.lost_share = lost_to_saving(cost.interval, cost.stall, between);
  return cost;
}

}  // namespace lacuna
