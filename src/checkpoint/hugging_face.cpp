#include "checkpoint/hugging_face.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "core/atomic_file.h"
#include "core/half.h"
#include "core/log.h"

namespace lacuna {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

constexpr const char* kConfig = "hf_config";       // config.json
constexpr std::string_view kFile = "hf_file:";     // any other small file, by its name
constexpr std::uintmax_t kLargestFile = 16 << 20;  // of those

// LLaDA's: the assistant's header follows always.
constexpr const char* kChatTemplate =
    "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'"
    "+ message['content'] | trim + '<|eot_id|>' %}"
    "{% if loop.index0 == 0 and bos_token %}{% set content = bos_token + content %}{% endif %}"
    "{{ content }}{% endfor %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}";

/// Files that make a Hugging Face folder complete beside weights, config.json and tokenizer.json.
bool is_companion(const std::string& file) {
  static const std::set<std::string> known = {"config.json", "tokenizer.json",
                                              "model.safetensors.index.json"};
  const std::string extension = fs::path(file).extension().string();
  return !known.count(file) && (extension == ".json" || extension == ".jinja" ||
                                extension == ".py" || extension == ".txt");
}

std::map<std::string, std::string> companions(const fs::path& folder) {
  std::map<std::string, std::string> kept;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (!entry.is_regular_file() || !is_companion(name)) continue;
    if (entry.file_size() > kLargestFile) {
      log_warning(entry.path().string() + ": too large to be kept for export");
      continue;
    }
    std::string text = read_file(entry.path());
    if (text.find('\0') == std::string::npos) kept[std::string(kFile) + name] = std::move(text);
  }
  return kept;
}

std::string tokenizer_of(const fs::path& folder) {
  const fs::path path = folder / "tokenizer.json";
  if (!fs::exists(path)) {
    log_warning(path.string() + ": is missing; the checkpoint will only take and give token ids");
    return "";
  }
  std::string text = read_file(path);
  CHECK(nlohmann::json::accept(text), path.string(), ": is not valid JSON");
  return text;
}

/// Views of every weight, checked against the config.
std::vector<NamedTensor> weights_of(const SafetensorsFolder& stored, const ModelConfig& model,
                                    const std::string& folder) {
  std::vector<NamedTensor> weights;
  std::set<std::string> unknown;
  for (const std::string& name : stored.names()) unknown.insert(name);
  for (const TensorInfo& wanted : hugging_face_tensors(model, DType::f32)) {
    CHECK(stored.has(wanted.name), folder, ": tensor '", wanted.name, "' is missing");
    const Tensor t = stored.view(wanted.name);
    CHECK(t.shape == wanted.shape, folder, ": tensor '", wanted.name, "' has shape ", t.shape,
          "; config.json makes it ", wanted.shape);
    CHECK(t.dtype == DType::f32 || t.dtype == DType::bf16 || t.dtype == DType::f16, folder,
          ": tensor '", wanted.name, "' is ", t.dtype, ", not f32, bf16 or f16");
    weights.push_back({wanted.name, t});
    unknown.erase(wanted.name);
  }
  CHECK(unknown.empty(), folder, ": tensor '", *unknown.begin(),
        "' has no place in the model that config.json describes");
  return weights;
}

/// The text of the special token of that id, or "".
std::string token_text(const Json& tokenizer, std::int64_t id) {
  if (id >= 0 && tokenizer.contains("added_tokens") && tokenizer["added_tokens"].is_array())
    for (const Json& token : tokenizer["added_tokens"])
      if (token.value("id", std::int64_t{-1}) == id) return token.value("content", "");
  return "";
}

/// tokenizer_config.json and special_tokens_map.json, for a tokenizer that came without.
void add_tokenizer_files(std::map<std::string, std::string>& files, const ModelConfig& model,
                         const std::string& tokenizer_text) {
  const Json tokenizer = Json::parse(tokenizer_text, nullptr, false);
  if (!tokenizer.is_object()) return;
  std::set<std::string> known;
  if (tokenizer.contains("added_tokens") && tokenizer["added_tokens"].is_array())
    for (const Json& token : tokenizer["added_tokens"]) known.insert(token.value("content", ""));
  Json special = Json::object();
  if (known.count("<|startoftext|>")) special["bos_token"] = "<|startoftext|>";
  const std::pair<const char*, std::int64_t> roles[] = {{"eos_token", model.eos_token},
                                                        {"pad_token", model.pad_token},
                                                        {"mask_token", model.mask_token}};
  for (const auto& [role, id] : roles)
    if (const std::string text = token_text(tokenizer, id); !text.empty()) special[role] = text;

  Json config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                 {"add_bos_token", false},
                 {"clean_up_tokenization_spaces", false},
                 {"model_max_length", model.max_length}};
  config.update(special);
  if (known.count("<|start_header_id|>") && known.count("<|end_header_id|>") &&
      known.count("<|eot_id|>"))
    config["chat_template"] = kChatTemplate;
  files.try_emplace("tokenizer_config.json", config.dump(2) + "\n");
  files.try_emplace("special_tokens_map.json", special.dump(2) + "\n");
}

