#include "app/inspect_report.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "app/inspect_detail.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/checkpoint_config.h"
#include "checkpoint/hugging_face.h"
#include "core/check.h"
#include "core/input_file.h"
#include "core/text.h"
#include "data/megatron_tokens.h"
#include "data/token_file.h"
#include "data/token_manifest.h"
#include "formats/damage.h"
#include "tokenizer/tokenizer.h"

namespace lacuna {
namespace {

namespace fs = std::filesystem;
using Row = InspectReport::Row;

std::string dtypes_of(const std::vector<Row>& rows) {
  std::set<std::string> names;
  for (const Row& row : rows) names.insert(row.type);
  std::string list;
  for (const std::string& name : names) list += (list.empty() ? "" : ", ") + name;
  return list;
}

/// "4,096 ids; mask 4092 <|mdm_mask|>, end 4093 <|endoftext|>".
std::string summary(const Tokenizer& t) {
  std::string text = with_commas(t.vocab_size()) + " ids";
  const std::pair<const char*, std::int64_t> roles[] = {
      {"mask", t.mask_token()}, {"end", t.eos_token()}, {"padding", t.pad_token()}};
  const char* separator = "; ";
  for (const auto& [role, id] : roles) {
    if (id < 0) continue;
    const auto token = std::int32_t(id);
    text += str(separator, role, ' ', id, ' ', t.decode(std::span(&token, 1), false));
    separator = ", ";
  }
  return text;
}

}  // namespace

Row row_of(const std::string& name, const Shape& shape, DType dtype) {
  return {name, str(shape), name_of(dtype), shape.count(), shape.count() * size_of(dtype)};
}

std::string parameter_summary(const std::vector<Row>& rows) {
  std::int64_t elements = 0;
  for (const Row& row : rows) elements += row.elements;
  return str(with_commas(elements), " in ", counted(std::int64_t(rows.size()), "tensor"),
             rows.empty() ? "" : ", ", dtypes_of(rows));
}

std::string attention_of(const ModelConfig& m) {
  const std::string kind = str(word_of(m.attention), " attention");
  if (m.attention != Attention::block_causal) return kind;
  return str(kind, " in blocks of ", counted(m.block_size, "token"),
             m.causal_context ? " with causal context" : "");
}

std::string feed_forward_of(const ModelConfig& m) {
  if (!m.has_experts()) return str("feed-forward ", m.intermediate_size);
  return str(counted(m.num_experts, "expert"), " of width ", m.intermediate_size, ", ",
             m.num_experts_per_tok, " for a token");
}

std::string model_summary(const ModelConfig& m) {
  return str(counted(m.num_layers, "layer"), ", width ", m.hidden_size, ", ",
             counted(m.num_heads, "head"), " (", m.kv_heads(), " for keys and values), ",
             feed_forward_of(m), ", length ", m.max_seq_length, ", vocabulary ",
             with_commas(m.vocab_size), ", ", attention_of(m),
             m.tie_embeddings ? ", tied embeddings" : "");
}

std::string shortened(const std::string& text) {
  constexpr std::size_t kMost = 70;
  const std::size_t line = text.find('\n');
  if (line == std::string::npos && text.size() <= kMost + 3) return printable(text);
  return printable(text.substr(0, std::min(line, kMost))) + "...";
}

std::string tokenizer_summary(const std::string& json, const std::string& file) {
  if (json.empty()) return "none";
  try {
    return summary(Tokenizer::from_json(json, file));
  } catch (const Error& e) {
    return str("cannot be used: ", e.what());
  }
}

namespace {

/// Alphabetical, but with numbers by their value: blocks.2 before blocks.10.
bool natural_order(const Row& a, const Row& b) {
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  std::size_t i = 0, j = 0;
  while (i < a.name.size() && j < b.name.size()) {
    if (digit(a.name[i]) && digit(b.name[j])) {
      std::size_t i_end = i, j_end = j;
      while (i_end < a.name.size() && digit(a.name[i_end])) ++i_end;
      while (j_end < b.name.size() && digit(b.name[j_end])) ++j_end;
      const std::string x = a.name.substr(i, i_end - i), y = b.name.substr(j, j_end - j);
      if (x != y) return std::pair(x.size(), x) < std::pair(y.size(), y);
      i = i_end;
      j = j_end;
    } else if (a.name[i] != b.name[j]) {
      return a.name[i] < b.name[j];
    } else {
      ++i;
      ++j;
    }
  }
  return a.name.size() - i < b.name.size() - j;
}

/// Every dataset at or beneath `group`; counts those of types unknown here.
void collect(const h5::File& file, const std::string& group, std::vector<Row>& rows, int& others) {
  for (const std::string& name : file.list(group)) {
    const std::string path = (group == "/" ? "" : group) + "/" + name;
    if (!file.exists(path)) {  // a link to nowhere
      ++others;
    } else if (!file.is_dataset(path)) {
      collect(file, path, rows, others);
    } else {
      try {
        rows.push_back(row_of(path, file.shape(path), file.dtype(path)));
      } catch (const Error&) {
        ++others;
      }
    }
  }
}

void compare_checksums(const h5::File& file, bool ours, InspectReport& report) {
  std::size_t without = 0, matching = 0;
  for (const Row& row : report.tensors) {
    if (!ours && !file.has_attribute(row.name, "crc32c")) {
      ++without;
      continue;
    }
    try {
      file.verify(row.name);
      ++matching;
    } catch (const DamagedFile&) {
      report.damaged.push_back(row.name);
    }
  }
  std::string result = str(matching, matching == 1 ? " dataset matches" : " datasets match");
  if (!report.damaged.empty()) result += str(", ", report.damaged.size(), " DAMAGED");
  if (without > 0) result += str(", ", without, " have none");
  add_fact(report, "checksums", result);
}

void describe_checkpoint(InspectReport& report) {
  const CheckpointReader reader(report.path);
  const CheckpointInfo& info = reader.info();
  report.kind = "a checkpoint";
  report.config = info.config;
  report.tokenizer = info.tokenizer;
  add_fact(report, "step",
           with_commas(info.step) +
               (info.bad_steps > 0 ? str(" (", info.bad_steps, " without an update)") : ""));
  add_fact(report, "seen", counted(info.samples, "sample") + ", " + counted(info.tokens, "token"));
  add_fact(report, "seed", std::to_string(info.seed));
  try {
    const Config config = config_of_checkpoint(reader);
    add_fact(report, "model", model_summary(config.model));
    add_fact(report, "objective", word_of(config.train.objective));
  } catch (const Error& e) {
    add_fact(report, "model", str("cannot be used: ", e.what()));
  }
  std::vector<Row> weights;
  for (const std::string& name : reader.names("model"))
    weights.push_back(row_of(name, reader.shape("model", name), reader.dtype("model", name)));
  add_fact(report, "parameters", parameter_summary(weights));
  std::string states;
  for (const auto& [group, name] : {std::pair{"first_moment", "first moment"},
                                    {"second_moment", "second moment"},
                                    {"master", "f32 weights"},
                                    {"ema", "weight average"}})
    if (!reader.names(group).empty()) states += (states.empty() ? "" : ", ") + std::string(name);
  add_fact(report, "optimizer", states.empty() ? "no states" : states);
  add_fact(report, "tokenizer", tokenizer_summary(info.tokenizer, reader.path() + ": tokenizer"));
  if (!info.extra.empty()) add_fact(report, "imported", "from a Hugging Face folder");
}

void describe_tokens(InspectReport& report) {
  const TokenFile file(report.path);
  report.kind = "a token file";
  report.tokenizer = file.tokenizer_json();
  const std::int64_t documents = file.documents();
  std::int64_t longest = 0;
  for (std::int64_t i = 0; i < documents; ++i)
    longest = std::max(longest, file.offset(i + 1) - file.offset(i));
  add_fact(report, "documents",
           str(with_commas(documents), "; the longest has ", counted(longest, "token")));
  add_fact(report, "tokens", with_commas(file.tokens()));
  if (file.vocab_size() > 0)
    add_fact(report, "vocabulary", with_commas(file.vocab_size()) + " ids");
  if (file.rows() > 0)
    add_fact(report, "rows", str(with_commas(file.rows()), " of at most ", file.row_length()));
  add_fact(report, "tokenizer",
           tokenizer_summary(file.tokenizer_json(), file.path() + ": tokenizer"));
}

/// A folder of token files, or a Megatron dataset.
void describe_token_files(InspectReport& report, bool verify) {
  describe_tokens(report);
  const TokenFile files(report.path);
  const bool megatron = megatron_index(report.path).has_value();
  report.kind = megatron ? "a Megatron dataset" : "token files with a manifest";
  for (const std::string& file : files.files()) report.bytes += std::int64_t(fs::file_size(file));
  add_fact(report, "files", with_commas(std::int64_t(files.files().size())));
  if (!verify || megatron) return;
  files.verify();
  add_fact(report, "checksums", "all datasets match");
}

/// In one line.
void describe_attribute(const h5::File& file, const std::string& name, InspectReport& report) {
  std::string text;
  try {
    std::visit([&](const auto& value) { text = str(value); }, file.attribute("/", name));
  } catch (const Error&) {
    text = "(of another type)";
  }
  add_fact(report, name, shortened(text));
}

void describe_hdf5(InspectReport& report, bool verify) {
  const h5::File file = h5::File::open(report.path);
  const std::string format =
      file.has_attribute("format") ? file.string_attribute("format") : std::string();
  report.kind = "an HDF5 file" + (format.empty() ? "" : " of format '" + format + "'");
  int others = 0;
  collect(file, "/", report.tensors, others);
  if (format == "lacuna-checkpoint") {
    describe_checkpoint(report);
  } else if (format == "lacuna-tokens") {
    describe_tokens(report);
  } else {
    for (const std::string& name : file.attribute_names()) describe_attribute(file, name, report);
    add_fact(
        report, "datasets",
        str(report.tensors.size(), others > 0 ? str(", and ", others, " of other types") : ""));
  }
  if (file.has_attribute("version"))
    report.kind += str(", version ", file.int_attribute("version"));
  if (verify) compare_checksums(file, format.starts_with("lacuna-"), report);
}

enum class FileKind { hdf5, safetensors, gguf, other };
FileKind kind_of(const InputFile& file) {
  const std::string start = file.begin(9);
  if (start.starts_with("\x89HDF\r\n\x1a\n")) return FileKind::hdf5;
  if (start.starts_with("GGUF")) return FileKind::gguf;
  const bool named = fs::path(file.name()).extension() == ".safetensors";  // it may be damaged
  return named || (start.size() == 9 && start[8] == '{') ? FileKind::safetensors : FileKind::other;
}

void describe_file(InspectReport& report, bool verify) {
  const InputFile file(report.path);
  report.bytes = file.bytes();
  switch (kind_of(file)) {
    case FileKind::hdf5:
      return describe_hdf5(report, verify);
    case FileKind::safetensors:
      return describe_safetensors(report);
    case FileKind::gguf:
      return describe_gguf(report);
    case FileKind::other:
      fail(report.path +
           ": is neither an HDF5 file (checkpoint, token file) nor a safetensors or GGUF file");
  }
}

void describe_folder(InspectReport& report, bool verify) {
  const fs::path folder(report.path);
  if (is_hugging_face_folder(folder)) return describe_hugging_face(report);
  const std::vector<fs::path> hdf5 = files_with(folder, ".h5");
  const bool of_run = fs::exists(folder / "checkpoints") ||
                      std::any_of(hdf5.begin(), hdf5.end(), [](const auto& f) {
                        return f.filename().string().starts_with("step-");
                      });
  if (!of_run && !files_with(folder, ".safetensors").empty())
    return describe_safetensors_folder(report);
  const std::vector<fs::path> gguf = files_with(folder, ".gguf");
  CHECK(of_run || gguf.size() < 2, report.path, ": holds ",
        counted(std::int64_t(gguf.size()), "GGUF file"), "; name one, such as ",
        gguf.empty() ? "" : gguf.front().string());
  report.path =
      of_run || gguf.empty() ? resolve_checkpoint(report.path).string() : gguf.front().string();
  describe_file(report, verify);
}

}  // namespace

InspectReport inspect(const std::string& path, bool verify) {
  InspectReport report;
  report.path = path;
  std::error_code error;
  if (megatron_index(path) || fs::exists(path + "/" + kManifestName, error))
    describe_token_files(report, verify);
  else if (fs::is_directory(path, error))
    describe_folder(report, verify);
  else
    describe_file(report, verify);
  const auto is_checksums = [](const InspectReport::Fact& f) { return f.name == "checksums"; };
  if (verify && std::none_of(report.facts.begin(), report.facts.end(), is_checksums))
    add_fact(report, "checksums", "this format has none");
  std::sort(report.tensors.begin(), report.tensors.end(), natural_order);
  return report;
}

std::string to_text(const InspectReport& report, bool tensors) {
  const auto padded = [](std::string text, std::size_t width) {
    text.resize(std::max(text.size(), width), ' ');
    return text;
  };
  std::string text =
      str(printable_line(report.path + ": " + report.kind), ", ", human_bytes(report.bytes), "\n");
  std::size_t width = 0;
  for (const auto& fact : report.facts) width = std::max(width, fact.name.size());
  for (const auto& [name, value] : report.facts)
    text += "  " + padded(printable_line(name), width) + "  " + printable_line(value) + "\n";
  if (!tensors) return text;
  std::size_t name_width = 0, shape_width = 0;
  for (const Row& row : report.tensors) {
    name_width = std::max(name_width, row.name.size());
    shape_width = std::max(shape_width, row.shape.size());
  }
  text += '\n';
  for (const Row& row : report.tensors)
    text += padded(printable_line(row.name), name_width) + "  " + padded(row.shape, shape_width) +
            "  " + padded(row.type, 4) + "  " + (row.bytes < 0 ? "?" : human_bytes(row.bytes)) +
            "\n";
  return text;
}

}  // namespace lacuna
