#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "checkpoint/hugging_face.h"
#include "checkpoint/hugging_face_detail.h"
#include "checkpoint/model_family.h"
#include "core/check.h"
#include "core/half.h"
#include "core/input_file.h"
#include "core/json.h"
#include "core/log.h"

namespace lacuna {
namespace {

namespace fs = std::filesystem;

constexpr std::uintmax_t kLargestFile = 16 << 20;  // of those kept for export

/// Whether one folder holds the file, at any depth. Both paths are canonical.
bool lies_in(const fs::path& file, const fs::path& folder) {
  const fs::path relative = file.lexically_relative(folder);
  return !relative.empty() && *relative.begin() != "..";
}

/// Where the files of a model folder may come from. Hugging Face's cache keeps a model's files as
/// links: snapshots/REVISION/config.json to blobs/HASH of the same model.
class Origin {
 public:
  explicit Origin(const fs::path& folder) : folder_(fs::canonical(folder)) {
    const fs::path snapshots = folder_.parent_path();
    std::error_code error;
    if (snapshots.filename() == "snapshots")
      cache_ = fs::canonical(snapshots.parent_path() / "blobs", error);
  }
  /// "" for a file of the folder, or of its cache; else what it is a link to.
  std::string elsewhere(const fs::path& file) const {
    std::error_code error;
    const fs::path target = fs::canonical(file, error);
    if (error) return "";  // reading it will say why
    if (lies_in(target, folder_) || (!cache_.empty() && lies_in(target, cache_))) return "";
    return target.string();
  }

 private:
  fs::path folder_, cache_;
};

/// Why a file is not kept for export, or "", with its text.
std::string read_companion(const fs::path& path, const Origin& origin, std::string& text) {
  // What a downloaded folder points to on this machine must not be published with the model.
  if (const std::string target = origin.elsewhere(path); !target.empty())
    return "it is a link to " + target + ", outside of the folder";
  const InputFile file(path);
  if (file.bytes() > std::int64_t(kLargestFile)) return "it is too large";
  text = read_file(path);
  return text.find('\0') == std::string::npos ? "" : "it is not text";
}

std::map<std::string, std::string> companions(const fs::path& folder, const Origin& origin) {
  std::map<std::string, std::string> kept;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (!is_companion(name)) continue;
    std::error_code error;
    if (entry.is_directory(error)) continue;
    std::string text, why;
    try {
      why = read_companion(entry.path(), origin, text);
    } catch (const Error& e) {  // a FIFO, a link to nothing
      log_warning(str(e.what(), "; it is not kept for export"));
      continue;
    }
    if (why.empty())
      kept[std::string(kFileAttribute) + name] = std::move(text);
    else
      log_warning(entry.path().string() + ": is not kept for export: " + why);
  }
  return kept;
}

/// Names the files of the model itself that were taken from outside of its folder.
void report_elsewhere(const fs::path& folder, const Origin& origin) {
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name != "config.json" && name != "tokenizer.json" &&
        name != "model.safetensors.index.json" && entry.path().extension() != ".safetensors")
      continue;
    if (const std::string target = origin.elsewhere(entry.path()); !target.empty())
      log_warning(str(entry.path().string(), ": is a link to ", target,
                      ", outside of the folder; the checkpoint holds what is there"));
  }
}

std::string tokenizer_of(const fs::path& folder) {
  const fs::path path = folder / "tokenizer.json";
  if (!fs::exists(path)) {
    log_warning(path.string() + ": is missing; the checkpoint will only take and give token ids");
    return "";
  }
  std::string text = read_file(path);
  (void)parse_json_object<nlohmann::json>(text, path.string());
  return text;
}

/// Files of the folder but weights, with config.json made the checkpoint's.
CheckpointInfo info_of(const fs::path& folder) {
  CHECK(fs::exists(folder), folder.string(), ": no such folder");
  CHECK(fs::is_directory(folder), folder.string(), ": is not a folder");
  const fs::path config_path = folder / "config.json";
  CHECK(fs::exists(config_path), folder.string(), ": has no config.json");
  const Origin origin(folder);
  report_elsewhere(folder, origin);
  std::map<std::string, std::string> extra = companions(folder, origin);
  const std::string& text = extra[kConfigAttribute] = read_file(config_path);
  CheckpointInfo info = info_of_model(model_config_from_hugging_face(text, config_path.string()));
  info.extra = std::move(extra);
  info.tokenizer = tokenizer_of(folder);
  return info;
}

/// What files of a model may hold beside its weights: the head of tied tables once more, bit for
/// bit, and angles of positions, which older versions of transformers stored.
bool is_superfluous(const SafetensorsFolder& stored, const std::string& name,
                    const ModelConfig& model, NameScheme names, const std::string& folder) {
  if (name.ends_with(".rotary_emb.inv_freq")) return true;
  if (!model.tie_embeddings || name != weight_spec(WeightRole::head).name(names, -1)) return false;
  const std::string embedding = weight_spec(WeightRole::embedding).name(names, -1);
  const Tensor head = stored.view(name), table = stored.view(embedding);
  CHECK(head.shape == table.shape && head.dtype == table.dtype &&
            std::memcmp(head.data, table.data, std::size_t(head.bytes())) == 0,
        folder, ": config.json says that the head is the embedding, but tensor '", name,
        "' differs from '", embedding, "'");
  return true;
}

