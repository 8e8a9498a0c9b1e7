#pragma once
#include <vector>

#include "checkpoint/model_reader.h"
#include "config/config.h"
#include "kernels/ops.h"
#include "model/inference_weights.h"
#include "model/tensor_parallel_shard.h"

namespace lacuna {

/// How InferenceWeights hold each weight of a stored model. A matrix keeps the format it is stored
/// in where `ops` reads that beside activations of `dtype`, else it becomes `dtype`. It stays in
/// the file where that is mapped and `ops` computes in main memory; but floats of a packed tensor
/// whose parts do not follow each other there are copied, since one product is faster than three;
/// not those of experts, which are most of a model. Errors as stored_group().
std::vector<WeightStorage> storage_of(const ModelReader& reader, const ModelConfig& config,
                                      const Ops& ops, DType dtype, TensorParallelShard share = {});

/// Fills what `weights` allocated, rounding what is stored in another format. Errors as
/// read_pieces(), and for a number that is not finite where blocks are to hold it.
void read_weights(const ModelReader& reader, const InferenceWeights& weights, Ops& ops);

}  // namespace lacuna
