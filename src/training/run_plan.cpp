#include "training/run_plan.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "comm/nccl/nccl_communicator.h"
#include "config/dtype.h"
#include "core/text.h"
#include "diffusion/objective.h"
#include "model/tensor_parallel_shard.h"
#include "training/buckets.h"
#include "training/data_parallel.h"
#include "training/flops.h"
#include "training/gradient_accumulator.h"
#include "training/lora.h"
#include "training/optimizer.h"
#include "training/preference_scorer.h"
#include "training/pretrain_batches.h"
#include "training/reference_model.h"
#include "training/sample_text.h"
#include "training/sft_batches.h"
#include "training/zero_layout.h"

namespace lacuna {
namespace {

// What a process has on a GPU beside its arenas, as others report it (not measured here). A CUDA
// context with kernels loaded: some 0.5 GiB. Workspaces: cuBLASLt's 32 MiB (kernels/cuda) and what
// reductions share. NCCL: some 1.6 GB for a communicator on NVLink and a network
// (github.com/NVIDIA/nccl/issues/864); its buffers grow with channels, hardly with ranks.
constexpr std::int64_t kContextBytes = std::int64_t{512} << 20;
constexpr std::int64_t kWorkspaceBytes = std::int64_t{96} << 20;
constexpr std::int64_t kNcclBytes = std::int64_t{1536} << 20;

/// Of `weights` weights in a checkpoint, of which `matrices` may be Muon's: each itself, its two
/// moments (Muon's one), the f32 master of a rounded one, and its average.
std::int64_t saved_bytes(const Config& c, std::int64_t weights, std::int64_t matrices) {
  const DType type = type_of(c.compute.dtype);
  const std::int64_t moment = size_of(type_of(c.optimizer.moments_dtype)),
                     each = size_of(type) + 2 * moment +
                            (type == DType::f32 ? 0 : size_of(DType::f32)) +
                            (c.optimizer.ema_decay > 0 ? size_of(DType::f32) : 0);
  return weights * each - (c.optimizer.name == OptimizerName::muon ? matrices * moment : 0);
}

/// Adapters are of fine-tuning alone; a config with lora.rank is one for that.
Trained trained_by(const Config& c) { return sft_trained(c.lora); }

std::int64_t runtime_bytes(const Config& c, int data, int tensor) {
  if (c.compute.device != DeviceKind::cuda) return 0;
  std::int64_t bytes = kContextBytes + kWorkspaceBytes;
  if (c.parallel.transport == Transport::mpi || data * tensor == 1) return bytes;
  const int communicators = 1 + (data > 1) + (tensor > 1);  // all ranks, and the grid's two
  return bytes + communicators * kNcclBytes;
}

/// Of a rank's parts of a checkpoint.
std::int64_t staged_bytes(const Config& c, const WeightLayout& trained, FlatLayout layout,
                          const std::vector<FlatRange>& parts) {
  std::int64_t elements = 0, matrices = 0;
  for (const FlatRange& part : parts) elements += part.size;
  for (const FlatRange& part :
       intersection(parts, ModelTensors::ranges_of(trained, layout, is_updated_by_muon)))
    matrices += part.size;
  return saved_bytes(c, elements, matrices);
}

/// The data parallel ranks one of which has most: their parts are of the same size, no rank has
/// more samples than the last, and the first draws sample texts. With Muon parts of the same size
/// have unequal numbers of second moments; of very many ranks these differ by little.
std::vector<int> ranks_with_most(const Config& c, int data) {
  constexpr int kAll = 64;
  if (c.optimizer.name == OptimizerName::adamw || data > kAll) return {0, data - 1};
  std::vector<int> all(static_cast<std::size_t>(data));
  std::iota(all.begin(), all.end(), 0);
  return all;
}

ModelLimits limits_of(const Config& c, RunTask task, std::int64_t samples) {
  if (task == RunTask::dpo) return PreferenceScorer(c, "").limits(samples);
  return task == RunTask::sft ? SftBatches::limits(c, samples)
                              : PretrainBatches::limits(c, samples);
}

/// Of rank `tensor_rank` of a tensor parallel group, in data rank `data_rank`.
RunPlan::Memory memory_of(const Config& c, RunTask task, int data, int data_rank, int tensor_rank) {
  const TensorParallelShard share{tensor_rank, int(c.parallel.tensor_parallel),
                                  c.parallel.sequence_parallel};
  const DType type = type_of(c.compute.dtype);
  const ZeroLayout zero(c.parallel.zero_stage, data, type_of(c.optimizer.gradients_dtype));
  const Place place = c.compute.device == DeviceKind::cpu ? Place::host : Place::device;
  const bool adapters = trained_by(c) == Trained::adapters;
  const WeightLayout trained = trained_layout(c, trained_by(c), share);
  const std::vector<FlatRange> units = ModelTensors::units_of(trained, zero.flat);
  const std::vector<FlatRange> parts =
      zero.buckets(units, bucket_bytes(place, units.back().end())).parts(data_rank);

  RunPlan::Memory memory;
  memory.weights = ModelTensors::plan(trained, "weights", type, zero.flat, zero.weights).bytes();
  if (zero.shards_weights) memory.weights += OptimizerShard::plan(parts, "weights", type).bytes();
  if (adapters)
    memory.weights += InferenceWeights::plan(c.model, type, frozen_storage(c), share).bytes();
  memory.gradients =
      ModelTensors::plan(trained, "gradients", DType::f32, zero.flat, zero.gradients).bytes();
  if (zero.has_windows())
    memory.gradients +=
        OptimizerShard::plan(zero.summed(units, parts), "gradients", zero.sums).bytes();
  (c.optimizer.cpu_offload ? memory.host : memory.optimizer) =
      Optimizer::planned_bytes(c.optimizer, trained, type, zero.flat, zero.updated(units, parts),
                               data * share.count == 1, zero.shards_states || share.count > 1);
  const std::int64_t samples = share_of_samples(c.train.batch_size, data_rank, data).count;
  ModelLimits limits = limits_of(c, task, samples);
  if (adapters) limits.weights = planned_scratch(c, share, place, true);
  const ObjectiveRunner::Plans plans = ObjectiveRunner::plans(c.model, type, place, share, limits);
  memory.activations = plans.model.bytes();
  memory.workspace = plans.workspace;
  if (task == RunTask::dpo)
    memory.reference = ReferenceModel::planned_bytes(c, place, share, limits);
  if (!c.train.sample_every.is_zero() && data_rank == 0)
    memory.sampling = SampleText::most_bytes(
        c, type, place, share,
        adapters ? planned_scratch(c, share, place, false) : WeightScratch());
  if (place == Place::device && c.parallel.transport != Transport::mpi && share.count > 1)
    memory.exchange = kNcclBufferBytes;
  if (place == Place::host && c.train.async_checkpoint)
    memory.staging = staged_bytes(c, trained, zero.flat, parts);
  memory.runtime = runtime_bytes(c, data, share.count);
  return memory;
}

/// Sums over a row of hidden states in a micro-batch's passes, in rows: see model/attention.cpp,
/// mlp.cpp, head.cpp, vocab_parallel_embedding.cpp. Of N rows M get logits. With sequence
/// parallelism rows are gathered as often as they are summed forward, twice as often backward, each
/// half of a whole sum; and once more before the first block, before the last, in which they come
/// together, and at the embedding. A block that is recomputed sums what attention gave once more;
/// its queries, keys and values need rows gathered.
double summed_rows(double layers, double N, double M, bool split, const Recompute& recompute) {
  const double again = recompute.block ? 1 : recompute.qkv && split ? 0.5 : 0;
  const double embedding = split ? 2.5 * N : N,
               blocks = (layers - 1) * ((split ? 5 : 4) + again) * N, last_forward = 2 * M,
               head = M, last_backward = M + N;
  return embedding + blocks + last_forward + head + last_backward;
}

/// What a step passes through the model for each sample.
struct Passes {
  std::int64_t sequences = 1;  // as train.micro_batch_size counts them
  std::int64_t views = 1;      // noisy versions of each of them
  std::int64_t masks = 1;      // of a sequence, which count as tokens each
  std::int64_t forward = 0;    // times that is done without a backward pass
};

/// In preference tuning two responses with their masks, once by the model and once by the
/// reference model before the passes with gradients; in block diffusion a sequence's masks are its
/// noisy versions.
Passes passes_of(const Config& c, RunTask task) {
  if (task != RunTask::dpo) return {.views = c.train.noisy_views};
  const std::int64_t masks =
      c.train.objective == Objective::autoregressive ? 1 : c.dpo.mask_samples;
  if (c.train.objective == Objective::block_diffusion)
    return {.sequences = 2, .views = masks, .masks = masks, .forward = 2};
  return {.sequences = 2 * masks, .forward = 2};
}

/// Of `sequences` sequences in `views` noisy versions, with as many masked tokens as are expected.
PassWork expected_work(const Config& c, std::int64_t views, std::int64_t sequences) {
  const std::int64_t T = c.data.sequence_length;
  if (c.train.objective == Objective::autoregressive)
    return work_of(c.model, sequences, T, sequences * (T - 1));
  // Half of the tokens in a pair or with a ratio; l ~ U{1..n} of n tokens with a count.
  const bool counts =
      c.train.resolved_mask_form() == MaskForm::mask_count && !c.train.complementary_masks;
  if (c.train.objective == Objective::masked_diffusion)
    return work_of(c.model, sequences * views, T, sequences * views * (counts ? T + 1 : T) / 2);
  const std::vector<std::int64_t> sizes =
      c.train.block_sizes.empty() ? std::vector{c.model.block_size} : c.train.block_sizes;
  PassWork sum;  // of a sequence in each of them: over a run each has an equal share
  for (const std::int64_t size : sizes) {
    const double masked = double(T * views) * (counts ? double(size + 1) / double(2 * size) : 0.5);
    sum += block_work_of(c.model, 1, T, size, views, masked, c.train.autoregressive_weight > 0);
  }
  const double share = double(sequences) / double(sizes.size());
  return {sum.rows * share, sum.predicted * share, sum.pairs * share, sum.predicted_pairs * share};
}

/// Elements that passes of a step gather where weights are sharded, of `units`: all in the first
/// forward pass; then the blocks but the two whose slots still hold them (WeightGatherer), and,
/// unless they are one, what follows the blocks forward and the embedding backward, which share a
/// slot.
struct GatheredElements {
  double forward = 0, backward = 0;

