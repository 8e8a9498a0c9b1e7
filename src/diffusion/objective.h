#pragma once
#include <cstdint>
#include <vector>

#include "core/arena.h"
#include "diffusion/noise.h"
#include "model/head.h"
#include "model/model.h"

namespace lacuna {

/// Rows of logits that a head should hold at once: about 64 MiB of them in main memory; 512 MiB on
/// a device, where each chunk's product also reads and writes the head's gradient; at least 32
/// rows.
std::int64_t head_chunk_rows(const ModelConfig& config, DType type = DType::f32,
                             Place place = Place::host);

/// The loss of a micro-batch, by the one forward pass. Owns the small tensors it needs.
class ObjectiveRunner {
 public:
  /// Micro-batches of at most `sequences` sequences of `length` tokens. `shares` as in Model.
  ObjectiveRunner(Ops& ops, const ModelConfig& config, const ModelTensors& weights,
                  std::int64_t sequences, std::int64_t length, bool training,
                  Communicator* shares = nullptr);
  /// Micro-batches of sequences of any lengths, within `limits`.
  ObjectiveRunner(Ops& ops, const ModelConfig& config, const ModelTensors& weights,
                  const ModelLimits& limits, Communicator* shares = nullptr);

  /// What that allocates: the model's own, and the bytes of all else.
  struct Plans {
    Plan model;
    std::int64_t workspace;
  };
  static Plans plans(const ModelConfig& config, DType dtype, Place place, ModelShare share,
                     std::int64_t sequences, std::int64_t length);

  /// sum_m weights[m] CE[m] in f64 and in the order of the rows, CE in nats (arXiv:2502.09992,
  /// eq. 3 with NoisyBatch's weights). 0 for a micro-batch in which nothing is masked.
  double loss(const NoisyBatch& batch);
  /// The same, and adds its gradient to `gradients`. Needs `training`. The observer is not called
  /// when nothing is masked.
  double loss_and_gradients(const NoisyBatch& batch, ModelTensors& gradients,
                            const GradientObserver& observer = {});
  /// CE[m] in nats of the last call's rows, on the host.
  const std::vector<float>& row_losses() const { return row_losses_; }
  Model& model() { return model_; }

 private:
  struct Slots {
    Slot tokens, targets, weights, losses;
  };
  static Plan make_plan(std::int64_t rows, Slots& slots);
  Tensor forward(const NoisyBatch& batch);
  double weighted_sum(const NoisyBatch& batch, Tensor losses);

  Ops& ops_;
  Slots slots_;
  Model model_;
  Head head_;
  Arena arena_;
  std::vector<float> row_losses_, row_weights_;
};

}  // namespace lacuna