void round_to(const float* from, const Tensor& out, const std::string& what) {
  const std::int64_t n = out.count();
  if (out.dtype == DType::bf16) {
    auto* to = out.as<BFloat16>();
    for (std::int64_t i = 0; i < n; ++i) to[i] = to_bf16(from[i]);
    return;
  }
  auto* to = out.as<Float16>();
  for (std::int64_t i = 0; i < n; ++i) {
    to[i] = to_f16(from[i]);
    CHECK(!std::isfinite(from[i]) || std::isfinite(to_float(to[i])), what, " holds ", from[i],
          ", which f16 cannot; export as bf16 or f32");
  }
}

void read_as(const CheckpointReader& reader, const std::string& name, const Tensor& out) {
  const DType stored = reader.dtype("model", name);
  if (out.dtype == DType::f32 && stored != DType::f32 && reader.has("master", name))
    return reader.read("master", name, out);  // the weights before they were rounded
  if (out.dtype == stored || out.dtype == DType::f32) return reader.read("model", name, out);
  std::vector<float> wide(static_cast<std::size_t>(out.count()));
  reader.read("model", name, Tensor(wide.data(), out.shape));
  round_to(wide.data(), out, reader.path() + ": tensor '" + name + "'");
}

const char* torch_word(DType dtype) {
  return dtype == DType::f32 ? "float32" : dtype == DType::bf16 ? "bfloat16" : "float16";
}

/// config.json also says which dtype the weights are of, under either of two names.
std::string with_dtype(const std::string& config, DType dtype, bool add) {
  Json json = Json::parse(config);
  const char* key = json.contains("dtype") ? "dtype" : "torch_dtype";
  if ((!add && !json.contains(key)) || json.value(key, "") == torch_word(dtype)) return config;
  json[key] = torch_word(dtype);
  return json.dump(2) + "\n";
}

}  // namespace

void import_hugging_face(const fs::path& folder, const fs::path& checkpoint) {
  CHECK(fs::is_directory(folder), folder.string(), ": is not a folder");
  const fs::path config_path = folder / "config.json";
  CHECK(fs::exists(config_path), folder.string(), ": has no config.json");
  CheckpointInfo info;
  info.extra = companions(folder);
  info.extra[kConfig] = read_file(config_path);
  Config config;
  config.model = model_config_from_hugging_face(info.extra[kConfig], config_path.string());
  config.data.sequence_length = std::min(config.data.sequence_length, config.model.max_length);
  info.config = to_toml(config);
  info.seed = config.train.seed;
  info.tokenizer = tokenizer_of(folder);
  const SafetensorsFolder stored(folder);
  CheckpointTensors tensors;
  tensors.model = weights_of(stored, config.model, folder.string());
  save_checkpoint(checkpoint, info, tensors);
}

void export_hugging_face(const fs::path& checkpoint, const fs::path& folder,
                         const ExportOptions& options) {
  const CheckpointReader reader(checkpoint);
  const CheckpointInfo& info = reader.info();
  ModelConfig model = parse_config(info.config, reader.path() + ": config").model;
  const std::string embedding = "model.transformer.wte.weight";
  if (model.vocab_size == 0) model.vocab_size = reader.shape("model", embedding)[0];
  std::vector<TensorInfo> tensors = hugging_face_tensors(model, DType::f32);
  for (TensorInfo& t : tensors) {
    CHECK(reader.has("model", t.name), reader.path(), ": has no tensor /model/", t.name);
    const Shape shape = reader.shape("model", t.name);
    CHECK(shape == t.shape, reader.path(), ": /model/", t.name, " has shape ", shape,
          "; its config makes it ", t.shape);
    t.dtype = options.dtype.value_or(reader.dtype("model", t.name));
  }

  std::map<std::string, std::string> files;
  for (const auto& [key, text] : info.extra) {
    if (!key.starts_with(kFile)) continue;
    const std::string name = key.substr(kFile.size());
    CHECK(fs::path(name).filename() == name && is_companion(name), reader.path(), ": attribute '",
          key, "' does not name a file that belongs beside a model");
    files[name] = text;
  }
  const auto original = info.extra.find(kConfig);
  const bool imported = original != info.extra.end();
  files["config.json"] =
      with_dtype(model_config_to_hugging_face(model, imported ? original->second : ""),
                 tensors.front().dtype, !imported);
  if (!info.tokenizer.empty()) {
    files["tokenizer.json"] = info.tokenizer;
    add_tokenizer_files(files, model, info.tokenizer);
  }

  write_safetensors_sharded(
      folder, tensors, {{"format", "pt"}},
      [&](std::size_t i, const Tensor& out) { read_as(reader, tensors[i].name, out); },
      options.shard_bytes);
  for (const auto& [name, text] : files) write_file(folder / name, text);
}

}  // namespace lacuna
