#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

namespace lacuna {

/// A line of a task's JSONL file.
class Record {
 public:
  /// Throws Error naming `place` (file:line) for anything but a JSON object.
  Record(const std::string& line, std::string place);

  const std::string& place() const { return place_; }
  /// Of the line.
  std::size_t bytes() const { return bytes_; }
  /// The object that the line is.
  const nlohmann::json& json() const;
  bool has(const std::string& field) const;
  /// The field as text: strings as they are, numbers and truth values as in JSON. Error when it is
  /// missing (naming the nearest) or something else.
  std::string text(const std::string& field) const;
  /// `otherwise` where the field is missing or null.
  std::string text_or(const std::string& field, const std::string& otherwise) const;
  /// A list of texts. Error when it is no such list.
  std::vector<std::string> list(const std::string& field) const;
  /// The field when it is a whole number: 3, or 3.0 as tables with gaps are exported; else nothing.
  std::optional<std::int64_t> integer(const std::string& field) const;
  /// Choices as benchmarks list them: texts, objects {"text": …, "label": …}, or an object of two
  /// lists {"text": […], "label": […]}. `labels` is empty where there are none. Error for anything
  /// else.
  struct Labelled {
    std::vector<std::string> texts, labels;
  };
  Labelled labelled(const std::string& field) const;

 private:
  struct Object;
  std::shared_ptr<const Object> object_;
  std::string place_;
  std::size_t bytes_;
};

/// The first `limit` records of a file (0: all), as CorpusReader reads JSONL. Error when there is
/// none.
std::vector<Record> read_records(const std::filesystem::path& file, std::int64_t limit);

}  // namespace lacuna
