#pragma once
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "checkpoint/model_reader.h"
#include "config/config.h"
#include "formats/safetensors.h"

namespace lacuna {

// Adapters as PEFT saves them (github.com/huggingface/peft, docs/source/developer_guides/
// checkpoint.md): adapter_config.json, and adapter_model.safetensors with
// base_model.model.MODULE.lora_A.weight [r,in] and .lora_B.weight [out,r].

inline constexpr const char* kPeftConfig = "adapter_config.json";
inline constexpr const char* kPeftWeights = "adapter_model.safetensors";
/// Before the names of the model's modules: PeftModel wraps a tuner, which wraps the model.
inline constexpr const char* kPeftPrefix = "base_model.model.";

/// Whether a folder is one: it has an adapter_config.json.
bool is_peft_folder(const std::filesystem::path& folder);

/// The tensors of such a folder under the names of adapter_weights(), whichever family's module
/// names the file has. There are no checksums.
class PeftReader final : public ModelReader {
 public:
  /// Errors as open_adapter().
  PeftReader(const std::filesystem::path& folder, const ModelConfig& model);

  /// What adapter_config.json says.
  const LoraConfig& lora() const { return lora_; }

  const std::string& path() const override { return path_; }
  const CheckpointInfo& info() const override { return info_; }
  std::vector<std::string> names(const std::string& group) const override;
  bool has(const std::string& group, const std::string& name) const override;
  Shape shape(const std::string& group, const std::string& name) const override;
  DType dtype(const std::string& group, const std::string& name) const override;
  void read_box(const std::string& group, const std::string& name, std::int64_t row,
                std::int64_t col, const Tensor& out) const override;
  using ModelReader::verify;
  void verify(const std::string&, const std::string&) const override {}

 private:
  Tensor view(const std::string& group, const std::string& name) const;
  void read_config();
  void find_tensors(const ModelConfig& model);

  std::string path_;
  CheckpointInfo info_;
  LoraConfig lora_;
  SafetensorsFile file_;
  std::map<std::string, std::string> stored_names_;  // by ours
};

}  // namespace lacuna
