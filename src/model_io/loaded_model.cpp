#include "model_io/loaded_model.h"

#include "checkpoint/checkpoint.h"
#include "checkpoint/checkpoint_config.h"
#include "checkpoint/hugging_face.h"
#include "core/check.h"
#include "model_io/read_inference_weights.h"

namespace lacuna {

ModelSource::ModelSource(const std::string& what)
    : opened_(open_model(resolve_checkpoint(what))), reader(*opened_) {
  config = config_of_checkpoint(reader).model;
  if (reader.info().tokenizer.empty()) return;
  try {
    tokenizer = Tokenizer::from_json(reader.info().tokenizer, reader.path() + ": tokenizer");
  } catch (const Error& e) {
    unusable_ = e.what();
    return;
  }
  if (config.mask_token < 0) config.mask_token = tokenizer->mask_token();
  if (config.eos_token < 0) config.eos_token = tokenizer->eos_token();
}

const Tokenizer& ModelSource::need_tokenizer(const std::string& advice) const {
  if (!unusable_.empty()) fail(str(unusable_, "; ", advice));
  if (!tokenizer) fail_usage(str(reader.path(), ": holds no tokenizer; ", advice));
  return *tokenizer;
}

std::string ModelSource::chat_template() const {
  return kept_chat_template(reader.info(), reader.path() + ": tokenizer");
}

void ModelSource::check_ids(const std::vector<std::int32_t>& ids) const {
  for (const std::int32_t id : ids)
    CHECK(id < config.vocab_size, reader.path(), ": its tokenizer gives token ", id,
          ", but its model knows ", config.vocab_size, " tokens");
}

LoadedModel::LoadedModel(ModelSource from, std::unique_ptr<Ops> on, DType dtype,
                         TensorParallelShard share)
    : source(std::move(from)),
      ops(std::move(on)),
      weights(ops->memory(), source.config, dtype,
              storage_of(source.reader, source.config, *ops, dtype, share), share) {
  read_weights(source.reader, weights, *ops);
}

LoadedModel load_model(ModelSource source, std::unique_ptr<Ops> ops, DType dtype,
                       TensorParallelShard share) {
  return LoadedModel(std::move(source), std::move(ops), dtype, share);
}

}  // namespace lacuna
