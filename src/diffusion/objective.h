#pragma once
#include <cstdint>
#include <vector>

#include "core/arena.h"
#include "diffusion/noise.h"
#include "diffusion/row_padding.h"
#include "model/head.h"
#include "model/model.h"

namespace lacuna {

/// The losses of a micro-batch's rows, still on a device or on their way from it.
struct QueuedLosses {
  Tensor values;                     // f32, of padded rows, until the next call
  std::vector<double> weights;       // of the rows, then of LossBatch::clean_rows
  std::vector<std::int32_t> places;  // of these, in `values`

  /// As ObjectiveRunner::loss(), given what `values` holds.
  double weighted_sum(const float* read) const;
};

/// The loss of a micro-batch, by the one forward pass. Owns the small tensors it needs. On a device
/// rows are padded (diffusion/row_padding.h), so that products have few shapes.
class ObjectiveRunner {
 public:
  /// Micro-batches of at most `sequences` sequences of `length` tokens. `shares` as in Model.
  ObjectiveRunner(Ops& ops, const ModelConfig& config, const ModelWeights& weights,
                  std::int64_t sequences, std::int64_t length, bool training,
                  Communicator* shares = nullptr);
  /// Micro-batches of sequences of any lengths, within `limits`.
  ObjectiveRunner(Ops& ops, const ModelConfig& config, const ModelWeights& weights,
                  const ModelLimits& limits, Communicator* shares = nullptr);

  /// What that allocates: the model's own, and the bytes of all else.
  struct Plans {
    Plan model;
    std::int64_t workspace;
  };
  static Plans plans(const ModelConfig& config, DType dtype, Place place, TensorParallelShard share,
                     const ModelLimits& limits);

  /// sum_m weights[m] CE[m] in f64 and in the order of the rows, CE in nats (arXiv:2502.09992,
  /// eq. 3 with LossBatch's weights), then of LossBatch::clean_rows. 0 where nothing is predicted.
  double loss(const LossBatch& batch);
  /// The same, and adds its gradient to `gradients`, or by `mode` overwrites them. Needs
  /// `training`. The observer is not called when nothing is masked.
  double loss_and_gradients(const LossBatch& batch, ModelTensors& gradients,
                            const GradientObserver& observer = {},
                            GradMode mode = GradMode::accumulate);
  /// The same without waiting for the device. row_losses() are then not to be had; nothing is
  /// queued, and `values` is empty, where nothing is predicted.
  QueuedLosses queue_loss_and_gradients(const LossBatch& batch, ModelTensors& gradients,
                                        const GradientObserver& observer, GradMode mode);
  /// On a device: passes over every number of rows that a micro-batch may be padded to, so that no
  /// later one prepares a product, times an algorithm (Ops::tune_gemms) or allocates. Overwrites
  /// `gradients`. Needs `training`; the ranks of a tensor-parallel group call together, and those
  /// that shard the weights.
  void prepare(ModelTensors& gradients);
  /// Of the last call, with the padding: what was computed.
  std::int64_t computed_head_rows() const { return std::int64_t(padded_.targets.size()); }
  /// CE[m] in nats of the last call's rows, then of its clean_rows, on the host.
  const std::vector<float>& row_losses() const { return row_losses_; }
  Model& model() { return model_; }
  /// Of a micro-batch; its padding comes on top.
  const ModelLimits& limits() const { return limits_; }

 private:
  struct Slots {
    Slot targets, weights, losses;
  };
  static Plan make_plan(std::int64_t rows, Slots& slots);
  Tensor forward(const LossBatch& batch);
  Tensor head_rows_of(Slot slot) const;
  /// False where nothing is predicted.
  bool queue_passes(const LossBatch& batch, ModelTensors& gradients,
                    const GradientObserver& observer, GradMode mode);
  /// Of the passes queued last.
  QueuedLosses queued_losses(const LossBatch& batch) const;
  double weighted_sum(const LossBatch& batch);
  LossBatch example_of(std::int64_t rows) const;

  Ops& ops_;
  const ModelLimits limits_;  // of a micro-batch
  const RowBuckets buckets_;
  Slots slots_;
  Model model_;
  Head head_;
  Arena arena_;
  PaddedBatch padded_;
  std::vector<float> row_losses_, padded_losses_;
};

}  // namespace lacuna
