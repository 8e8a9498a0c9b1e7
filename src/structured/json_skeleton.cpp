#include "structured/json_skeleton.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "core/check.h"
#include "core/json.h"
#include "core/text.h"

namespace lacuna {
namespace {

// JSON has no bounds for numbers; a double holds these digits exactly.
constexpr std::int64_t kNumberTokens = 10, kNumberCharacters = 15;
// Tokens times characters of a string whose characters count: every step computes so many bits for
// each state of its automaton.
constexpr std::int64_t kMostStringBits = std::int64_t{1} << 24;

struct SkeletonSlot {
  std::int64_t begin, length;
  std::shared_ptr<const SlotLanguage> language;
};

class SkeletonConstraint final : public TokenConstraint {
 public:
  explicit SkeletonConstraint(std::vector<SkeletonSlot> slots) : slots_(std::move(slots)) {}

  std::vector<TokenBias> biases(std::span<const std::int32_t> answer,
                                std::span<const std::int32_t> rows) const override {
    std::map<const SkeletonSlot*, std::vector<TokenBias>> of_slots;
    std::vector<TokenBias> biases;
    for (const std::int32_t row : rows) {
      const SkeletonSlot& slot = slot_of(row);
      std::vector<TokenBias>& of_slot = of_slots[&slot];
      if (of_slot.empty()) of_slot = slot.language->biases(tokens_of(slot, answer));
      biases.push_back(of_slot[std::size_t(row - slot.begin)]);
    }
    return biases;
  }
  bool fits(std::span<const std::int32_t> answer, std::int64_t row) const override {
    const SkeletonSlot& slot = slot_of(row);
    return slot.language->fits(tokens_of(slot, answer));
  }

 private:
  /// That of a row which was masked: the last one that begins at or before it.
  const SkeletonSlot& slot_of(std::int64_t row) const {
    return *std::prev(std::upper_bound(
        slots_.begin(), slots_.end(), row,
        [](std::int64_t of, const SkeletonSlot& slot) { return of < slot.begin; }));
  }
  static std::span<const std::int32_t> tokens_of(const SkeletonSlot& slot,
                                                 std::span<const std::int32_t> answer) {
    return answer.subspan(std::size_t(slot.begin), std::size_t(slot.length));
  }
  const std::vector<SkeletonSlot> slots_;
};

/// The end token, if it says nothing: of the model or else of the tokenizer.
std::int32_t filler_of(const Tokenizer& tokenizer, const ModelConfig& model) {
  for (const std::int64_t end : {model.eos_token, tokenizer.eos_token()}) {
    if (end < 0 || end >= model.vocab_size) continue;
    const auto id = std::int32_t(end);
    if (!tokenizer.has(id) || tokenizer.decode({&id, 1}).empty()) return id;
  }
  fail_usage("a JSON schema needs a model with an end token, which stands behind short values");
}

}  // namespace

DecodingRequest request_of(const JsonSkeleton& skeleton, const std::vector<std::int32_t>& prompt,
                           const DecodingOptions& options) {
  DecodingRequest request{.tokens = prompt, .options = options, .infill = true};
  request.tokens.insert(request.tokens.end(), skeleton.tokens.begin(), skeleton.tokens.end());
  request.answer = std::int64_t(prompt.size());
  request.constraint = skeleton.constraint;
  return request;
}

SkeletonWriter::SkeletonWriter(const Tokenizer& tokenizer, const ModelConfig& model)
    : tokenizer_(tokenizer), model_(model) {
  if (model.attention == Attention::causal)
    fail_usage(
        "a JSON schema needs a diffusion model: an autoregressive one cannot fill masks between "
        "tokens that are there");
  filler_ = filler_of(tokenizer, model);
  texts_.resize(std::size_t(model.vocab_size));
  std::int64_t said = 0, sum = 0;
  for (std::size_t i = 0; i < texts_.size(); ++i) {
    const auto id = std::int32_t(i);
    if (id == model.mask_token || id == filler_ || !tokenizer.has(id)) continue;
    if (tokenizer.is_special(id)) continue;
    texts_[i] = tokenizer.decode({&id, 1});
    const std::int64_t characters = characters_of(texts_[i]);
    longest_ = std::max(longest_, characters);
    sum += characters;
    ++said;
  }
  if (said > 0) short_characters_ = std::max(1.0, double(sum) / double(said) / 2);
}

std::shared_ptr<const TokenClasses> SkeletonWriter::classes(JsonSchema::Kind kind,
                                                            JsonSchema::Sign sign,
                                                            bool counted) const {
  const std::lock_guard lock(mutex_);
  std::shared_ptr<const TokenClasses>& known = classes_[{kind, sign, counted}];
  if (!known) {
    const bool negative = sign == JsonSchema::Sign::any;
    ByteAutomaton automaton = kind == JsonSchema::Kind::string ? string_automaton()
                              : kind == JsonSchema::Kind::integer
                                  ? integer_automaton(negative, sign != JsonSchema::Sign::positive)
                                  : number_automaton(negative);
    known = std::make_shared<TokenClasses>(texts_, std::move(automaton), counted);
  }
  return known;
}

/// The tokens of a part of the skeleton, which say it one by one.
std::vector<std::int32_t> SkeletonWriter::encode(const std::string& text) const {
  std::vector<std::int32_t> ids = tokenizer_.encode(text, Tokenizer::Special::as_text);
  std::string said;
  for (const std::int32_t id : ids)
    if (id >= 0 && std::size_t(id) < texts_.size()) said += texts_[std::size_t(id)];
  if (said != text) throw Error("the model's tokens cannot write " + shown(text));
  return ids;
}

class SkeletonWriter::Writing {
 public:
  Writing(const SkeletonWriter& writer, std::int64_t string_tokens)
      : writer_(writer), string_tokens_(string_tokens) {}

