#pragma once
#include <vector>

#include "config/config.h"
#include "model/inference_weights.h"
#include "model/weight_layout.h"
#include "training/model_replica.h"

namespace lacuna {

// Low-rank adaptation (LoRA, arXiv:2106.09685) of the matrices that lora.targets names: y = x W^T +
// s (x A^T) B^T, where only A and B learn. W is frozen, and may be quantised (QLoRA,
// arXiv:2305.14314); it has no gradient, no moments and no second copy.

/// Throws UsageError, naming the key of [lora], when a target is no matrix of a block, the rank is
/// not below both extents of one, or lora.base_dtype does not suit the model's shapes; and for
/// Muon.
void check_lora(const Config& config);
/// The tensors that are trained: all weights of the model, or adapters. Throws UsageError for a
/// model or a [lora] that cannot be trained.
WeightLayout trained_layout(const Config& config, Trained trained, TensorParallelShard share);
/// How frozen weights are held, for InferenceWeights: matrices of the blocks in lora.base_dtype,
/// the embedding and the head in compute.dtype.
std::vector<WeightStorage> frozen_storage(const Config& config);
/// weight_scratch() of them with adapters, on a device of that place, known from the config alone.
WeightScratch planned_scratch(const Config& config, TensorParallelShard share, Place place,
                              bool training);

}  // namespace lacuna
