#include "checkpoint/checkpoint_config.h"

#include <set>

#include "core/check.h"
#include "model/weight_spec.h"

namespace lacuna {
namespace {

void check_tensors(const ModelReader& reader, const std::vector<ModelWeight>& weights) {
  const std::vector<std::string> names = reader.names("model");
  std::set<std::string> unknown(names.begin(), names.end());
  for (const ModelWeight& wanted : weights) {
    CHECK(unknown.erase(wanted.name) == 1, reader.path(), ": tensor /model/", wanted.name,
          " is missing");
    const Shape shape = reader.shape("model", wanted.name);
    CHECK(shape == wanted.shape, reader.path(), ": /model/", wanted.name, " has shape ", shape,
          "; the checkpoint's config makes it ", wanted.shape);
  }
  CHECK(unknown.empty(), reader.path(), ": /model/", *unknown.begin(),
        " has no place in the model that the checkpoint's config describes");
}

}  // namespace

Config config_of_checkpoint(const ModelReader& reader) {
  Config config;
  const std::string embedding = embedding_name();
  const bool adapters = holds_adapters(reader);
  try {
    config = parse_stored_config(reader.info().config, reader.path());
    CHECK(adapters || reader.has("model", embedding), reader.path(), ": tensor /model/", embedding,
          " is missing");
    if (config.model.vocab_size == 0) config.model.vocab_size = reader.shape("model", embedding)[0];
    validate(config.model);
  } catch (const UsageError& e) {  // not the user's, but the file's mistake
    const std::string what = e.what();
    fail(what.find(reader.path()) == std::string::npos ? str(reader.path(), ": ", what) : what);
  }
  check_tensors(
      reader, adapters ? adapter_weights(config.model, config.lora) : model_weights(config.model));
  return config;
}

}  // namespace lacuna
