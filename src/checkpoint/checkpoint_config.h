#pragma once
#include "checkpoint/model_reader.h"
#include "config/config.h"

namespace lacuna {

/// The config a checkpoint holds, with model.vocab_size filled in. Error naming the file when it
/// does not parse or does not describe the stored tensors: one is missing, of another shape, or has
/// no place in the model.
Config config_of_checkpoint(const ModelReader& reader);

}  // namespace lacuna
