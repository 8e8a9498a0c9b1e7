#include "tokenizer/tokenizer_json.h"

#include <string_view>
#include <unordered_set>
#include <utility>

#include "core/check.h"
#include "core/json.h"
#include "core/log.h"
#include "core/text.h"
#include "tokenizer/byte_alphabet.h"

namespace lacuna {
namespace {

using Json = nlohmann::json;

// A table by id is made of the tokens; no real vocabulary comes near this.
constexpr std::int64_t kMaxIds = std::int64_t{1} << 24;

/// A value of the file, and what to call it in messages.
class Value {
 public:
  Value(const Json& json, std::string path, const std::string& file)
      : json_(&json), path_(std::move(path)), file_(&file) {}

  const Json& json() const { return *json_; }
  /// "tokenizer.json: model.vocab".
  std::string name() const { return str(*file_, ": ", path_.empty() ? "the file" : path_); }
  [[noreturn]] void refuse(const std::string& what) const { fail(name() + " " + what); }
  void expect(bool condition, const char* what) const {
    if (!condition) refuse(str("is not ", what, " but ", json_->type_name()));
  }

  /// A null is as good as none.
  bool has(const char* key) const {
    expect(json_->is_object(), "an object");
    const auto found = json_->find(key);
    return found != json_->end() && !found->is_null();
  }
  Value operator[](const char* key) const {
    if (!has(key)) refuse(str("has no \"", key, "\""));
    return {(*json_)[key], path_.empty() ? key : str(path_, ".", key), *file_};
  }
  std::size_t size() const {
    expect(json_->is_array(), "a list");
    return json_->size();
  }
  Value at(std::size_t i) const { return {(*json_)[i], str(path_, "[", i, "]"), *file_}; }
  const std::string& text() const {
    expect(json_->is_string(), "a string");
    return json_->get_ref<const std::string&>();
  }
  bool flag() const {
    expect(json_->is_boolean(), "true or false");
    return json_->get<bool>();
  }
  bool flag(const char* key, bool otherwise) const {
    return has(key) ? (*this)[key].flag() : otherwise;
  }
  std::int32_t id() const {
    expect(json_->is_number_integer(), "an id");
    // A number beyond 2^63 is read as an unsigned one, and would wrap.
    const auto value =
        json_->is_number_unsigned() && json_->get<std::uint64_t>() >= std::uint64_t(kMaxIds)
            ? kMaxIds
            : json_->get<std::int64_t>();
    if (value < 0 || value >= kMaxIds)
      refuse(str("is ", json_->dump(), "; ids lie from 0 to ", kMaxIds - 1));
    return std::int32_t(value);
  }

