#include "training/training_data.h"

#include "data/chat_template.h"
#include "data/source_loader.h"
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

std::int64_t TrainingData::tokens() const {
  std::int64_t sum = 0;
  for (const TokenFile& each : files) sum += each.tokens();
  return sum;
}

TrainingData::TrainingData(const Config& unresolved)
    : files(open_sources(unresolved)),
      file(file_with_tokenizer(files)),
      tokenizer(tokenizer_of(file)),
      config(resolved(unresolved, file, tokenizer)) {}

}  // namespace lacuna
