#include <set>

#include "checkpoint/checkpoint_config.h"
#include "checkpoint/hugging_face.h"
#include "checkpoint/hugging_face_detail.h"
#include "checkpoint/model_family.h"
#include "checkpoint/stored_adapter.h"
#include "core/atomic_file.h"
#include "core/json.h"
#include "core/log.h"
#include "core/version.h"
#include "formats/rounding.h"
#include "formats/staged_folder.h"

namespace lacuna {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;
using Files = std::map<std::string, std::string>;  // name to text

// LLaDA's: the assistant's header follows always.
constexpr const char* kChatTemplate =
    "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'"
    "+ message['content'] | trim + '<|eot_id|>' %}"
    "{% if loop.index0 == 0 and bos_token %}{% set content = bos_token + content %}{% endif %}"
    "{{ content }}{% endfor %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}";

/// That, where the tokenizer has its tokens; else "".
std::string llada_chat_template(const AddedTokens& added) {
  for (const char* needed : {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"})
    if (id_of(added, needed) < 0) return "";
  return kChatTemplate;
}

/// tokenizer.json, and, where an import has not kept a tokenizer_config.json, that and
/// special_tokens_map.json.
void add_tokenizer_files(Files& files, const ModelConfig& model, const std::string& tokenizer,
                         const std::string& file) {
  files["tokenizer.json"] = tokenizer;
  if (files.count("tokenizer_config.json")) return;
  const AddedTokens added = added_tokens(tokenizer, file + ": tokenizer");
  Json special = Json::object();
  if (id_of(added, "<|startoftext|>") >= 0) special["bos_token"] = "<|startoftext|>";
  const std::pair<const char*, std::int64_t> roles[] = {{"eos_token", model.eos_token},
                                                        {"pad_token", model.pad_token},
                                                        {"mask_token", model.mask_token}};
  for (const auto& [role, id] : roles)
    if (const auto found = added.find(id); found != added.end()) special[role] = found->second;

  Json config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                 {"add_bos_token", model.add_bos_token},
                 {"clean_up_tokenization_spaces", false},
                 {"model_max_length", model.max_seq_length}};
  config.update(special);
  if (const std::string chat = llada_chat_template(added); !chat.empty())
    config["chat_template"] = chat;
  files["tokenizer_config.json"] = config.dump(2) + "\n";
  files.try_emplace("special_tokens_map.json", special.dump(2) + "\n");
}

/// config.json also says which dtype the weights are of, under either of two names.
std::string with_dtype(const std::string& config, DType dtype) {
  auto json = Json::parse(config);
  const char* key = json.contains("dtype") ? "dtype" : "torch_dtype";
  const Json word = dtype == DType::f32 ? "float32" : dtype == DType::bf16 ? "bfloat16" : "float16";
  if (json.contains(key) && json[key] == word) return config;
  json[key] = word;
  return json.dump(2) + "\n";
}

/// The config.json that an import kept, or "".
std::string original_of(const ModelReader& reader) {
  const auto original = reader.info().extra.find(kConfigAttribute);
  return original == reader.info().extra.end() ? "" : original->second;
}

/// Every file but the weights.
Files files_of(const ModelReader& reader, const ModelConfig& model, DType dtype,
               bool dtype_is_chosen) {
  const CheckpointInfo& info = reader.info();
  Files files;
  std::string kept;
  for (const auto& [key, text] : info.extra) {
    if (!key.starts_with(kFileAttribute)) continue;
    const std::string name = key.substr(kFileAttribute.size());
    CHECK(fs::path(name).filename() == name && is_companion(name), reader.path(), ": attribute '",
          key, "' does not name a file that belongs beside a model");
    files[name] = text;
    kept += (kept.empty() ? "" : ", ") + name;
  }
  if (!kept.empty()) log_info("with the files that the import kept: " + kept);
  const std::string original = original_of(reader);
  const bool imported = !original.empty();
  std::string& config = files["config.json"];
  config = model_config_to_hugging_face(model, original);
  // What was imported and neither trained nor converted stays as it was, whatever it says.
  if (!imported || info.step > 0 || dtype_is_chosen) config = with_dtype(config, dtype);
  if (!info.tokenizer.empty()) add_tokenizer_files(files, model, info.tokenizer, reader.path());
  return files;
}

/// Removes weights that an earlier export left in the folder under names the present one has not
/// used: a reader might prefer them.
void remove_other_weights(const fs::path& folder, const std::set<std::string>& present) {
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    const bool shard = name.starts_with("model-") && name.ends_with(".safetensors") &&
                       name.find("-of-") != std::string::npos;
    const bool weights =
        shard || name == "model.safetensors" || name == "model.safetensors.index.json";
    if (weights && !present.count(name)) fs::remove(entry.path());
  }
}

}  // namespace

