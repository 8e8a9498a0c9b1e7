#pragma once
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "checkpoint/model_reader.h"
#include "config/config.h"

namespace lacuna {

/// Low-rank adapters as they are stored, to be used beside a model of `lora`'s matrices.
struct StoredAdapter {
  std::unique_ptr<const ModelReader> reader;  // group "model": the names of adapter_weights()
  LoraConfig lora;                            // rank, targets, scale()
};

/// Opens a folder as PEFT saves adapters (adapter_config.json, adapter_model.safetensors), a
/// checkpoint of adapters, or a run's folder of such. Error, naming what, when they are not of the
/// matrices of `model`, or PEFT's are of a kind that this program's are not (DoRA, biases, ranks
/// that differ…).
StoredAdapter open_adapter(const std::string& what, const ModelConfig& model);
/// What open_model() gives, with the adapters `what` merged; without, where `what` is empty.
std::unique_ptr<const ModelReader> open_model(const std::filesystem::path& path,
                                              const std::string& what);

/// Writes the adapters of a checkpoint as PEFT reads them (peft.PeftModel.from_pretrained), under
/// the module names of the family that the model is exported as. `dtype` f32, bf16 or f16; none: as
/// stored, in f32 where there are masters. The folder appears when it is complete; in one that
/// exists, the two files are replaced.
struct PeftExport {
  std::int64_t rank = 0, parameters = 0, bytes = 0;
};
PeftExport export_peft(const std::filesystem::path& checkpoint, const std::filesystem::path& folder,
                       std::optional<DType> dtype);

}  // namespace lacuna
