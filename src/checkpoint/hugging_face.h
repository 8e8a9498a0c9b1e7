#pragma once
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "config/config.h"
#include "formats/safetensors.h"
#include "model/weight_spec.h"

namespace lacuna {

// The Hugging Face layout of LLaDA and of the other families (checkpoint/model_family.h):
// config.json, model.safetensors (or shards with an index), tokenizer.json, tokenizer_config.json,
// special_tokens_map.json, generation_config.json.

struct ModelFamily;

/// The model that a config.json describes. Error, naming `file`, key and value, for an unknown
/// family, for what this program's model cannot be (ALiBi, scaled positions, sliding windows,
/// another norm, activation or block) and for a missing key.
ModelConfig model_config_from_hugging_face(const std::string& json, const std::string& file);

/// The family that `model` is exported as: that of `original`, the config.json that the model was
/// imported from, if there is one and the model is still of it; else the first that it fits.
const ModelFamily& family_of_export(const ModelConfig& model, const std::string& original);
/// config.json for `model`. Of an `original` of the same family all keys are kept, unknown ones
/// too, and only those are changed that no longer say what `model` is.
std::string model_config_to_hugging_face(const ModelConfig& model, const std::string& original);

/// Every weight of a model by its Hugging Face name, in the order of the forward pass.
std::vector<TensorInfo> hugging_face_tensors(const ModelConfig& model, DType dtype,
                                             NameScheme names = NameScheme::llada);

/// The Jinja template of dialogues that comes with a model: chat_template.jinja, or chat_template
/// of tokenizer_config.json, of several the one named "default"; "" where there is none. `file`
/// stands for the tokenizer in messages.
std::string kept_chat_template(const CheckpointInfo& info, const std::string& file);

/// Whether a folder is one: it has a config.json, or model.safetensors or its index.
bool is_hugging_face_folder(const std::filesystem::path& folder);

/// The model of a Hugging Face folder, read where it lies. Tensors have LLaDA's names here,
/// whatever those of the files, and keep the dtype they are stored in; there are no checksums.
/// Error when config.json, tensors and shapes do not agree, naming what does not.
class HuggingFaceReader final : public ModelReader {
 public:
  explicit HuggingFaceReader(const std::filesystem::path& folder);

  const std::string& path() const override { return path_; }
  const CheckpointInfo& info() const override { return info_; }
  std::vector<std::string> names(const std::string& group) const override;
  bool has(const std::string& group, const std::string& name) const override;
  Shape shape(const std::string& group, const std::string& name) const override;
  DType dtype(const std::string& group, const std::string& name) const override;
  void read_box(const std::string& group, const std::string& name, std::int64_t row,
                std::int64_t col, const Tensor& out) const override;
  Matrix stored(const std::string& group, const std::string& name) const override;
  using ModelReader::verify;
  void verify(const std::string&, const std::string&) const override {}

  /// In the order of the forward pass; valid while this object lives.
  std::vector<NamedTensor> weights() const;

 private:
  Tensor view(const std::string& group, const std::string& name) const;
  std::string path_;
  CheckpointInfo info_;
  SafetensorsFolder stored_;
  std::vector<std::string> names_;                   // in the order of the forward pass
  std::map<std::string, std::string> stored_names_;  // of each
};

/// Makes a checkpoint, at step 0 and without optimizer states, of a Hugging Face folder.
/// Tensors keep the dtype they are stored in. Error when config.json, tensors and shapes do not
/// agree, naming what does not.
void import_hugging_face(const std::filesystem::path& folder,
                         const std::filesystem::path& checkpoint);

struct ExportOptions {
  std::optional<DType> dtype;  // f32, bf16 or f16; none: as stored
  std::int64_t shard_bytes = kShardBytes;
  std::string adapter = {};  // merged into the model, as open_adapter() takes it; or none
};
/// The way back: import then export gives every tensor bit for bit, and config.json as it was. The
/// folder appears when it is complete. In one that exists, files of the same names are replaced and
/// weights of an earlier export removed. On any Error it stays as it was.
void export_hugging_face(const std::filesystem::path& checkpoint,
                         const std::filesystem::path& folder, const ExportOptions& options = {});

}  // namespace lacuna
