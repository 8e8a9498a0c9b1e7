#include "app/inspect_report.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>

#include "checkpoint/checkpoint.h"
#include "checkpoint/damage.h"
#include "checkpoint/hugging_face.h"
#include "core/atomic_file.h"
#include "core/check.h"
#include "core/text.h"
#include "data/token_file.h"
#include "tokenizer/tokenizer.h"
#include "training/model_io.h"

namespace lacuna {
namespace {

namespace fs = std::filesystem;
using Row = InspectReport::Row;

void add(InspectReport& report, const std::string& name, const std::string& value) {
  report.facts.push_back({name, value});
}

std::string dtypes_of(const std::vector<Row>& rows) {
  std::set<std::string> names;
  for (const Row& row : rows) names.insert(name_of(row.dtype));
  std::string list;
  for (const std::string& name : names) list += (list.empty() ? "" : ", ") + name;
  return list;
}

std::int64_t elements_of(const std::vector<Row>& rows) {
  std::int64_t n = 0;
  for (const Row& row : rows) n += row.shape.count();
  return n;
}

std::string summary(const ModelConfig& m) {
  return str(m.layers, m.layers == 1 ? " layer" : " layers", ", width ", m.width, ", ", m.heads,
             m.heads == 1 ? " head" : " heads", " (", m.key_heads(), " for keys and values), ",
             "feed-forward ", m.ffn_width, ", length ", m.max_length, ", vocabulary ",
             with_commas(m.vocab_size), ", ", word_of(m.attention), " attention",
             m.tied_embeddings ? ", tied embeddings" : "");
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

std::string tokenizer_summary(const std::string& json, const std::string& file) {
  if (json.empty()) return "none";
  try {
    return summary(Tokenizer::from_json(json, file));
  } catch (const Error& e) {
    return str("cannot be used: ", e.what());
  }
}

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
        rows.push_back({path, file.shape(path), file.dtype(path)});
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
  add(report, "checksums", result);
}

void describe_checkpoint(InspectReport& report) {
  const CheckpointReader reader(report.path);
  const CheckpointInfo& info = reader.info();
  report.kind = "a checkpoint";
  report.config = info.config;
  report.tokenizer = info.tokenizer;
  add(report, "step",
      with_commas(info.step) +
          (info.bad_steps > 0 ? str(" (", info.bad_steps, " without an update)") : ""));
  add(report, "seen",
      str(with_commas(info.samples), " samples, ", with_commas(info.tokens), " tokens"));
  add(report, "seed", std::to_string(info.seed));
  try {
    const Config config = config_of_checkpoint(reader);
    add(report, "model", summary(config.model));
    add(report, "objective", word_of(config.train.objective));
  } catch (const Error& e) {
    add(report, "model", str("cannot be used: ", e.what()));
  }
  std::vector<Row> weights;
  for (const std::string& name : reader.names("model"))
    weights.push_back({name, reader.shape("model", name), reader.dtype("model", name)});
  add(report, "parameters",
      str(with_commas(elements_of(weights)), " in ", weights.size(), " tensors, ",
          dtypes_of(weights)));
  std::string states;
  for (const auto& [group, name] : {std::pair{"first_moment", "first moment"},
                                    {"second_moment", "second moment"},
                                    {"master", "f32 weights"}})
    if (!reader.names(group).empty()) states += (states.empty() ? "" : ", ") + std::string(name);
  add(report, "optimizer", states.empty() ? "no states" : states);
  add(report, "tokenizer", tokenizer_summary(info.tokenizer, reader.path() + ": tokenizer"));
  if (!info.extra.empty()) add(report, "imported", "from a Hugging Face folder");
}

void describe_tokens(InspectReport& report) {
  const TokenFile file(report.path);
  report.kind = "a token file";
  report.tokenizer = file.tokenizer_json();
  const std::int64_t documents = file.documents();
  std::int64_t longest = 0;
  for (std::int64_t i = 0; i < documents; ++i)
    longest = std::max(longest, file.offset(i + 1) - file.offset(i));
  add(report, "documents",
      str(with_commas(documents), "; the longest has ", with_commas(longest), " tokens"));
  add(report, "tokens", with_commas(file.tokens()));
  add(report, "vocabulary", with_commas(file.vocab_size()) + " ids");
  add(report, "tokenizer", tokenizer_summary(file.tokenizer_json(), file.path() + ": tokenizer"));
}

/// In one line.
void describe_attribute(const h5::File& file, const std::string& name, InspectReport& report) {
  std::string text;
  try {
    std::visit([&](const auto& value) { text = str(value); }, file.attribute("/", name));
  } catch (const Error&) {
    text = "(of another type)";
  }
  if (const auto end = std::min(text.find('\n'), std::size_t{70}); end < text.size())
    text = text.substr(0, end) + "...";
  add(report, name, text);
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
    add(report, "datasets",
        str(report.tensors.size(), others > 0 ? str(", and ", others, " of other types") : ""));
  }
  if (file.has_attribute("version"))
    report.kind += str(", version ", file.int_attribute("version"));
  if (verify) compare_checksums(file, format.starts_with("lacuna-"), report);
}

void describe_safetensors(InspectReport& report, bool verify) {
  const SafetensorsFile file(report.path);
  report.kind = "a safetensors file";
  for (const std::string& name : file.names())
    report.tensors.push_back({name, file.shape(name), file.dtype(name)});
  add(report, "tensors", std::to_string(report.tensors.size()));
  add(report, "elements",
      str(with_commas(elements_of(report.tensors)), ", ", dtypes_of(report.tensors)));
  for (const auto& [key, value] : file.metadata()) add(report, "metadata", str(key, " = ", value));
  if (verify) add(report, "checksums", "this format has none");
}

void describe_hugging_face(InspectReport& report, bool verify) {
  const fs::path folder(report.path);
  report.kind = "a Hugging Face folder";
  const SafetensorsFolder weights(folder);
  for (const std::string& name : weights.names()) {
    const Tensor t = weights.view(name);
    report.tensors.push_back({name, t.shape, t.dtype});
    report.bytes += t.bytes();
  }
  try {
    const std::string file = (folder / "config.json").string();
    add(report, "model", summary(model_config_from_hugging_face(read_file(file), file)));
  } catch (const Error& e) {
    add(report, "model", str("cannot be imported: ", e.what()));
  }
  add(report, "parameters",
      str(with_commas(elements_of(report.tensors)), " in ", report.tensors.size(), " tensors, ",
          dtypes_of(report.tensors)));
  if (const fs::path file = folder / "tokenizer.json"; fs::exists(file))
    report.tokenizer = read_file(file);
  add(report, "tokenizer",
      tokenizer_summary(report.tokenizer, (folder / "tokenizer.json").string()));
  if (verify) add(report, "checksums", "this format has none");
}

enum class FileKind { hdf5, safetensors, other };
FileKind kind_of(const fs::path& path) {
  char start[9] = {};
  std::ifstream(path, std::ios::binary).read(start, sizeof start);
  if (std::string_view(start, 8) == "\x89HDF\r\n\x1a\n") return FileKind::hdf5;
  const bool named = path.extension() == ".safetensors";  // it may be damaged
  return named || start[8] == '{' ? FileKind::safetensors : FileKind::other;
}

bool is_hugging_face(const fs::path& folder) {
  for (const char* file : {"config.json", "model.safetensors", "model.safetensors.index.json"})
    if (fs::exists(folder / file)) return true;
  return false;
}

void describe_file(InspectReport& report, bool verify) {
  const fs::path path(report.path);
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  CHECK(fs::exists(status), report.path, ": ",
        error ? error.message() : "no such file or directory");
  CHECK(fs::is_regular_file(status), report.path, ": is not a regular file");
  report.bytes = std::int64_t(fs::file_size(path));
  switch (kind_of(path)) {
    case FileKind::hdf5:
      return describe_hdf5(report, verify);
    case FileKind::safetensors:
      return describe_safetensors(report, verify);
    case FileKind::other:
      fail(report.path + ": is neither an HDF5 file (checkpoint, token file) nor safetensors");
  }
}

}  // namespace

