#pragma once
#include <string>
#include <vector>

#include "config/config.h"
#include "data/token_file.h"

namespace lacuna {

/// Fills in what [model] leaves to the tokenizer: vocab_size, mask_token, eos_token, pad_token,
/// from the training data, which carry it. `pad_token` is the tokenizer's, or -1. Throws UsageError
/// when the config names another id, a vocabulary too small for the data, or when a special token
/// that the objective needs is missing; naming key, value and file.
Config resolve_model(Config config, const TokenFile& data, std::int64_t pad_token);
/// Whether the texts of a token file begin with that token, as LLaDA's chat template makes them; of
/// a large file the first are looked at.
bool all_begin_with(std::int32_t token, const TokenFile& data);

/// The keys in which two configs differ: "train.steps: 1000 -> 2000".
std::vector<std::string> differences(const Config& before, const Config& now);

/// The same, for going on from a checkpoint. Throws UsageError naming the first key whose change
/// would make its weights meaningless: the model's shape, attention and special tokens, its
/// adapters, or the objective. `what` names the checkpoint. Keys that say where things lie are not
/// differences.
std::vector<std::string> changes_on_resume(const Config& before, const Config& now,
                                           const std::string& what);

/// UsageError when a change of data.sources, data.stages or train.batch_size would change which
/// samples a run took in its first `steps` steps, so that later ones repeat or leave out text.
void check_sources_on_resume(const Config& before, const Config& now, std::int64_t steps);

/// UsageError unless the weights in a checkpoint of config `before` fit the model of `now`. `what`
/// names the checkpoint: "train.init = run".
void check_same_model(const ModelConfig& before, const ModelConfig& now, const std::string& what);

/// Whether two tokenizer.json texts say the same, whatever their spacing.
bool same_tokenizer(const std::string& a, const std::string& b);

/// Throws UsageError when data.validation has ids that the model lacks, or another tokenizer than
/// data.train. `config` as resolved.
void check_validation_data(const Config& config, const TokenFile& validation,
                           const TokenFile& train);

}  // namespace lacuna