  void value(const JsonSchema& schema) {
    using Kind = JsonSchema::Kind;
    switch (schema.kind) {
      case Kind::object:
        return object(schema);
      case Kind::array:
        return array(schema);
      case Kind::string:
        return string(schema);
      case Kind::integer:
      case Kind::number:
        return automaton(schema, kNumberTokens, 0, kNumberCharacters);
      case Kind::choice:
        return choice(schema);
    }
  }
  JsonSkeleton skeleton() {
    flush();
    return {std::move(tokens_), std::make_shared<SkeletonConstraint>(std::move(slots_)),
            writer_.filler_};
  }

 private:
  void object(const JsonSchema& schema) {
    text_ += '{';
    for (std::size_t i = 0; i < schema.properties.size(); ++i) {
      const auto& [name, property] = schema.properties[i];
      text_ += (i > 0 ? ", " : "") + json_text(name) + ": ";
      value(property);
    }
    text_ += '}';
  }
  void array(const JsonSchema& schema) {
    text_ += '[';
    for (std::size_t i = 0; i < schema.items.size(); ++i) {
      if (i > 0) text_ += ", ";
      value(schema.items[i]);
    }
    text_ += ']';
  }
  void string(const JsonSchema& schema) {
    text_ += '"';
    const auto tokens_for = [&](std::int64_t characters) {
      return std::int64_t(std::ceil(double(characters) / writer_.short_characters_));
    };
    std::int64_t length = std::max(string_tokens_, tokens_for(schema.least)), most = schema.most;
    if (most >= 0) length = std::min(length, tokens_for(most));
    if (most >= length * writer_.longest_) most = -1;  // which no tokens exceed
    if (most > kMostStringBits / length)
      throw Error(str("a string of ", counted(length, "token"), " with a 'maxLength' of ", most,
                      " is too long; the product may be ", kMostStringBits));
    automaton(schema, length, schema.least, most);
    text_ += '"';
  }
  void automaton(const JsonSchema& schema, std::int64_t length, std::int64_t least,
                 std::int64_t most) {
    auto& known = languages_[{schema.kind, schema.sign, least, most}];
    if (!known)
      known = std::make_shared<AutomatonLanguage>(
          writer_.classes(schema.kind, schema.sign, least > 0 || most >= 0), least, most,
          writer_.filler_);
    slot(length, known);
  }
  void choice(const JsonSchema& schema) {
    if (schema.choices.size() == 1) {
      text_ += schema.choices[0];
      return;
    }
    std::shared_ptr<const ChoiceLanguage>& known = choices_[schema.choices];
    if (!known) {
      std::vector<std::vector<std::int32_t>> choices;
      for (const std::string& text : schema.choices) choices.push_back(writer_.encode(text));
      known = std::make_shared<ChoiceLanguage>(std::move(choices), writer_.filler_,
                                               writer_.model_.vocab_size);
    }
    slot(known->longest(), known);
  }

  void slot(std::int64_t length, std::shared_ptr<const SlotLanguage> language) {
    flush();
    const auto begin = std::int64_t(tokens_.size());
    append(std::vector<std::int32_t>(std::size_t(length), std::int32_t(writer_.model_.mask_token)));
    if (!language->fits(std::vector<std::int32_t>(std::size_t(length), TokenConstraint::kMasked)))
      throw Error("the model's tokens cannot write a value of the schema");
    slots_.push_back({begin, length, std::move(language)});
  }
  void flush() {
    append(writer_.encode(text_));
    text_.clear();
  }
  void append(const std::vector<std::int32_t>& ids) {
    tokens_.insert(tokens_.end(), ids.begin(), ids.end());
    if (const std::int64_t most = writer_.model_.max_seq_length;
        std::int64_t(tokens_.size()) > most)
      throw Error(str("an answer of this schema has more than ", most,
                      " tokens, which is what the model takes"));
  }

  const SkeletonWriter& writer_;
  const std::int64_t string_tokens_;
  std::string text_;  // that follows tokens_
  std::vector<std::int32_t> tokens_;
  std::vector<SkeletonSlot> slots_;
  std::map<std::tuple<JsonSchema::Kind, JsonSchema::Sign, std::int64_t, std::int64_t>,
           std::shared_ptr<const SlotLanguage>>
      languages_;
  std::map<std::vector<std::string>, std::shared_ptr<const ChoiceLanguage>> choices_;
};

JsonSkeleton SkeletonWriter::write(const JsonSchema& schema, std::int64_t string_tokens) const {
  Writing writing(*this, string_tokens);
  writing.value(schema);
  return writing.skeleton();
}

}  // namespace lacuna
