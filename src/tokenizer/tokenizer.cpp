#include "tokenizer/tokenizer.h"

#include <algorithm>
#include <array>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "core/atomic_file.h"
#include "core/check.h"
#include "tokenizer/bpe.h"
#include "tokenizer/byte_alphabet.h"
#include "tokenizer/tokenizer_json.h"

namespace lacuna {
namespace {

/// What one encode() at a time needs; handed from one to the next, so that the words it remembers
/// stay.
struct Scratch {
  SplitScratch split;
  BpeScratch bpe;
  std::vector<Section> sections, normalized_sections;
};

class ScratchPool {
 public:
  std::unique_ptr<Scratch> take() {
    const std::lock_guard lock(mutex_);
    if (free_.empty()) return std::make_unique<Scratch>();
    auto scratch = std::move(free_.back());
    free_.pop_back();
    return scratch;
  }
  void give_back(std::unique_ptr<Scratch> scratch) {
    const std::lock_guard lock(mutex_);
    free_.push_back(std::move(scratch));
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Scratch>> free_;
};

struct TokenBytes {
  std::string bytes;
  bool exists = false, special = false;
};

std::vector<AddedToken> select(const std::vector<AddedToken>& tokens, bool normalized, bool nfc) {
  std::vector<AddedToken> selected;
  for (AddedToken token : tokens) {
    if (token.normalized != normalized) continue;
    if (normalized && nfc) token.content = to_nfc(token.content);
    selected.push_back(std::move(token));
  }
  return selected;
}

std::array<std::int32_t, 256> byte_tokens(const TokenizerDefinition& d) {
  std::array<std::int32_t, 256> tokens{};
  for (int byte = 0; byte < 256; ++byte) {
    const char b = char(byte);
    const auto found = d.vocab.find(to_byte_alphabet({&b, 1}));
    tokens[std::size_t(byte)] = found == d.vocab.end() ? -1 : found->second;
  }
  return tokens;
}

std::unordered_map<std::string, std::int32_t> whole_words(const TokenizerDefinition& d) {
  std::unordered_map<std::string, std::int32_t> words;
  if (!d.ignore_merges) return words;
  for (const auto& [token, id] : d.vocab)
    if (auto bytes = from_byte_alphabet(token)) words.emplace(std::move(*bytes), id);
  // Not even a text that is one word, and reads like a special token, may become it.
  for (const AddedToken& token : d.added_tokens)
    if (token.special) words.erase(token.content);
  return words;
}

// Invalid bytes stay where they are.
std::string normalized(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    const std::size_t valid = valid_prefix(text);
    result += to_nfc(text.substr(0, valid));
    text.remove_prefix(valid);
    if (text.empty()) break;
    result += text[0];
    text.remove_prefix(1);
  }
  return result;
}

}  // namespace

struct Tokenizer::State {
  State(std::string text, TokenizerDefinition d)
      : json(std::move(text)),
        nfc(d.nfc),
        raw_tokens(select(d.added_tokens, false, d.nfc)),
        normalized_tokens(select(d.added_tokens, true, d.nfc)),
        pretokenizer(std::move(d.steps), d.prefix_space),
        bpe(byte_tokens(d), std::move(d.merges), whole_words(d)) {
    const auto add = [this](std::int32_t id, std::string bytes, bool special) {
      if (std::size_t(id) >= tokens.size()) tokens.resize(std::size_t(id) + 1);
      tokens[std::size_t(id)] = {std::move(bytes), true, special};
    };
    for (const auto& [token, id] : d.vocab)
      add(id, from_byte_alphabet(token).value_or(token), false);
    for (const AddedToken& token : d.added_tokens) {
      add(token.id, d.nfc && token.normalized ? to_nfc(token.content) : token.content,
          token.special);
      added[token.content] = token.id;
    }
    ids = std::move(d.vocab);
    ids.insert(added.begin(), added.end());
  }

  // The first of the added tokens that there is.
  std::int64_t known_as(std::initializer_list<const char*> names) const {
    for (const char* name : names)
      if (const auto found = added.find(name); found != added.end()) return found->second;
    return -1;
  }

  void encode(std::string_view text, bool special_as_text, Scratch& own,
              std::vector<std::int32_t>& out) const {
    own.sections.clear();
    raw_tokens.find(text, special_as_text, own.sections);
    for (const Section& section : own.sections) {
      if (section.id >= 0) {
        out.push_back(section.id);
        continue;
      }
      const std::string changed = nfc ? normalized(section.text) : std::string();
      own.normalized_sections.clear();
      normalized_tokens.find(nfc ? std::string_view(changed) : section.text, special_as_text,
                             own.normalized_sections);
      for (const Section& part : own.normalized_sections) {
        if (part.id >= 0)
          out.push_back(part.id);
        else
          pretokenizer.split(part.text, own.split,
                             [&](std::string_view word) { bpe.encode(word, own.bpe, out); });
      }
    }
  }

  std::string json;
  bool nfc;
  AddedTokenFinder raw_tokens, normalized_tokens;
  Pretokenizer pretokenizer;
  Bpe bpe;
  std::vector<TokenBytes> tokens;  // by id
  std::unordered_map<std::string, std::int32_t> ids, added;
  mutable ScratchPool scratch;
};

Tokenizer Tokenizer::load(const std::string& path) { return from_json(read_file(path), path); }

Tokenizer Tokenizer::from_json(std::string json, const std::string& name) {
  TokenizerDefinition definition = read_tokenizer_json(json, name);
  return Tokenizer(std::make_shared<const State>(std::move(json), std::move(definition)));
}

const std::string& Tokenizer::json() const { return state_->json; }
std::int64_t Tokenizer::vocab_size() const { return std::int64_t(state_->tokens.size()); }
std::int64_t Tokenizer::mask_token() const {
  return state_->known_as({"<|mdm_mask|>", "<|mask|>", "<mask>", "[MASK]"});
}
std::int64_t Tokenizer::eos_token() const {
  return state_->known_as({"<|endoftext|>", "</s>", "<|end_of_text|>"});
}
std::int64_t Tokenizer::pad_token() const {
  const std::int64_t pad = state_->known_as({"<|pad|>"});
  return pad >= 0 ? pad : eos_token();
}

std::optional<std::int32_t> Tokenizer::id_of(std::string_view token) const {
  const auto found = state_->ids.find(std::string(token));
  if (found == state_->ids.end()) return std::nullopt;
  return found->second;
}

bool Tokenizer::has(std::int32_t id) const {
  return id >= 0 && std::size_t(id) < state_->tokens.size() &&
         state_->tokens[std::size_t(id)].exists;
}

bool Tokenizer::is_special(std::int32_t id) const {
  return has(id) && state_->tokens[std::size_t(id)].special;
}

std::vector<std::int32_t> Tokenizer::encode(std::string_view text, Special special) const {
  std::vector<std::int32_t> ids;
  ids.reserve(text.size() / 3 + 1);
  auto scratch = state_->scratch.take();
  state_->encode(text, special == Special::as_text, *scratch, ids);
  state_->scratch.give_back(std::move(scratch));
  return ids;
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids, bool skip_special) const {
  std::string text;
  text.reserve(ids.size() * 4);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    CHECK(has(ids[i]), "id ", ids[i], " (number ", i + 1, " of ", ids.size(),
          ") is not one of the tokenizer's ", vocab_size());
    const TokenBytes& token = state_->tokens[std::size_t(ids[i])];
    if (!(skip_special && token.special)) text += token.bytes;
  }
  return text;
}

}  // namespace lacuna
