#include <algorithm>

#include "app/inspect_detail.h"
#include "checkpoint/gguf_import.h"
#include "checkpoint/hugging_face.h"
#include "core/check.h"
#include "core/input_file.h"
#include "core/text.h"
#include "formats/gguf_file.h"

namespace lacuna {
namespace {

namespace fs = std::filesystem;
using Row = InspectReport::Row;

void add_tensors(InspectReport& report, const SafetensorsFile& file) {
  for (const std::string& name : file.names())
    report.tensors.push_back(row_of(name, file.shape(name), file.dtype(name)));
}

void add_metadata(InspectReport& report, const SafetensorsFile& file) {
  for (const auto& [key, value] : file.metadata())
    add_fact(report, "metadata", shortened(str(key, " = ", value)));
}

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text;
  for (const std::int64_t extent : shape) text += str(text.empty() ? "" : ",", extent);
  return str("[", text, "]");
}

}  // namespace

std::vector<fs::path> files_with(const fs::path& folder, const char* extension) {
  std::vector<fs::path> files;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error))
    if (entry->path().extension() == extension) files.push_back(entry->path());
  CHECK(!error, folder.string(), ": ", error.message());
  std::sort(files.begin(), files.end());
  return files;
}

void describe_safetensors(InspectReport& report) {
  const SafetensorsFile file(report.path);
  report.kind = "a safetensors file";
  add_tensors(report, file);
  add_fact(report, "parameters", parameter_summary(report.tensors));
  add_metadata(report, file);
}

void describe_safetensors_folder(InspectReport& report) {
  report.kind = "a folder of safetensors files";
  for (const fs::path& path : files_with(report.path, ".safetensors")) {
    const SafetensorsFile file(path);
    report.bytes += std::int64_t(fs::file_size(path));
    add_fact(report, "file",
             str(printable(path.filename().string()), ", ",
                 counted(std::int64_t(file.names().size()), "tensor")));
    add_tensors(report, file);
    add_metadata(report, file);
  }
  add_fact(report, "parameters", parameter_summary(report.tensors));
}

void describe_hugging_face(InspectReport& report) {
  const fs::path folder(report.path);
  report.kind = "a Hugging Face folder";
  const SafetensorsFolder weights(folder);
  for (const std::string& name : weights.names()) {
    const Tensor t = weights.view(name);
    report.tensors.push_back(row_of(name, t.shape, t.dtype));
    report.bytes += t.bytes();
  }
  try {
    const std::string file = (folder / "config.json").string();
    add_fact(report, "model", model_summary(model_config_from_hugging_face(read_file(file), file)));
  } catch (const Error& e) {
    add_fact(report, "model", str("cannot be used: ", e.what()));
  }
  add_fact(report, "parameters", parameter_summary(report.tensors));
  if (const fs::path file = folder / "tokenizer.json"; fs::exists(file))
    report.tokenizer = read_file(file);
  add_fact(report, "tokenizer",
           tokenizer_summary(report.tokenizer, (folder / "tokenizer.json").string()));
}

void describe_gguf(InspectReport& report) {
  const GgufFile file(report.path);
  report.kind = str("a GGUF file, version ", file.version());
  for (const GgufFile::TensorEntry& t : file.tensors())
    report.tensors.push_back({t.name, shape_text(t.shape), t.type, t.elements, t.bytes});
  try {
    add_fact(report, "model", model_summary(model_config_from_gguf(file)));
  } catch (const Error& e) {
    add_fact(report, "model", str("cannot be used: ", e.what()));
  }
  add_fact(report, "parameters", parameter_summary(report.tensors));
  for (const GgufFile::Value& value : file.values()) {
    std::string text = shortened(value.text);
    if (value.type.starts_with("["))
      text = str(with_commas(std::int64_t(value.count)), " ", value.type, text.empty() ? "" : ": ",
                 text);
    add_fact(report, printable(value.key), text);
  }
}

}  // namespace lacuna
