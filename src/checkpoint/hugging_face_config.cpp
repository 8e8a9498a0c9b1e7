#include "checkpoint/hugging_face.h"
#include "checkpoint/hugging_face_keys.h"
#include "checkpoint/model_family.h"
#include "core/log.h"
#include "model/weight_spec.h"

namespace lacuna {
namespace {

using FileJson = nlohmann::ordered_json;

ModelConfig model_of_keys(const HuggingFaceKeys& keys, const ModelFamily& family) {
  return family.tensors == NameScheme::llada ? model_of_llada_keys(keys)
                                             : model_of_llama_keys(keys, family);
}

constexpr const char* kKept = "the config.json kept from the import";

FileJson keys_of_model(const ModelConfig& model, const ModelFamily& family) {
  return family.tensors == NameScheme::llada ? llada_keys_of(model) : llama_keys_of(model, family);
}

}  // namespace

void check_fixed(const HuggingFaceKeys& keys, std::span<const FixedKey> all) {
  const FileJson& json = keys.json();
  const std::string& file = keys.file();
  std::string assumed;
  for (const FixedKey& fixed : all) {
    const FileJson wanted = FileJson::parse(fixed.value);
    if (keys.has(fixed.key))
      CHECK(json[fixed.key] == wanted, file, ": ", fixed.key, " = ", shown(json[fixed.key].dump()),
            " is not supported; this program's model has ", fixed.key, " = ", fixed.value);
    else if (fixed.assumed)
      assumed += (assumed.empty() ? "" : ", ") + str(fixed.key, " = ", fixed.value);
  }
  if (!assumed.empty()) log_warning(file + ": does not say, so this is assumed: " + assumed);
}

ModelConfig model_config_from_hugging_face(const std::string& text, const std::string& file) {
  const FileJson json = parse_json_object<FileJson>(text, file);
  const ModelConfig m = model_of_keys(HuggingFaceKeys(json, file), family_of(json, file));
  CHECK(m.vocab_size > 0, file, ": a vocabulary of ", m.vocab_size, " ids");
  try {
    validate(m);
  } catch (const Error& e) {  // it speaks of this program's keys; the file is what is wrong
    fail(str(file, ": ", e.what()));
  }
  return m;
}

const ModelFamily& family_of_export(const ModelConfig& model, const std::string& original) {
  if (original.empty()) return family_of(model);
  const ModelFamily& family = family_of(parse_json_object<FileJson>(original, kKept), kKept);
  return fits(family, model) ? family : family_of(model);
}

std::string model_config_to_hugging_face(const ModelConfig& model, const std::string& original) {
  const ModelFamily& family = family_of_export(model, original);
  const FileJson keys = keys_of_model(model, family);
  const FileJson kept =
      original.empty() ? FileJson::object() : parse_json_object<FileJson>(original, kKept);
  if (!original.empty() && &family_of(kept, kKept) == &family) {
    const FileJson before = keys_of_model(model_config_from_hugging_face(original, kKept), family);
    if (before == keys) return original;
    FileJson json = kept;
    for (const auto& [key, value] : keys.items())
      if (before[key] != value) json[key] = value;
    // Where newer versions of transformers look for it.
    if (before.contains("rope_theta") && before["rope_theta"] != keys["rope_theta"] &&
        json.contains("rope_parameters") && json["rope_parameters"].is_object())
      json["rope_parameters"]["rope_theta"] = keys["rope_theta"];
    return json.dump(2) + "\n";
  }
  FileJson json = family.tensors == NameScheme::llada ? llada_template() : llama_template(family);
  for (const auto& [key, value] : keys.items()) json[key] = value;
  return json.dump(2) + "\n";
}

std::vector<TensorInfo> hugging_face_tensors(const ModelConfig& m, DType dtype, NameScheme names) {
  std::vector<TensorInfo> tensors;
  for (const ModelWeight& w : model_weights(m))
    tensors.push_back({w.spec->name(names, w.block, w.expert), w.shape, dtype});
  return tensors;
}

}  // namespace lacuna
