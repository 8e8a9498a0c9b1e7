#include "training/reference_model.h"

#include "checkpoint/checkpoint.h"
#include "checkpoint/checkpoint_config.h"
#include "config/dtype.h"
#include "core/log.h"
#include "core/text.h"
#include "model_io/read_inference_weights.h"
#include "training/lora.h"
#include "training/resume.h"

namespace lacuna {
namespace {

TensorParallelShard shard_of(const Config& config, const Communicator* tensor_parallel) {
  if (!tensor_parallel) return {};
  return {tensor_parallel->rank(), tensor_parallel->size(), config.parallel.sequence_parallel};
}

std::unique_ptr<const ModelReader> opened(const Config& config, const std::string& path) {
  std::unique_ptr<const ModelReader> reader = open_model(path);
  check_same_model(config_of_checkpoint(*reader).model, config.model,
                   str(config.dpo.reference.empty() ? "train.init" : "dpo.reference", " = ", path));
  return reader;
}

std::unique_ptr<const InferenceWeights> weights_of(Ops& ops, const Config& config,
                                                   const ModelReader& reader,
                                                   TensorParallelShard share) {
  const DType dtype = type_of(config.compute.dtype);
  return std::make_unique<const InferenceWeights>(
      ops.memory(), config.model, dtype, storage_of(reader, config.model, ops, dtype, share),
      share);
}

ModelLimits without_training(ModelLimits limits) {
  limits.training = false;
  limits.recompute = {};
  return limits;
}

}  // namespace

std::int64_t ReferenceModel::planned_bytes(const Config& config, Place place,
                                           TensorParallelShard share, const ModelLimits& limits) {
  const DType dtype = type_of(config.compute.dtype);
  const bool frozen = config.lora.rank > 0 && config.dpo.reference.empty();
  ModelLimits own = without_training(limits);
  own.weights = frozen ? planned_scratch(config, share, place, false) : WeightScratch();
  own.weights.low_rank = 0;  // without the adapters
  const ObjectiveRunner::Plans plans =
      ObjectiveRunner::plans(config.model, dtype, place, share, own);
  const std::int64_t passes = plans.model.bytes() + plans.workspace;
  if (frozen) return passes;
  const std::vector<WeightStorage> storage(model_weights(config.model).size(), {format_of(dtype)});
  return passes + InferenceWeights::plan(config.model, dtype, storage, share).bytes();
}

ReferenceModel::ReferenceModel(Ops& ops, const Config& config, const std::string& path,
                               ModelLimits limits, Communicator* tensor_parallel)
    : reader_(opened(config, path)),
      weights_(weights_of(ops, config, *reader_, shard_of(config, tensor_parallel))),
      objective_(ops, config.model, *weights_, without_training(limits), tensor_parallel) {
  read_weights(*reader_, *weights_, ops);
  log_info(str("reference model: ", path, "; memory: ", human_bytes(weights_->bytes()),
               " for weights, ", human_bytes(objective_.model().plan().bytes()),
               " for activations"));
}

ReferenceModel::ReferenceModel(Ops& ops, const Config& config, const ModelWeights& weights,
                               ModelLimits limits, Communicator* tensor_parallel)
    : objective_(ops, config.model, weights, without_training(limits), tensor_parallel) {}

}  // namespace lacuna
