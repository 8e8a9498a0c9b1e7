#include "app/known_config.h"

#include <filesystem>

#include "checkpoint/checkpoint.h"
#include "core/check.h"
#include "core/text.h"
#include "data/token_file.h"
#include "training/model_io.h"

namespace lacuna {
namespace {

constexpr std::int64_t kAssumedVocabulary = 4096;  // the quick start's

}  // namespace

KnownConfig known_config(const std::string& path, const std::vector<std::string>& overrides) {
  KnownConfig known;
  known.config = read_config(path, overrides, [&](Config& c) {
    if (c.model != ModelConfig{} || c.train.init.empty()) return std::string();
    const auto reader = open_model(resolve_checkpoint(c.train.init));
    c.model = config_of_checkpoint(*reader).model;
    return ", with the model of " + reader->path();
  });
  Config& c = known.config;
  if (c.model == ModelConfig{})
    known.assumed.push_back(
        "no [model] is described and no train.init named: the model is the default one");
  if (c.model.vocab_size > 0) return known;
  if (std::filesystem::exists(c.data.train)) {
    c.model.vocab_size = TokenFile(c.data.train).vocab_size();
    return known;
  }
  c.model.vocab_size = kAssumedVocabulary;
  known.assumed.push_back(str("the vocabulary is that of data.train = ", c.data.train,
                              ", which is not there yet: ", with_commas(kAssumedVocabulary),
                              " ids (or --set model.vocab_size=...)"));
  return known;
}

}  // namespace lacuna
