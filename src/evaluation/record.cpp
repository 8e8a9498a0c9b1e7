#include "evaluation/record.h"

#include <cmath>

#include "core/check.h"
#include "core/text.h"
#include "data/corpus.h"
#include "data/jsonl_object.h"

namespace lacuna {
namespace {

bool is_text(const nlohmann::json& value) {
  return value.is_string() || value.is_number() || value.is_boolean();
}

std::string text_of(const nlohmann::json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

std::vector<std::string> texts_of(const nlohmann::json& value, const std::string& what) {
  CHECK(value.is_array(), what, " is no list but ", value.type_name());
  std::vector<std::string> texts;
  for (const nlohmann::json& item : value) {
    CHECK(is_text(item), what, " lists ", item.type_name(), ", not texts");
    texts.push_back(text_of(item));
  }
  return texts;
}

}  // namespace

struct Record::Object {
  nlohmann::json json;

  /// Error naming the nearest field where there is none of that name.
  const nlohmann::json& at(const std::string& field, const std::string& place) const;
};

Record::Record(const std::string& line, std::string place)
    : place_(std::move(place)), bytes_(line.size()) {
  object_ = std::make_shared<const Object>(Object{parse_jsonl_object(line, place_)});
}

const nlohmann::json& Record::json() const { return object_->json; }

bool Record::has(const std::string& field) const { return object_->json.contains(field); }

const nlohmann::json& Record::Object::at(const std::string& field, const std::string& place) const {
  const auto found = json.find(field);
  if (found != json.end()) return *found;
  std::vector<std::string> keys;
  for (const auto& item : json.items()) keys.push_back(item.key());
  const std::string near = nearest(field, keys);
  fail(str(place, ": has no field \"", field, "\"",
           near.empty() ? "" : "; did you mean \"" + near + "\"?"));
}

std::string Record::text(const std::string& field) const {
  const nlohmann::json& value = object_->at(field, place_);
  CHECK(is_text(value), place_, ": field \"", field, "\" is no text but ", value.type_name());
  return text_of(value);
}

std::string Record::text_or(const std::string& field, const std::string& otherwise) const {
  const auto found = object_->json.find(field);
  return found == object_->json.end() || found->is_null() ? otherwise : text(field);
}

std::vector<std::string> Record::list(const std::string& field) const {
  return texts_of(object_->at(field, place_), str(place_, ": field \"", field, "\""));
}

std::optional<std::int64_t> Record::integer(const std::string& field) const {
  const nlohmann::json& value = object_->at(field, place_);
  if (!value.is_number()) return std::nullopt;
  // Beyond 2^53 nothing is an index, and not every integer a double.
  const auto number = value.get<double>();
  if (std::floor(number) != number || std::fabs(number) > 0x1p53) return std::nullopt;
  return std::int64_t(number);
}

Record::Labelled Record::labelled(const std::string& field) const {
  const nlohmann::json& value = object_->at(field, place_);
  const std::string what = str(place_, ": field \"", field, "\"");
  Labelled result;
  if (value.is_object()) {
    CHECK(value.contains("text"), what, " is an object without \"text\"");
    result.texts = texts_of(value["text"], what + ", \"text\"");
    if (value.contains("label")) result.labels = texts_of(value["label"], what + ", \"label\"");
    CHECK(result.labels.empty() || result.labels.size() == result.texts.size(), what, " has ",
          result.texts.size(), " texts and ", result.labels.size(), " labels");
    return result;
  }
  if (!value.is_array() || value.empty() || !value[0].is_object()) {
    result.texts = texts_of(value, what);
    return result;
  }
  for (const nlohmann::json& choice : value) {
    CHECK(choice.is_object() && choice.contains("text") && is_text(choice["text"]), what,
          " lists objects, one of which has no \"text\"");
    result.texts.push_back(text_of(choice["text"]));
    if (!choice.contains("label")) continue;
    CHECK(is_text(choice["label"]), what, ": a \"label\" is no text but ",
          choice["label"].type_name());
    result.labels.push_back(text_of(choice["label"]));
  }
  CHECK(result.labels.empty() || result.labels.size() == result.texts.size(), what, " has ",
        result.texts.size(), " texts and ", result.labels.size(), " labels");
  return result;
}

std::vector<Record> read_records(const std::filesystem::path& file, std::int64_t limit) {
  CorpusReader reader({file.string()}, CorpusFormat::jsonl, CutText{});
  std::vector<Record> records;
  for (CorpusPiece piece;
       (limit == 0 || std::int64_t(records.size()) < limit) && reader.next(piece);)
    records.emplace_back(piece.bytes, reader.place(piece));
  CHECK(!records.empty(), file.string(), ": holds no record");
  return records;
}

}  // namespace lacuna