InspectReport inspect(const std::string& path, bool verify) {
  InspectReport report;
  report.path = path;
  std::error_code error;
  if (fs::is_directory(path, error)) {
    if (is_hugging_face(path)) {
      describe_hugging_face(report, verify);
    } else {
      report.path = resolve_checkpoint(path).string();
      describe_file(report, verify);
    }
  } else {
    describe_file(report, verify);
  }
  std::sort(report.tensors.begin(), report.tensors.end(), natural_order);
  return report;
}

std::string to_text(const InspectReport& report, bool tensors) {
  const auto padded = [](std::string text, std::size_t width) {
    text.resize(std::max(text.size(), width), ' ');
    return text;
  };
  std::string text = str(report.path, ": ", report.kind, ", ", human_bytes(report.bytes), "\n");
  std::size_t width = 0;
  for (const auto& fact : report.facts) width = std::max(width, fact.name.size());
  for (const auto& [name, value] : report.facts)
    text += "  " + padded(name, width) + "  " + value + "\n";
  if (!tensors) return text;
  std::size_t name_width = 0, shape_width = 0;
  for (const Row& row : report.tensors) {
    name_width = std::max(name_width, row.name.size());
    shape_width = std::max(shape_width, str(row.shape).size());
  }
  text += '\n';
  for (const Row& row : report.tensors)
    text += padded(row.name, name_width) + "  " + padded(str(row.shape), shape_width) + "  " +
            padded(name_of(row.dtype), 4) + "  " + human_bytes(row.bytes()) + "\n";
  return text;
}

}  // namespace lacuna