/// Checks that each weight is there, as config.json describes it, and nothing else is.
void check_weights(const SafetensorsFolder& stored, const ModelConfig& model, NameScheme names,
                   const std::string& folder) {
  std::set<std::string> unknown;
  for (const std::string& name : stored.names()) unknown.insert(name);
  for (const TensorInfo& wanted : hugging_face_tensors(model, DType::f32, names)) {
    CHECK(stored.has(wanted.name), folder, ": tensor '", wanted.name, "' is missing");
    const Tensor t = stored.view(wanted.name);
    CHECK(t.shape == wanted.shape, folder, ": tensor '", wanted.name, "' has shape ", t.shape,
          "; config.json makes it ", wanted.shape);
    CHECK(t.dtype == DType::f32 || t.dtype == DType::bf16 || t.dtype == DType::f16, folder,
          ": tensor '", wanted.name, "' is ", t.dtype, ", not f32, bf16 or f16");
    unknown.erase(wanted.name);
  }
  for (const std::string& name : unknown)
    CHECK(is_superfluous(stored, name, model, names, folder), folder, ": tensor '", name,
          "' has no place in the model that config.json describes");
}

}  // namespace

CheckpointInfo info_of_model(const ModelConfig& model) {
  Config config;
  config.model = model;
  config.data.sequence_length = std::min(config.data.sequence_length, model.max_seq_length);
  CheckpointInfo info;
  info.config = to_toml(config);
  info.seed = config.train.seed;
  return info;
}

bool is_hugging_face_folder(const fs::path& folder) {
  for (const char* file : {"config.json", "model.safetensors", "model.safetensors.index.json"})
    if (fs::exists(folder / file)) return true;
  return false;
}

HuggingFaceReader::HuggingFaceReader(const fs::path& folder)
    : path_(folder.string()), info_(info_of(folder)), stored_(folder) {
  const ModelConfig model = parse_config(info_.config, path_).model;
  const NameScheme names = family_of_export(model, info_.extra.at(kConfigAttribute)).tensors;
  check_weights(stored_, model, names, path_);
  for (const ModelWeight& w : model_weights(model)) {
    names_.push_back(w.name);
    stored_names_[w.name] = w.spec->name(names, w.block, w.expert);
  }
}

std::vector<std::string> HuggingFaceReader::names(const std::string& group) const {
  if (group != "model") return {};
  std::vector<std::string> names = names_;
  std::sort(names.begin(), names.end());
  return names;
}

bool HuggingFaceReader::has(const std::string& group, const std::string& name) const {
  return group == "model" && stored_names_.count(name) == 1;
}

Tensor HuggingFaceReader::view(const std::string& group, const std::string& name) const {
  CHECK(has(group, name), path_, ": has no tensor ", name, " in group ", group);
  return stored_.view(stored_names_.at(name));
}

Shape HuggingFaceReader::shape(const std::string& group, const std::string& name) const {
  return view(group, name).shape;
}

DType HuggingFaceReader::dtype(const std::string& group, const std::string& name) const {
  return view(group, name).dtype;
}

void HuggingFaceReader::read_box(const std::string& group, const std::string& name,
                                 std::int64_t row, std::int64_t col, const Tensor& out) const {
  const Tensor whole = view(group, name);
  check_box(name, whole.shape, row, col, out);
  CHECK(out.dtype == whole.dtype || (out.dtype == DType::f32 && whole.dtype != DType::f64), path_,
        ": tensor '", name, "' holds ", whole.dtype, ", which cannot be read as ", out.dtype);
  const std::int64_t size = size_of(whole.dtype), cols = out.cols();
  for (std::int64_t r = 0; r < out.rows(); ++r) {
    const std::int64_t at = (row + r) * whole.cols() + col;
    void* from = static_cast<char*>(whole.data) + at * size;
    if (out.dtype == whole.dtype)
      std::memcpy(static_cast<char*>(out.data) + r * cols * size, from, std::size_t(cols * size));
    else
      to_floats(Tensor(from, {cols}, whole.dtype), out.as<float>() + r * cols);
  }
}

Matrix HuggingFaceReader::stored(const std::string& group, const std::string& name) const {
  const Tensor t = view(group, name);
  if (t.shape.rank != 2) return {};
  return t;
}

std::vector<NamedTensor> HuggingFaceReader::weights() const {
  std::vector<NamedTensor> weights;
  for (const std::string& name : names_) weights.push_back({name, view("model", name)});
  return weights;
}

void import_hugging_face(const fs::path& folder, const fs::path& checkpoint) {
  const HuggingFaceReader reader(folder);
  CheckpointTensors tensors;
  tensors.model = reader.weights();
  save_checkpoint(checkpoint, reader.info(), tensors);
}

}  // namespace lacuna
