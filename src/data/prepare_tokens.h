#pragma once
#include "data/prepare.h"

namespace lacuna {

/// prepare() of Megatron datasets (data/megatron_tokens.h), whose ids are taken as they are: each
/// document with the tokenizer's end token behind it, where it does not end with that. The inputs
/// name datasets as data.train does. Validation as of JSONL. Error for an id that the tokenizer
/// lacks.
PrepareResult prepare_tokens(const PrepareOptions& options);

}  // namespace lacuna
