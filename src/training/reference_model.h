#pragma once
#include <memory>
#include <string>

#include "checkpoint/model_reader.h"
#include "comm/communicator.h"
#include "config/config.h"
#include "diffusion/objective.h"
#include "kernels/ops.h"
#include "model/inference_weights.h"

namespace lacuna {

/// A model beside the one that is trained, which does not change: what preference tuning compares
/// with. Holds activations of forward passes, and weights of its own, or this rank's shard, as
/// LoadedModel does.
class ReferenceModel {
 public:
  /// Of a checkpoint, Hugging Face folder or GGUF file. `limits` of its passes; `tensor_parallel`
  /// as in Task::objective(). Throws UsageError when it is of another shape than config.model, and
  /// as read_weights() and Arena.
  ReferenceModel(Ops& ops, const Config& config, const std::string& path, ModelLimits limits,
                 Communicator* tensor_parallel);
  /// Of weights that others hold.
  ReferenceModel(Ops& ops, const Config& config, const ModelWeights& weights, ModelLimits limits,
                 Communicator* tensor_parallel);

  /// What one allocates for passes of `limits` on a rank that trains by `config`: its weights,
  /// unless they are those that adapters are trained beside, as matrices of compute.dtype.
  static std::int64_t planned_bytes(const Config& config, Place place, TensorParallelShard share,
                                    const ModelLimits& limits);

  ObjectiveRunner& objective() { return objective_; }

 private:
  const std::unique_ptr<const ModelReader> reader_;        // of files that may be mapped
  const std::unique_ptr<const InferenceWeights> weights_;  // none where others hold them
  ObjectiveRunner objective_;
};

}  // namespace lacuna