 private:
  const Json* json_;
  std::string path_;
  const std::string* file_;
};

void read_vocab(const Value& vocab, TokenizerDefinition& d) {
  vocab.expect(vocab.json().is_object(), "an object");
  std::unordered_map<std::int32_t, const std::string*> holder;
  for (const auto& [token, number] : vocab.json().items()) {
    const std::int32_t id = vocab[token.c_str()].id();
    const auto [other, is_new] = holder.emplace(id, &token);
    if (!is_new)
      vocab.refuse(str("gives the id ", id, " to \"", *other->second, "\" and to \"", token, "\""));
    d.vocab.emplace(token, id);
  }
  for (int byte = 0; byte < 256; ++byte) {
    // Bytes that UTF-8 never has may be missing; a text that has one is refused when it comes.
    if (byte == 0xc0 || byte == 0xc1 || byte > 0xf4) continue;
    const char b = char(byte);
    const std::string token = to_byte_alphabet({&b, 1});
    if (!d.vocab.count(token))
      vocab.refuse(str("has no token \"", token, "\" for byte ", byte,
                       "; train with the whole byte alphabet, so that every text has tokens"));
  }
}

std::pair<std::string, std::string> merge_of(const Value& merge) {
  if (merge.json().is_array()) {
    if (merge.size() != 2) merge.refuse("does not hold two tokens");
    return {merge.at(0).text(), merge.at(1).text()};
  }
  const std::string& text = merge.text();
  const std::size_t space = text.find(' ');
  if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos)
    merge.refuse(str("is \"", text, "\", not two tokens with a space between"));
  return {text.substr(0, space), text.substr(space + 1)};
}

void read_merges(const Value& merges, TokenizerDefinition& d) {
  d.merges = MergeTable(merges.size());
  std::int32_t rank = 0;
  for (std::size_t i = 0; i < merges.size(); ++i) {
    const Value merge = merges.at(i);
    if (merge.json().is_string() && merge.text().starts_with("#version")) continue;
    const auto [left, right] = merge_of(merge);
    const auto id = [&](const std::string& token) {
      const auto found = d.vocab.find(token);
      if (found == d.vocab.end()) merge.refuse(str("needs \"", token, "\", which is no token"));
      return found->second;
    };
    const std::int32_t left_id = id(left), right_id = id(right);
    d.merges.set(left_id, right_id, {rank++, id(left + right)});
  }
}

void check_model_type(const Value& model) {
  if (model.has("type") && model["type"].text() != "BPE")
    model["type"].refuse(
        str("is ", model["type"].text(), "; only BPE, byte-level as GPT-2's, is supported"));
}

/// Whether a component, or a step of a Sequence of them, is of that type.
bool has_step(const Value& component, const char* steps, const char* type) {
  if (component["type"].text() == type) return true;
  if (component["type"].text() != "Sequence") return false;
  const Value list = component[steps];
  for (std::size_t i = 0; i < list.size(); ++i)
    if (has_step(list.at(i), steps, type)) return true;
  return false;
}

/// Before anything else is said about a tokenizer of another kind, that it is one.
void check_byte_level(const Value& file, const std::string& name) {
  const bool split = file.has("pre_tokenizer");
  if (split && has_step(file["pre_tokenizer"], "pretokenizers", "ByteLevel")) return;
  const Value model = file["model"];
  const bool sentencepiece =
      model.flag("byte_fallback", false) ||
      (split && has_step(file["pre_tokenizer"], "pretokenizers", "Metaspace")) ||
      (file.has("normalizer") && (has_step(file["normalizer"], "normalizers", "Prepend") ||
                                  has_step(file["normalizer"], "normalizers", "Replace")));
  fail(str(name, ": is not byte-level BPE: pre_tokenizer has no ByteLevel",
           sentencepiece ? ", and other keys are those of a SentencePiece tokenizer" : "",
           "; only byte-level BPE is supported"));
}

void read_model(const Value& model, TokenizerDefinition& d) {
  if (model.has("dropout") && model["dropout"].json() != 0)
    model["dropout"].refuse("is set; ids would be random");
  for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"})
    if (model.has(affix) && !model[affix].text().empty())
      model[affix].refuse("is set, which byte-level BPE does not have");
  d.ignore_merges = model.flag("ignore_merges", false);
  // unk_token, fuse_unk and byte_fallback say what becomes of characters that are no tokens; here,
  // every byte is one.
  read_vocab(model["vocab"], d);
  read_merges(model["merges"], d);
}

/// A token that the list has had: as in the package, it keeps its id, what is said last holds, and
/// once special it stays so.
void repeat(AddedToken& first, AddedToken again, const Value& token) {
  if (again.id != first.id)
    log_warning(str(token.name(), ": \"", shown(again.content), "\" is given twice; its id is ",
                    first.id, ", as in the tokenizers package, not ", again.id));
  again.id = first.id;
  again.special = again.special || first.special;
  first = std::move(again);
}

void read_added_tokens(const Value& list, TokenizerDefinition& d) {
  std::unordered_map<std::string, std::size_t> place;  // in d.added_tokens
  // The package gives ids by place, not as the file says.
  auto next_id = std::int32_t(d.vocab.size());
  for (std::size_t i = 0; i < list.size(); ++i) {
    const Value token = list.at(i);
    AddedToken added;
    added.content = token["content"].text();
    added.id = token["id"].id();
    added.special = token["special"].flag();
    added.single_word = token["single_word"].flag();
    added.lstrip = token["lstrip"].flag();
    added.rstrip = token["rstrip"].flag();
    added.normalized = token["normalized"].flag();
    if (added.content.empty()) continue;  // as the package does
    const auto [other, is_new] = place.emplace(added.content, d.added_tokens.size());
    if (!is_new) {
      repeat(d.added_tokens[other->second], std::move(added), token);
      continue;
    }
    const auto known = d.vocab.find(added.content);
    const std::int32_t id = known == d.vocab.end() ? next_id++ : known->second;
    if (added.id != id)
      token["id"].refuse(known == d.vocab.end()
                             ? str("is ", added.id,
                                   ", but the next free one, which it gets from the tokenizers ",
                                   "package, is ", id)
                             : str("is ", added.id, ", but model.vocab gives \"", added.content,
                                   "\" the id ", id));
    d.added_tokens.push_back(std::move(added));
  }
}

void read_normalizer(const Value& normalizer, TokenizerDefinition& d) {
  const std::string& type = normalizer["type"].text();
  if (type == "NFC") {
    d.nfc = true;
  } else if (type == "Sequence") {
    const Value list = normalizer["normalizers"];
    for (std::size_t i = 0; i < list.size(); ++i) read_normalizer(list.at(i), d);
  } else {
    normalizer["type"].refuse(str("is ", type, "; only NFC, and Sequence of it, are supported"));
  }
}

SplitBehavior behavior_of(const Value& value) {
  constexpr std::pair<const char*, SplitBehavior> known[] = {
      {"Isolated", SplitBehavior::isolated},
      {"Removed", SplitBehavior::removed},
      {"MergedWithPrevious", SplitBehavior::merged_with_previous},
      {"MergedWithNext", SplitBehavior::merged_with_next},
      {"Contiguous", SplitBehavior::contiguous}};
  for (const auto& [name, behavior] : known)
    if (value.text() == name) return behavior;
  value.refuse(str("is \"", value.text(),
                   "\"; it must be Isolated, Removed, MergedWithPrevious, MergedWithNext or "
                   "Contiguous"));
}

Regex regex_of(const Value& pattern) {
  try {
    if (pattern.has("String")) return Regex::literal(pattern["String"].text());
    return Regex(pattern["Regex"].text());
  } catch (const Error& e) {
    pattern.refuse(str("cannot be used: ", e.what()));
  }
}

// False once ByteLevel, after which words are bytes, has been read.
bool read_pretokenizer(const Value& value, TokenizerDefinition& d) {
  const std::string& type = value["type"].text();
  if (type == "Sequence") {
    const Value list = value["pretokenizers"];
    bool more = true;
    for (std::size_t i = 0; i < list.size(); ++i) {
      if (!more) list.at(i).refuse("follows ByteLevel, which must come last");
      more = read_pretokenizer(list.at(i), d);
    }
    return more;
  }
  if (type == "ByteLevel") {
    const bool prefix_space = value["add_prefix_space"].flag();
    if (value.flag("use_regex", true))
      d.steps.push_back({Regex(kGpt2Pattern), SplitBehavior::isolated, false, prefix_space});
    else
      d.prefix_space = prefix_space;
    return false;
  }
  if (type == "Split") {
    d.steps.push_back({regex_of(value["pattern"]), behavior_of(value["behavior"]),
                       value["invert"].flag(), false});
    return true;
  }
  if (type == "Digits") {
    const bool each = value["individual_digits"].flag();
    d.steps.push_back({Regex(R"(\p{N})"),
                       each ? SplitBehavior::isolated : SplitBehavior::contiguous, false, false});
    return true;
  }
  value["type"].refuse(
      str("is ", type, "; only ByteLevel, Split, Digits and Sequence of them are supported"));
}

// Ids become text by the byte alphabet alone; a decoder may say no more than that.
void check_decoder(const Value& decoder) {
  const std::string& type = decoder["type"].text();
  if (type == "ByteLevel" || type == "Fuse") return;
  if (type != "Sequence") decoder["type"].refuse(str("is ", type, "; only ByteLevel is supported"));
  const Value list = decoder["decoders"];
  for (std::size_t i = 0; i < list.size(); ++i) check_decoder(list.at(i));
}

}  // namespace

TokenizerDefinition read_tokenizer_json(const std::string& json, const std::string& name) {
  const Json parsed = parse_json<Json>(json, name);
  const Value file(parsed, "", name);
  if (file.has("version") && file["version"].text() != "1.0")
    file["version"].refuse(str("is ", file["version"].text(), "; only 1.0 is supported"));
  check_model_type(file["model"]);
  check_byte_level(file, name);
  TokenizerDefinition d;
  read_model(file["model"], d);
  if (file.has("added_tokens")) read_added_tokens(file["added_tokens"], d);
  if (file.has("normalizer")) read_normalizer(file["normalizer"], d);
  read_pretokenizer(file["pre_tokenizer"], d);
  if (file.has("decoder")) check_decoder(file["decoder"]);
  for (const char* ignored : {"truncation", "padding"})
    if (file.has(ignored))
      log_warning(str(name, ": ", ignored, " is ignored; texts are encoded whole"));
  // post_processor only adds special tokens around a text, which encode() leaves to its caller.
  return d;
}

}  // namespace lacuna
