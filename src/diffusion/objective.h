#pragma once
#include <cstdint>

#include "diffusion/noise.h"
#include "model/head.h"
#include "model/model.h"

namespace lacuna {

/// Rows of logits that a head should hold at once: about 64 MiB of them, at least 32 rows.
std::int64_t head_chunk_rows(const ModelConfig& config);

/// The loss of a micro-batch, by the one forward pass. Owns the small tensors it needs.
class ObjectiveRunner {
 public:
  /// Micro-batches of at most `sequences` sequences of `length` tokens.
  ObjectiveRunner(Ops& ops, const ModelConfig& config, const ModelTensors& weights,
                  std::int64_t sequences, std::int64_t length, bool training);

  /// sum_m weights[m] CE[m] in f64, CE in nats (arXiv:2502.09992, eq. 3 with NoisyBatch's weights).
  double loss(const NoisyBatch& batch);
  /// The same; adds the gradient of `scale` times it to `gradients`.
  double loss_and_gradients(const NoisyBatch& batch, ModelTensors& gradients);
  Model& model() { return model_; }

 private:
  Model model_;
  Head head_;
  Arena arena_;
};

}  // namespace lacuna