  GatheredElements(const std::vector<FlatRange>& units, bool tied, std::int64_t micro_batches) {
    const std::size_t last = units.size() - 1;  // the blocks are those between
    for (std::size_t u = 0; u <= last; ++u) {
      const auto size = double(units[u].size);
      forward += size;
      if (u == last ? !tied : u > 2) forward += double(micro_batches - 1) * size;
      if (u == 0 ? !tied : u + 2 < last) backward += double(micro_batches) * size;
    }
  }
};

}  // namespace

RunPlan plan_run(const Config& c, int ranks, RunTask task) {
  validate(c);
  if (trained_by(c) == Trained::adapters && task == RunTask::pretrain) task = RunTask::sft;
  const auto tensor = int(c.parallel.tensor_parallel);
  CHECK(ranks >= 1, "a run on ", ranks, " ranks");
  if (ranks % tensor != 0)
    fail_usage(
        str("parallel.tensor_parallel = ", tensor, " does not divide ", counted(ranks, "rank")));
  RunPlan plan;
  plan.tensor = tensor;
  plan.data = ranks / tensor;
  if (c.train.batch_size < plan.data)
    fail_usage(str("train.batch_size = ", c.train.batch_size, " is too small for ", plan.data,
                   " data parallel ranks"));
  for (const int data_rank : ranks_with_most(c, plan.data))
    for (int rank = 0; rank < tensor; ++rank) {
      const RunPlan::Memory memory = memory_of(c, task, plan.data, data_rank, rank);
      if (memory.total() > plan.memory.total()) plan.memory = memory;
    }

  const Passes passes = passes_of(c, task);
  const std::int64_t B = c.train.batch_size * passes.sequences,
                     most = share_of_samples(c.train.batch_size, plan.data - 1, plan.data).count *
                            passes.sequences,
                     micro = std::min(c.train.micro_batch_size, most);
  plan.micro_batches = (most + micro - 1) / micro;
  const PassWork work = expected_work(c, passes.views, B);
  const Recompute recompute = recompute_of(c.train);
  const bool adapters = trained_by(c) == Trained::adapters;
  plan.flops = adapters ? adapter_training_flops(c.model, work) : training_flops(c.model, work);
  plan.flops += double(passes.forward) * forward_flops(c.model, work);
  plan.recomputed_flops = recomputed_flops(c.model, work, recompute);
  if (c.compute.linear_dtype == LinearDtype::fp8)
    plan.fp8_flops = block_matrix_flops(c.model, work, recompute) +
                     double(passes.forward) / 3 * block_matrix_flops(c.model, work, {});
  const TensorParallelShard share{0, tensor, c.parallel.sequence_parallel};
  plan.parameters = count_parameters(c.model);
  const WeightLayout trained = trained_layout(c, trained_by(c), share);
  std::int64_t matrices = 0;
  for (const ModelWeight& w : trained.weights) {
    plan.trained += w.shape.count();
    if (is_updated_by_muon(*w.spec)) matrices += w.shape.count();
  }
  plan.checkpoint_bytes = saved_bytes(c, plan.trained, matrices);
  const auto local = double(ModelTensors::plan(trained, "gradients", DType::f32).bytes());
  const auto size = double(size_of(type_of(c.compute.dtype)));
  const double others = double(plan.data - 1) / plan.data, sharing = double(tensor - 1) / tensor;
  const ZeroLayout zero(c.parallel.zero_stage, plan.data, type_of(c.optimizer.gradients_dtype));
  plan.reductions = zero.shards_gradients ? plan.micro_batches : 1;
  plan.gradient_bytes = double(plan.reductions) * (zero.shards_states ? 1 : 2) * others * local;
  // Windows are reduced in f32, sums as they are.
  if (!zero.shards_gradients) plan.gradient_bytes *= double(size_of(zero.sums)) / 4;
  if (zero.shards_weights) {
    const GatheredElements gathered(ModelTensors::units_of(trained, zero.flat), trained.tied_head,
                                    plan.micro_batches);
    plan.forward_weight_bytes = others * size * gathered.forward;
    plan.backward_weight_bytes = others * size * gathered.backward;
    plan.gathers = plan.micro_batches;
    if (task == RunTask::dpo) {  // the model's passes before those with gradients
      plan.forward_weight_bytes += others * size * gathered.forward;
      plan.gathers *= 2;
    }
  } else if (zero.shards_states) {
    (adapters ? plan.weight_bytes : plan.forward_weight_bytes) = others * local * size / 4;
    plan.gathers = 1;
  }
  if (c.optimizer.name == OptimizerName::muon) {
    plan.optimizer_flops = orthogonalisation_flops(c.model);
    const int holders = zero.shards_states ? ranks : tensor;
    // An all-reduce of momentum among those who hold parts, and a broadcast to all.
    plan.weight_bytes += double(matrices * size_of(DType::f32)) *
                         (2 * double(holders - 1) / holders + double(ranks - 1) / ranks);
  }
  if (c.optimizer.cpu_offload) {
    const double updated = local / 4 / (zero.shards_states ? plan.data : 1),
                 moments = 2.0 * double(size_of(type_of(c.optimizer.moments_dtype))),
                 average = c.optimizer.ema_decay > 0 ? 4 : 0, rounded = size < 4 ? size : 0;
    plan.copied_bytes = updated * (4 + size);  // gradients, weights
    // Gradients are read, masters, moments and the average read and written, weights written.
    plan.host_update_bytes = updated * (4 + 2 * (4 + moments + average) + rounded);
  }
  const PassWork rank_work = expected_work(c, passes.views, most);
  plan.activation_bytes =
      2 * sharing * size * double(c.model.hidden_size) *
      summed_rows(double(c.model.num_layers), rank_work.rows, rank_work.predicted,
                  share.is_sequence_parallel(c.model.num_layers), recompute);
  return plan;
}

double tokens_of_step(const Config& c, RunTask task) {
  const Passes passes = passes_of(c, task);
  return double(c.train.batch_size * passes.sequences * passes.masks) *
         double(c.data.sequence_length);
}

StepTime predict_step(const RunPlan& plan, const MachineFigures& machine) {
  StepTime time;
  const int ranks = plan.data * plan.tensor;
  const double spared = plan.fp8_flops * (1 - 1 / machine.fp8_speedup);
  time.compute = (plan.flops + plan.recomputed_flops - spared) / ranks / machine.flops_per_second;
  // Two thirds of a micro-batch's time are its backward pass.
  const double micro_batch = time.compute / double(plan.micro_batches),
               forward = micro_batch * double(plan.gathers) / 3,
               backward = micro_batch * double(plan.reductions) * 2 / 3;
  const double behind_forward = plan.forward_weight_bytes / machine.data_bytes_per_second,
               behind_backward = (plan.gradient_bytes + plan.backward_weight_bytes) /
                                 machine.data_bytes_per_second;
  time.compute += plan.optimizer_flops / ranks / machine.flops_per_second;
  time.hidden_communication =
      std::min(behind_forward, forward) + std::min(behind_backward, backward);
  time.exposed_communication = behind_forward + behind_backward - time.hidden_communication +
                               plan.weight_bytes / machine.data_bytes_per_second +
                               plan.activation_bytes / machine.tensor_bytes_per_second;
  // The copies are not under the passes (Optimizer::update_on_host()).
  time.host_update = plan.copied_bytes / machine.copied_bytes_per_second +
                     plan.host_update_bytes / machine.host_bytes_per_second;
  return time;
}

}  // namespace lacuna
