#pragma once
// For inspect_*.cpp alone.
#include <filesystem>
#include <string>
#include <vector>

#include "app/inspect_report.h"
#include "config/config.h"
#include "core/tensor.h"

namespace lacuna {

inline void add_fact(InspectReport& report, const std::string& name, const std::string& value) {
  report.facts.push_back({name, value});
}
InspectReport::Row row_of(const std::string& name, const Shape& shape, DType dtype);
/// "1,234 in 5 tensors, bf16, f32".
std::string parameter_summary(const std::vector<InspectReport::Row>& rows);
std::string model_summary(const ModelConfig& model);
/// Of a tokenizer.json; `file` stands for it in messages.
std::string tokenizer_summary(const std::string& json, const std::string& file);
/// In one line of at most some 70 bytes, fit for a terminal.
std::string shortened(const std::string& text);

// Formats of other programs (inspect_foreign.cpp).
void describe_safetensors(InspectReport& report);
void describe_gguf(InspectReport& report);
void describe_hugging_face(InspectReport& report);
/// Any *.safetensors of a folder that is none of Hugging Face's.
void describe_safetensors_folder(InspectReport& report);
/// The files of a folder with that extension, in alphabetical order.
std::vector<std::filesystem::path> files_with(const std::filesystem::path& folder,
                                              const char* extension);

}  // namespace lacuna
