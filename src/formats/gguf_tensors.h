#pragma once
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "core/matrix.h"
#include "formats/gguf_file.h"
#include "formats/mapped_file.h"

namespace lacuna {

/// The tensors of a GGUF file, or of all files of a model that is split
/// (NAME-00001-of-00003.gguf, named by the first), mapped into memory. Error, naming the file, when
/// headers are damaged (GgufFile), a part is missing, or a name occurs twice. Nothing of the
/// elements is read before it is asked for.
class GgufTensors {
 public:
  struct Entry {
    Shape shape;  // outermost first
    MatrixFormat format = MatrixFormat::f32;
    const char* data = nullptr;  // at least 8-byte aligned
    std::string type;            // in the file's words
  };

  explicit GgufTensors(const std::filesystem::path& path);

  const std::string& path() const { return path_; }
  /// Of the first file, which holds the model's keys.
  const GgufFile& header() const { return headers_.front(); }
  /// In alphabetical order.
  std::vector<std::string> names() const;
  bool has(const std::string& name) const { return entries_.count(name) > 0; }
  /// Error when there is none, or of a type that is no MatrixFormat.
  const Entry& at(const std::string& name) const;

 private:
  void add_file(const std::filesystem::path& path);

  std::string path_;
  std::vector<GgufFile> headers_;
  std::vector<MappedFile> files_;
  std::map<std::string, Entry> entries_;
};

}  // namespace lacuna
