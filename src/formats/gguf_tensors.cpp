#include "formats/gguf_tensors.h"

#include <cstdio>
#include <cstdlib>

#include "core/check.h"
#include "core/text.h"

namespace lacuna {
namespace {

std::string known_formats() {
  std::string list;
  for (const MatrixFormatInfo& info : kMatrixFormats)
    list += std::string(list.empty() ? "" : ", ") + info.name;
  return list;
}

/// The files of a split model by the name of its first; the one file of any other.
std::vector<std::filesystem::path> parts_of(const std::filesystem::path& path,
                                            const GgufFile& first) {
  const std::string count = first.text("split.count");
  const long parts = count.empty() ? 1 : std::strtol(count.c_str(), nullptr, 10);
  if (parts == 1) return {path};
  CHECK(parts > 1 && parts < 100000, path.string(), ": split.count = ", shown(count),
        " is no number of files");
  char suffix[32];
  const auto name_end = [&](long part) {
    std::snprintf(suffix, sizeof suffix, "-%05ld-of-%05ld.gguf", part, parts);
    return std::string(suffix);
  };
  const std::string name = path.filename().string(), end = name_end(1);
  CHECK(name.ends_with(end), path.string(), ": is one of ", parts,
        " files of a model; name the first, which ends with ", end);
  std::vector<std::filesystem::path> files;
  for (long part = 1; part <= parts; ++part)
    files.push_back(path.parent_path() /
                    (name.substr(0, name.size() - end.size()) + name_end(part)));
  return files;
}

}  // namespace

GgufTensors::GgufTensors(const std::filesystem::path& path) : path_(path.string()) {
  add_file(path);
  const std::vector<std::filesystem::path> files = parts_of(path, header());
  for (std::size_t i = 1; i < files.size(); ++i) add_file(files[i]);
}

void GgufTensors::add_file(const std::filesystem::path& path) {
  headers_.emplace_back(path);
  files_.emplace_back(path);
  const MappedFile& file = files_.back();
  for (const GgufFile::TensorEntry& t : headers_.back().tensors()) {
    const std::string what = file.name() + ": tensor '" + shown(t.name) + "'";
    Entry entry;
    entry.type = t.type;
    const std::optional<MatrixFormat> format = format_named(t.type);
    if (format) {
      CHECK(t.shape.size() <= 4, what, ": has ", t.shape.size(), " extents");
      for (const std::int64_t extent : t.shape)
        entry.shape.extent[std::size_t(entry.shape.rank++)] = extent;
      entry.format = *format;
      // The header was read before the file was mapped, and the file may have changed.
      CHECK(t.begin <= file.bytes() && std::uint64_t(t.bytes) <= file.bytes() - t.begin, what,
            ": lies beyond the end of the file");
      entry.data = file.data() + t.begin;
    }
    CHECK(entries_.emplace(t.name, entry).second, what, ": occurs twice");
  }
}

std::vector<std::string> GgufTensors::names() const {
  std::vector<std::string> names;
  for (const auto& [name, entry] : entries_) names.push_back(name);
  return names;
}

const GgufTensors::Entry& GgufTensors::at(const std::string& name) const {
  const auto found = entries_.find(name);
  CHECK(found != entries_.end(), path_, ": has no tensor '", shown(name), "'");
  CHECK(found->second.data, path_, ": tensor '", shown(name), "' is ", shown(found->second.type),
        "; this program computes with ", known_formats());
  return found->second;
}

}  // namespace lacuna
