#include "model_io/loaded_model.h"

#include "checkpoint/checkpoint.h"
#include "checkpoint/checkpoint_config.h"
#include "checkpoint/hugging_face.h"
#include "core/check.h"
#include "model_io/read_inference_weights.h"
#include "model_io/tensor_io.h"

namespace lacuna {

namespace {

std::vector<ModelSource::NamedAdapter> open_adapters(const std::vector<std::string>& with,
                                                     const ModelConfig& model) {
  std::vector<ModelSource::NamedAdapter> all;
  for (const std::string& text : with) {
    const std::size_t equals = text.find('=');
    const bool named = equals != std::string::npos && !std::filesystem::exists(text);
    const std::string path = named ? text.substr(equals + 1) : text;
    std::string name = text.substr(0, equals);
    if (!named) {
      const std::filesystem::path last = std::filesystem::path(path).lexically_normal();
      name = (last.has_filename() ? last : last.parent_path()).stem().string();
    }
    for (const auto& other : all)
      if (other.name == name)
        fail_usage(str("--adapter: two are called '", name, "'; give them names: NAME=", path));
    all.push_back({name, open_adapter(path, model)});
  }
  return all;
}

std::vector<std::unique_ptr<const ModelTensors>> load_adapters(const ModelSource& source, Ops& ops,
                                                               DType dtype,
                                                               TensorParallelShard share) {
  std::vector<std::unique_ptr<const ModelTensors>> all;
  for (const auto& [name, stored] : source.adapters) {
    all.push_back(std::make_unique<ModelTensors>(
        ops.memory(), WeightLayout(source.config, stored.lora, share), "adapters", dtype));
    read_pieces(*stored.reader, "model", *all.back(),
                pieces_within(*all.back(), {{0, all.back()->flat().count()}}), ops);
  }
  ops.synchronize();
  return all;
}

}  // namespace

ModelSource::ModelSource(const std::string& what, const std::vector<std::string>& with)
    : opened_(open_model(resolve_checkpoint(what))), reader(*opened_) {
  config = config_of_checkpoint(reader).model;
  adapters = open_adapters(with, config);
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
      base(ops->memory(), source.config, dtype,
           storage_of(source.reader, source.config, *ops, dtype, share), share),
      adapters(load_adapters(source, *ops, dtype, share)),
      weights(adapters.empty() ? base.views() : with(0)) {
  read_weights(source.reader, base, *ops);
}

ModelWeights LoadedModel::with(std::size_t adapter) const {
  return with_adapters(base.views(), *adapters[adapter],
                       float(source.adapters[adapter].stored.lora.scale()));
}

LoadedModel load_model(ModelSource source, std::unique_ptr<Ops> ops, DType dtype,
                       TensorParallelShard share) {
  return LoadedModel(std::move(source), std::move(ops), dtype, share);
}

}  // namespace lacuna
