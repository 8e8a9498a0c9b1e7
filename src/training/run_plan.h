#pragma once
#include <cstdint>

#include "config/config.h"

namespace lacuna {

/// What a run does: the command that it is of.
enum class RunTask : std::uint8_t { pretrain, sft, dpo };
template <>
struct EnumWords<RunTask> {
  static constexpr const char* words[] = {"pretrain", "sft", "dpo"};
};

/// What a run on `ranks` ranks will need, known from its configuration alone.
struct RunPlan {
  /// Bytes of one rank, the one that needs most: what its arenas will hold, and what the runtime
  /// takes beside them.
  struct Memory {
    std::int64_t weights = 0, gradients = 0;  // weights: the frozen ones too, where there are some
    std::int64_t optimizer = 0;               // moments, of sharded ones this rank's part
    std::int64_t activations = 0;             // kept for the backward pass, and a block's scratch
    std::int64_t workspace = 0;  // a chunk of logits, a micro-batch's tokens and losses
    std::int64_t reference = 0;  // of dpo: the reference model's weights and passes
    std::int64_t sampling = 0;   // of the sample texts in the log, at most
    // What arrives from GPUs of a tensor parallel group, by NCCL; not what NCCL itself allocates.
    std::int64_t exchange = 0;
    // Estimates, on GPUs: the CUDA context with the kernels' code, the libraries' workspaces, and
    // what NCCL allocates for each communicator.
    std::int64_t runtime = 0;
    // Of train.async_checkpoint, on CPUs; a GPU's rank has it in main memory, which is not counted.
    std::int64_t staging = 0;
    // Of optimizer.cpu_offload: states in main memory, which total() does not count.
    std::int64_t host = 0;
    std::int64_t total() const {
      return weights + gradients + optimizer + activations + workspace + reference + sampling +
             exchange + runtime + staging;
    }
  };

  int data = 1, tensor = 1;        // ranks = data * tensor
  std::int64_t micro_batches = 0;  // per step, of the rank with most
  Memory memory;
  std::int64_t parameters = 0;
  std::int64_t trained = 0;  // parameters, or elements of adapters where lora.rank says so
  double flops = 0;  // of a step, on all ranks (training/flops.h); half of the tokens are masked
  double recomputed_flops = 0;  // by train.recompute, on top of those
  double fp8_flops = 0;         // of these two, what is done in FP8 (compute.linear_dtype)
  double optimizer_flops = 0;   // Muon's GEMMs, once per step, likewise
  std::int64_t reductions = 1;  // of all gradients, per step
  std::int64_t gathers = 0;     // forward passes in which weights are gathered, per step
  /// Bytes that a rank sends and receives per step. Gradients: while the backward passes of as many
  /// micro-batches go on. Weights of sharded states: while as many forward passes go on, and of
  /// sharded weights backward passes; those of adapters, and what Muon exchanges, after the update.
  /// Activations: between the layers.
  double gradient_bytes = 0, weight_bytes = 0, forward_weight_bytes = 0, backward_weight_bytes = 0,
         activation_bytes = 0;
  /// Of optimizer.cpu_offload, of a rank per step: gradients to main memory and weights from there;
  /// and what the CPU reads and writes.
  double copied_bytes = 0, host_update_bytes = 0;
  std::int64_t checkpoint_bytes = 0;  // of all ranks together
};

/// Of a config with lora.rank, pretrain means sft. Examples and pairs are planned for as long as
/// data.sequence_length. Throws UsageError for what `ranks` ranks cannot do: as training itself.
RunPlan plan_run(const Config& config, int ranks, RunTask task = RunTask::pretrain);

/// Of a step, on all ranks: samples of data.sequence_length; of dpo with each of their masks.
double tokens_of_step(const Config& config, RunTask task);

/// What the prediction of a step's time assumes of a rank's device and of its wires.
struct MachineFigures {
  double flops_per_second = 0;            // that training reaches, not the data sheet's
  double tensor_bytes_per_second = 0;     // among ranks of a tensor parallel group, each way
  double data_bytes_per_second = 0;       // among data parallel ranks
  double fp8_speedup = 1;                 // of products in FP8, rounding their operands included
  double copied_bytes_per_second = 10e9;  // between a rank's device and main memory
  double host_bytes_per_second = 25e9;    // that a rank's share of the CPUs reads and writes
};
struct StepTime {
  // Seconds. host_update: of an optimizer on the CPU, with its copies.
  double compute = 0, hidden_communication = 0, exposed_communication = 0, host_update = 0;
  double total() const { return compute + exposed_communication + host_update; }
  double efficiency() const { return compute / total(); }
};
StepTime predict_step(const RunPlan& plan, const MachineFigures& machine);

}  // namespace lacuna
