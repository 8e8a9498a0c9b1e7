#include "app/known_config.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "checkpoint/checkpoint.h"
#include "checkpoint/checkpoint_config.h"
#include "core/check.h"
#include "core/text.h"
#include "data/megatron_tokens.h"
#include "data/source_loader.h"
#include "training/run_length.h"

namespace lacuna {
namespace {

constexpr std::int64_t kAssumedVocabulary = 4096;  // the quick start's

/// Returns what messages about the config add.
std::string take_model_of_init(Config& config) {
  const auto reader = open_model(resolve_checkpoint(config.train.init));
  config.model = config_of_checkpoint(*reader).model;
  return ", with the model of " + reader->path();
}

/// What the objective asks of a model's attention, which is no part of its weights.
struct AttentionKeys {
  Attention attention;
  std::int64_t block_size;
  bool causal_context, logits_shift;

  /// Takes them out of a config.
  explicit AttentionKeys(ModelConfig& m)
      : attention(m.attention),
        block_size(std::exchange(m.block_size, 0)),
        causal_context(std::exchange(m.causal_context, false)),
        logits_shift(std::exchange(m.logits_shift, false)) {
    m.attention = Attention::bidirectional;
  }
  void put_into(ModelConfig& m) const {
    m.attention = attention;
    m.block_size = block_size;
    m.causal_context = causal_context;
    m.logits_shift |= logits_shift;
    if (m.attention == Attention::block_causal)  // the longest of whole blocks
      m.max_seq_length -= m.max_seq_length % std::max<std::int64_t>(1, block_size);
    if (m.attention == Attention::causal) m.logits_shift = false;
  }
};

/// The weights' part of [model] from train.init, where [model] gives nothing but the attention.
std::string take_weights_of_init(Config& config) {
  if (config.train.init.empty()) return "";
  ModelConfig given = config.model;
  const AttentionKeys attention(given);
  if (given != ModelConfig{}) return "";
  std::string taken = take_model_of_init(config);
  attention.put_into(config.model);
  return taken;
}

/// Of one pass: examples of sft, pairs of dpo, or windows.
std::int64_t samples_of(const Config& config, std::span<const TokenFile> files) {
  const TokenFile& first = files.front();
  if (first.has_pairs()) return first.documents() / 2;
  if (first.has_responses()) return first.documents();
  return SourceLoader(config, files).windows();
}

bool all_exist(const DataConfig& data) {
  const std::vector<std::string> paths = source_paths(data);
  return std::all_of(paths.begin(), paths.end(), [](const std::string& path) {
    return std::filesystem::exists(megatron_index(path).value_or(path));
  });
}

/// What the data say, which are there.
void add_data(KnownConfig& known) {
  Config& c = known.config;
  const std::vector<TokenFile> files = open_sources(c);
  known.task = task_of(files.front());
  if (c.model.vocab_size == 0) c.model.vocab_size = file_with_tokenizer(files).vocab_size();
  if (!known.steps) known.steps = last_step(c.train, samples_of(c, files));
  if (!files.front().has_responses())
    known.sources = SourceLoader(c, files).use_of(*known.steps * c.train.batch_size);
}

/// Where the data are.
std::string named(const DataConfig& data) {
  return data.sources.empty() ? "data.train = " + data.train : std::string("data.sources");
}

}  // namespace

RunTask task_of(const TokenFile& file) {
  return file.has_pairs() ? RunTask::dpo : file.has_responses() ? RunTask::sft : RunTask::pretrain;
}

KnownConfig known_config(const std::string& path, const std::vector<std::string>& overrides) {
  KnownConfig known;
  known.config = read_pretrain_config(path, overrides);
  Config& c = known.config;
  if (c.model == ModelConfig{})
    known.assumed.emplace_back(
        "no [model] is described and no train.init named: the model is the default one");
  if (c.train.epochs == 0) known.steps = last_step(c.train, 0);
  const bool complete = c.model.vocab_size > 0 && known.steps;
  if (all_exist(c.data)) {
    try {
      add_data(known);
    } catch (const Error& e) {
      if (!complete) throw;
      known.assumed.push_back(str("nothing of the data: ", e.what()));
    }
    return known;
  }
  if (complete) return known;
  if (!known.steps)
    known.assumed.push_back(str("no number of steps: train.epochs = ", c.train.epochs,
                                " are passes over ", named(c.data), ", which is not there yet"));
  if (c.model.vocab_size > 0) return known;
  c.model.vocab_size = kAssumedVocabulary;
  known.assumed.push_back(str("the vocabulary is that of ", named(c.data),
                              ", which is not there yet: ", with_commas(kAssumedVocabulary),
                              " ids (or --set model.vocab_size=...)"));
  return known;
}

Config read_pretrain_config(const std::string& path, const std::vector<std::string>& overrides) {
  return read_config(path, overrides, take_weights_of_init);
}

Config read_sft_config(const std::string& path, const std::vector<std::string>& overrides,
                       const std::string& init) {
  return read_config(path, overrides, [&](Config& config) {
    if (!init.empty()) config.train.init = init;
    if (config.train.init.empty())
      fail_usage("fine-tuning starts from a checkpoint: give --init, or train.init");
    if (config.model != ModelConfig{}) return std::string();
    const std::string taken = take_model_of_init(config);
    if (config.model.attention == Attention::causal)
      config.train.objective = Objective::autoregressive;
    if (config.model.attention == Attention::block_causal)
      config.train.objective = Objective::block_diffusion;
    return taken;
  });
}

}  // namespace lacuna
