#include "training/training_data.h"

#include "data/chat_template.h"
#include "training/resume.h"

namespace lacuna {
namespace {

std::optional<Tokenizer> tokenizer_of(const TokenFile& data) {
  if (data.tokenizer_json().empty()) return std::nullopt;
  return Tokenizer::from_json(data.tokenizer_json(), data.path() + ": its tokenizer");
}

Config resolved(const Config& config, const TokenFile& data,
                const std::optional<Tokenizer>& tokenizer) {
  Config all = resolve_model(config, data, tokenizer ? tokenizer->pad_token() : -1);
  const auto begin = tokenizer ? tokenizer->id_of(ChatTemplate{}.begin) : std::nullopt;
  if (begin && all_begin_with(*begin, data)) all.model.add_bos_token = true;
  if (all.train.steps == -1 && all.train.epochs == 0) all.train.steps = TrainConfig::kDefaultSteps;
  return all;
}

}  // namespace

TrainingData::TrainingData(const Config& unresolved)
    : file(unresolved.data.train),
      tokenizer(tokenizer_of(file)),
      config(resolved(unresolved, file, tokenizer)) {}

}  // namespace lacuna