void read_as(const ModelReader& reader, const std::string& name, const Tensor& out) {
  const DType stored = reader.dtype("model", name);
  if (out.dtype == stored) return reader.read("model", name, out);
  // The weights before they were rounded, where there are such.
  const std::string group = reader.has("master", name) ? "master" : "model";
  if (out.dtype == DType::f32) return reader.read(group, name, out);
  std::vector<float> wide(static_cast<std::size_t>(out.count()));
  reader.read(group, name, Tensor(wide.data(), out.shape));
  round_to(wide.data(), out, reader.path() + ": tensor '" + name + "'");
}

AddedTokens added_tokens(const std::string& tokenizer, const std::string& file) {
  AddedTokens added;
  const auto json = parse_json_object<Json>(tokenizer, file);
  const auto list = json.find("added_tokens");
  if (list == json.end() || !list->is_array()) return added;
  for (const Json& token : *list)
    if (token.is_object() && token.contains("id") && token["id"].is_number_integer() &&
        token.contains("content") && token["content"].is_string())
      added[token["id"].get<std::int64_t>()] = token["content"].get<std::string>();
  return added;
}

std::int64_t id_of(const AddedTokens& added, std::string_view text) {
  for (const auto& [id, content] : added)
    if (content == text) return id;
  return -1;
}

Json tokenizer_config_of(const CheckpointInfo& info, const std::string& file) {
  const auto kept = info.extra.find(str(kFileAttribute, "tokenizer_config.json"));
  if (kept == info.extra.end()) return nullptr;
  return parse_json_object<Json>(kept->second, file + "_config.json");
}

std::string chat_template_of(const CheckpointInfo& info, const AddedTokens& added,
                             const std::string& file) {
  return tokenizer_config_of(info, file).is_null() ? llada_chat_template(added)
                                                   : kept_chat_template(info, file);
}

std::string kept_chat_template(const CheckpointInfo& info, const std::string& file) {
  const auto own = info.extra.find(std::string(kFileAttribute) + "chat_template.jinja");
  if (own != info.extra.end()) return own->second;
  const Json config = tokenizer_config_of(info, file);
  const auto chat = config.is_null() ? config.end() : config.find("chat_template");
  if (config.is_null() || chat == config.end()) return "";
  if (chat->is_string()) return chat->get<std::string>();
  if (chat->is_array())
    for (const Json& named : *chat)
      if (named.is_object() && named.value("name", Json()) == "default" &&
          named.contains("template") && named["template"].is_string())
        return named["template"].get<std::string>();
  return "";
}

void export_hugging_face(const fs::path& checkpoint, const fs::path& folder,
                         const ExportOptions& options) {
  const std::unique_ptr<const ModelReader> opened = open_model(checkpoint, options.adapter);
  const ModelReader& reader = *opened;
  const ModelConfig model = config_of_checkpoint(reader).model;
  const std::vector<ModelWeight> weights = model_weights(model);
  const NameScheme names = family_of_export(model, original_of(reader)).tensors;
  std::vector<TensorInfo> tensors;
  for (const ModelWeight& w : weights)
    tensors.push_back({w.spec->name(names, w.block, w.expert), w.shape,
                       options.dtype.value_or(reader.dtype("model", w.name))});
  const Files files = files_of(reader, model, tensors.front().dtype, options.dtype.has_value());

  StagedFolder staged(folder);
  write_safetensors_sharded(
      staged.staging(), tensors, {{"format", "pt"}, {"producer", program_version()}},
      [&](std::size_t i, const Tensor& out) {
        log_progress(str("exporting tensor ", i + 1, " of ", tensors.size()));
        read_as(reader, weights[i].name, out);
      },
      options.shard_bytes);
  log_progress("");
  for (const auto& [name, text] : files) write_file(staged.staging() / name, text);
  std::set<std::string> written;
  for (const fs::directory_entry& entry : fs::directory_iterator(staged.staging()))
    written.insert(entry.path().filename().string());
  staged.commit();
  remove_other_weights(folder, written);
}

}  // namespace lacuna
