#include "checkpoint/stored_adapter.h"

#include <algorithm>

#include "checkpoint/adapted_reader.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/checkpoint_config.h"
#include "checkpoint/hugging_face.h"
#include "checkpoint/hugging_face_detail.h"
#include "checkpoint/model_family.h"
#include "checkpoint/peft.h"
#include "core/atomic_file.h"
#include "core/check.h"
#include "core/json.h"
#include "formats/safetensors.h"
#include "formats/staged_folder.h"
#include "model/weight_spec.h"

namespace lacuna {
namespace {

namespace fs = std::filesystem;

void check_adapts(const ModelReader& reader, const LoraConfig& lora, const ModelConfig& model) {
  for (const ModelWeight& w : adapter_weights(model, lora))
    CHECK(reader.has("model", w.name) && reader.shape("model", w.name) == w.shape, reader.path(),
          ": holds adapters of another model: ",
          reader.has("model", w.name) ? str(w.name, " is ", reader.shape("model", w.name))
                                      : "there is no " + w.name,
          ", and this one needs ", w.shape);
}

/// Which modules are adapted. PEFT looks for names that end so, and LLaDA's head ends like its
/// feed-forward's output: then an expression that they match whole.
nlohmann::ordered_json target_modules(const LoraConfig& lora, NameScheme scheme) {
  std::vector<std::string> modules;
  for (const AdapterSpec& adapter : adapter_table()) {
    const WeightSpec& w = *adapter.target;
    if (std::find(lora.targets.begin(), lora.targets.end(), w.llada) == lora.targets.end())
      continue;
    const std::string name = scheme == NameScheme::llama ? w.llama : w.llada;
    modules.push_back(name.substr(name.rfind('.') + 1));
  }
  if (scheme == NameScheme::llama ||
      std::find(modules.begin(), modules.end(), "ff_out") == modules.end())
    return modules;
  std::string any;
  for (const std::string& module : modules) any += (any.empty() ? "" : "|") + module;
  return ".*\\.blocks\\.[0-9]+\\.(" + any + ")";
}

}  // namespace

StoredAdapter open_adapter(const std::string& what, const ModelConfig& model) {
  if (fs::is_directory(what) && is_peft_folder(what)) {
    auto reader = std::make_unique<PeftReader>(what, model);
    const LoraConfig lora = reader->lora();
    return {std::move(reader), lora};
  }
  StoredAdapter adapter{open_stored(resolve_checkpoint(what)), {}};
  CHECK(holds_adapters(*adapter.reader), adapter.reader->path(),
        ": holds no adapters; those of lacuna sft with lora.rank do, and folders that PEFT saved");
  adapter.lora = config_of_checkpoint(*adapter.reader).lora;
  check_adapts(*adapter.reader, adapter.lora, model);
  return adapter;
}

std::unique_ptr<const ModelReader> open_model(const fs::path& path, const std::string& what) {
  std::unique_ptr<const ModelReader> base = open_model(path);
  if (what.empty()) return base;
  StoredAdapter adapter = open_adapter(what, config_of_checkpoint(*base).model);
  return std::make_unique<AdaptedReader>(std::move(base), std::move(adapter));
}

PeftExport export_peft(const fs::path& checkpoint, const fs::path& folder,
                       std::optional<DType> dtype) {
  const std::unique_ptr<const ModelReader> reader = open_stored(checkpoint);
  CHECK(holds_adapters(*reader), reader->path(),
        ": holds no adapters; only a checkpoint of LoRA can be written as PEFT's");
  const Config config = config_of_checkpoint(*reader);
  const auto original = reader->info().extra.find(kConfigAttribute);
  const NameScheme scheme =
      family_of_export(config.model, original == reader->info().extra.end() ? "" : original->second)
          .tensors;
  PeftExport written{config.lora.rank};
  std::vector<TensorInfo> tensors;
  const std::vector<ModelWeight> weights = adapter_weights(config.model, config.lora);
  for (const ModelWeight& w : weights) {
    const std::string group = reader->has("master", w.name) ? "master" : "model";
    tensors.push_back({kPeftPrefix + w.spec->name(scheme, w.block), w.shape,
                       dtype.value_or(reader->dtype(group, w.name))});
    written.parameters += w.shape.count();
    written.bytes += tensors.back().bytes();
  }
  const nlohmann::ordered_json description = {
      {"peft_type", "LORA"},
      {"task_type", nullptr},
      {"base_model_name_or_path", config.train.init},
      {"inference_mode", true},
      {"r", config.lora.rank},
      {"lora_alpha", config.lora.alpha > 0 ? config.lora.alpha : double(config.lora.rank)},
      {"lora_dropout", 0.0},
      {"target_modules", target_modules(config.lora, scheme)},
      {"bias", "none"},
      {"fan_in_fan_out", false},
      {"use_rslora", false},
      {"use_dora", false},
      {"modules_to_save", nullptr},
      {"rank_pattern", nlohmann::ordered_json::object()},
      {"alpha_pattern", nlohmann::ordered_json::object()}};
  StagedFolder staged(folder);
  {
    SafetensorsWriter writer(staged.staging() / kPeftWeights, tensors, {{"format", "pt"}});
    std::vector<std::byte> memory;
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      memory.resize(std::size_t(tensors[i].bytes()));
      const Tensor out(memory.data(), tensors[i].shape, tensors[i].dtype);
      read_as(*reader, weights[i].name, out);
      writer.write(out);
    }
    writer.commit();
  }
  write_file(staged.staging() / kPeftConfig, json_text(description, 2) + "\n");
  staged.commit();
  return written;
}

}  // namespace lacuna
