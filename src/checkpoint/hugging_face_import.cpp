#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "checkpoint/hugging_face.h"
#include "checkpoint/hugging_face_detail.h"
#include "core/atomic_file.h"
#include "core/log.h"

namespace lacuna {
namespace {

namespace fs = std::filesystem;

constexpr std::uintmax_t kLargestFile = 16 << 20;  // of those kept for export

std::map<std::string, std::string> companions(const fs::path& folder) {
  std::map<std::string, std::string> kept;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (!entry.is_regular_file() || !is_companion(name)) continue;
    const bool small = entry.file_size() <= kLargestFile;
    std::string text = small ? read_file(entry.path()) : "";
    if (small && text.find('\0') == std::string::npos)
      kept[std::string(kFileAttribute) + name] = std::move(text);
    else
      log_warning(entry.path().string() +
                  ": is not kept for export: " + (small ? "it is not text" : "it is too large"));
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

}  // namespace

void import_hugging_face(const fs::path& folder, const fs::path& checkpoint) {
  CHECK(fs::exists(folder), folder.string(), ": no such folder");
  CHECK(fs::is_directory(folder), folder.string(), ": is not a folder");
  const fs::path config_path = folder / "config.json";
  CHECK(fs::exists(config_path), folder.string(), ": has no config.json");
  CheckpointInfo info;
  info.extra = companions(folder);
  info.extra[kConfigAttribute] = read_file(config_path);
  Config config;
  config.model = model_config_from_hugging_face(info.extra[kConfigAttribute], config_path.string());
  config.data.sequence_length = std::min(config.data.sequence_length, config.model.max_length);
  info.config = to_toml(config);
  info.seed = config.train.seed;
  info.tokenizer = tokenizer_of(folder);
  const SafetensorsFolder stored(folder);
  CheckpointTensors tensors;
  tensors.model = weights_of(stored, config.model, folder.string());
  save_checkpoint(checkpoint, info, tensors);
}

}  // namespace lacuna
