#pragma once
#include <cstddef>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "config/config.h"
#include "kernels/ops.h"
#include "model/weights.h"

namespace lacuna {

/// The config a checkpoint holds, with model.vocab_size filled in. Error naming the file when it
/// does not parse or does not describe the stored tensors.
Config config_of_checkpoint(const CheckpointReader& reader);

/// Fills `tensors` from a group of the checkpoint ("model", "first_moment"…): f32 from f32, bf16 or
/// f16 ("master" is preferred over a rounded "model"). Error naming the first tensor that is
/// missing or of another shape.
void read_tensors(const CheckpointReader& reader, const std::string& group,
                  const ModelTensors& tensors, Ops& ops);

/// Views of the tensors under their names; what lies on a device is copied to main memory first,
/// into `staging`.
std::vector<NamedTensor> host_views(const ModelTensors& tensors, Ops& ops,
                                    std::vector<std::vector<std::byte>>& staging);

}  // namespace lacuna
