#pragma once
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <string>
#include <vector>

namespace lacuna {

/// What the header of a GGUF file says (format: formats/gguf.h): versions 2 and 3, any types of
/// values and tensors. Elements are not read. Error, naming the file, when it is cut short or no
/// such header: lengths, numbers and places of tensors are believed only as far as the file has
/// bytes for them.
class GgufFile {
 public:
  struct Value {
    std::string key, type;    // "u32", "str", "[str]"
    std::string text;         // strings and numbers whole, of an array its first elements
    std::uint64_t count = 1;  // elements of an array
    std::uint64_t begin = 0;  // in the file: the value, or the first element of an array
  };
  struct TensorEntry {
    std::string name;
    std::vector<std::int64_t> shape;  // outermost first
    std::string type;                 // "q8_0"; "type 99" where it is not known
    std::int64_t elements = 0;
    std::int64_t bytes = -1;  // -1 where the type is not known
    std::uint64_t begin = 0;  // of its elements in the file
  };

  explicit GgufFile(const std::filesystem::path& path);

  std::uint32_t version() const { return version_; }
  const std::vector<Value>& values() const { return values_; }
  const std::vector<TensorEntry>& tensors() const { return tensors_; }
  /// The text of a value, or "".
  std::string text(const std::string& key) const;

  // Values with their exact content, read from the file once more. Error, naming file and key,
  // where a key is missing or of another kind.
  const std::string& name() const { return name_; }
  bool has(const std::string& key) const { return find(key) != nullptr; }
  bool flag(const std::string& key) const;
  std::int64_t integer(const std::string& key) const;
  /// An f32 becomes the shortest decimal that rounds to it: 1e-6 is 1e-6.
  double number(const std::string& key) const;
  std::string string(const std::string& key) const;
  std::vector<std::string> strings(const std::string& key) const;
  std::vector<std::int64_t> integers(const std::string& key) const;

 private:
  const Value* find(const std::string& key) const;
  const Value& at(const std::string& key, const char* kind,
                  std::initializer_list<const char*> types) const;
  std::filesystem::path path_;
  std::string name_;
  std::uint32_t version_ = 0;
  std::vector<Value> values_;
  std::vector<TensorEntry> tensors_;
};

}  // namespace lacuna
