#include "evaluation/record.h"

#include <fstream>

#include "core/text.h"
#include "data/jsonl_object.h"

namespace lacuna {

struct Record::Object {
  nlohmann::json json;
};

Record::Record(const std::string& line, std::string place) : place_(std::move(place)) {
  object_ = std::make_shared<const Object>(Object{parse_jsonl_object(line, place_)});
}

bool Record::has(const std::string& field) const { return object_->json.contains(field); }

std::string Record::text(const std::string& field) const {
  const auto found = object_->json.find(field);
  if (found == object_->json.end()) {
    std::vector<std::string> keys;
    for (const auto& item : object_->json.items()) keys.push_back(item.key());
    const std::string near = nearest(field, keys);
    fail(str(place_, ": has no field \"", field, "\"",
             near.empty() ? "" : "; did you mean \"" + near + "\"?"));
  }
  if (found->is_string()) return found->get<std::string>();
  CHECK(found->is_number() || found->is_boolean(), place_, ": field \"", field,
        "\" is no text but ", found->type_name());
  return found->dump();
}

std::string Record::text_or(const std::string& field, const std::string& otherwise) const {
  const auto found = object_->json.find(field);
  return found == object_->json.end() || found->is_null() ? otherwise : text(field);
}

std::vector<std::string> Record::list(const std::string& field) const {
  const auto found = object_->json.find(field);
  CHECK(found != object_->json.end(), place_, ": has no field \"", field, "\"");
  CHECK(found->is_array(), place_, ": field \"", field, "\" is no list but ", found->type_name());
  std::vector<std::string> texts;
  for (const auto& item : *found) {
    CHECK(item.is_string() || item.is_number(), place_, ": field \"", field, "\" lists ",
          item.type_name(), ", not texts");
    texts.push_back(item.is_string() ? item.get<std::string>() : item.dump());
  }
  return texts;
}

std::vector<Record> read_records(const std::filesystem::path& file, std::int64_t limit) {
  std::ifstream in(file);
  CHECK(in, file.string(), ": cannot be read");
  std::vector<Record> records;
  std::string line;
  for (std::int64_t number = 1; std::getline(in, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    if (limit > 0 && std::int64_t(records.size()) == limit) break;
    records.emplace_back(line, str(file.string(), ":", number));
  }
  CHECK(!records.empty(), file.string(), ": holds no record");
  return records;
}

std::string fill_in(const std::string& text, const Record& record) {
  std::string filled;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if ((c == '{' || c == '}') && i + 1 < text.size() && text[i + 1] == c) {
      filled += c;
      ++i;
      continue;
    }
    const std::size_t close = c == '{' ? text.find('}', i) : std::string::npos;
    if (close == std::string::npos) {
      filled += c;
      continue;
    }
    filled += record.text(text.substr(i + 1, close - i - 1));
    i = close;
  }
  return filled;
}

}  // namespace lacuna
