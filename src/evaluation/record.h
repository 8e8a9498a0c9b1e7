#pragma once
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace lacuna {

/// A line of a task's JSONL file.
class Record {
 public:
  /// Throws Error naming `place` (file:line) for anything but a JSON object.
  Record(const std::string& line, std::string place);

  const std::string& place() const { return place_; }
  bool has(const std::string& field) const;
  /// The field as text: strings as they are, numbers and truth values as in JSON. Error when it is
  /// missing (naming the nearest) or something else.
  std::string text(const std::string& field) const;
  /// `otherwise` where the field is missing or null.
  std::string text_or(const std::string& field, const std::string& otherwise) const;
  /// A list of texts. Error when it is no such list.
  std::vector<std::string> list(const std::string& field) const;

 private:
  struct Object;
  std::shared_ptr<const Object> object_;
  std::string place_;
};

/// The first `limit` records of a file (0: all); lines of white space are passed over. Error when
/// there is none.
std::vector<Record> read_records(const std::filesystem::path& file, std::int64_t limit);

/// `text` with each {field} replaced by the record's; "{{" and "}}" are braces. Error naming the
/// record's place for a field it lacks.
std::string fill_in(const std::string& text, const Record& record);

}  // namespace lacuna
