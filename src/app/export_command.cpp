#include <charconv>
#include <cstdio>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "app/checkpoint_option.h"
#include "app/command_line.h"
#include "app/commands.h"
#include "checkpoint/gguf_export.h"
#include "checkpoint/hugging_face.h"
#include "checkpoint/stored_adapter.h"
#include "config/config.h"
#include "core/check.h"
#include "core/log.h"
#include "core/matrix.h"
#include "core/text.h"
#include "model/weight_spec.h"

namespace lacuna {
namespace {
struct Arguments {
  std::string checkpoint, adapter, output, format, dtype, shard_size = "5GB";
};

/// Bytes of "5GB", "500MB", "2GiB" or "123456".
std::int64_t parse_size(const std::string& text) {
  double number = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  std::string unit(rest, end);
  unit.erase(0, unit.find_first_not_of(' '));
  double scale = 0;
  constexpr std::pair<const char*, double> units[] = {
      {"", 1},      {"B", 1},      {"KB", 1e3},       {"MB", 1e6},         {"GB", 1e9},
      {"TB", 1e12}, {"KiB", 1024}, {"MiB", 1048576.}, {"GiB", 1073741824.}};
  for (const auto& [name, bytes] : units)
    if (unit == name) scale = bytes;
  const double bytes = number * scale;
  if (error != std::errc() || !(bytes >= 1 && bytes < 9e18))
    fail_usage("--shard-size " + text + ": must be a size such as 5GB, 500MB or 2GiB");
  return std::int64_t(bytes);
}

std::vector<std::string> format_names() {
  std::vector<std::string> names;
  for (const MatrixFormatInfo& format : kMatrixFormats) names.emplace_back(format.name);
  return names;
}

/// DIR stands for DIR/model.gguf.
void write_gguf(const Arguments& a) {
  std::filesystem::path file = a.output;
  if (std::filesystem::is_directory(file) || !file.has_filename()) file /= "model.gguf";
  const std::filesystem::path checkpoint = resolve_checkpoint(a.checkpoint);
  // Without --dtype, as the weights are stored.
  const MatrixFormat format = format_named(a.dtype).value_or(
      format_of(open_model(checkpoint)->dtype("model", embedding_name())));
  const GgufExport written = export_gguf(checkpoint, file, format, a.adapter);
  if (written.wider_tensors > 0)
    log_info(str("wider than asked for: ", counted(written.wider_tensors, "matrix", "matrices"),
                 " whose rows are no whole blocks of ", format, ", or of q6_k for the head"));
  std::printf("%s: %s parameters, %s, %s, from %s\n", printable(file.string()).c_str(),
              with_commas(written.parameters).c_str(), text_of(format),
              human_bytes(written.bytes).c_str(), printable(checkpoint.string()).c_str());
}

void write_peft(const Arguments& a, std::optional<DType> dtype) {
  if (!a.adapter.empty())
    fail_usage("--adapter is merged into what is written; --format peft writes adapters alone");
  const std::filesystem::path checkpoint = resolve_checkpoint(a.checkpoint);
  const PeftExport written = export_peft(checkpoint, a.output, dtype);
  std::printf("%s: adapters of rank %lld, %s parameters, %s, from %s\n",
              printable(a.output).c_str(), (long long)written.rank,
              with_commas(written.parameters).c_str(), human_bytes(written.bytes).c_str(),
              printable(checkpoint.string()).c_str());
}

void run(const Arguments& a) {
  if (a.output.empty()) fail_usage("--output: no file or folder was named");
  if (a.format == "gguf") return write_gguf(a);
  ExportOptions options;
  if (const auto asked = format_named(a.dtype)) {
    const MatrixFormatInfo& info = info_of(*asked);
    if (!info.is_float)
      fail_usage(str("--dtype ", info.name, ": safetensors has no such type; --format gguf has"));
    options.dtype = info.dtype;
  }
  if (a.format == "peft") return write_peft(a, options.dtype);
  options.adapter = a.adapter;
  options.shard_bytes = parse_size(a.shard_size);
  const std::filesystem::path checkpoint = resolve_checkpoint(a.checkpoint);
  export_hugging_face(checkpoint, a.output, options);

  const SafetensorsFolder written(a.output);
  std::int64_t parameters = 0, bytes = 0;
  for (const std::string& name : written.names()) {
    parameters += written.view(name).count();
    bytes += written.view(name).bytes();
  }
  std::printf("%s: %s parameters, %s, from %s\n", printable(a.output).c_str(),
              with_commas(parameters).c_str(), human_bytes(bytes).c_str(),
              printable(checkpoint.string()).c_str());
}

}  // namespace

void add_export_command(Command app) {
  auto a = std::make_shared<Arguments>();
  const Command command =
      app.add_subcommand("export", "Write a checkpoint's model as other programs read it");
  add_checkpoint_option(command, a->checkpoint);
  command
      .add_option(
          "--format", a->format,
          "safetensors: a Hugging Face LLaDA folder (config.json, weights, tokenizer); "
          "gguf: a file for llama.cpp, with the tokenizer in it; peft: of a LoRA checkpoint "
          "the adapters alone, as PEFT saves them")
      .required()
      .one_of({"safetensors", "gguf", "peft"});
  command.add_option("--adapter", a->adapter,
                     str(kAdapterHelp, "; they are merged into what is written"));
  command
      .add_option("--output", a->output,
                  "safetensors: folder to write; it appears when complete. In one that exists, "
                  "files of the same names are replaced and weights of an earlier export removed. "
                  "gguf: file to write, or a folder for model.gguf")
      .required();
  command
      .add_option(
          "--dtype", a->dtype,
          "of the weights: f32, bf16, f16, or, in gguf, also q8_0, q6_k, q5_k, q4_k, q4_0 [as "
          "they are stored]")
      .one_of(format_names());
  command
      .add_option("--shard-size", a->shard_size,
                  "safetensors: largest weights file; what exceeds it is cut into several with an "
                  "index")
      .show_default();
  command.callback([a] { run(*a); });
}

}  // namespace lacuna
