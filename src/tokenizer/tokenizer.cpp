#include "tokenizer/tokenizer.h"

#include <algorithm>
#include <array>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "core/check.h"
#include "core/input_file.h"
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
  bool exists = false;
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
  // Not even a text that is one word, and reads like an added token that is to stay text, may
  // become it. Others are found before words are cut, but for those that must stand alone.
  for (const AddedToken& token : d.added_tokens)
    if (token.special || !token.single_word) words.erase(token.content);
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

/// Where a byte of normalized(text) comes from, as far as that can be told: before ASCII
/// characters, which normalization joins to nothing before them, and within what it leaves alone.
class NormalizedOffsets {
 public:
  explicit NormalizedOffsets(std::string_view text) {
    std::size_t out = 0;
    for (std::size_t at = 0, end = 0; at < text.size(); at = end) {
      for (end = at + 1; end < text.size() && static_cast<unsigned char>(text[end]) >= 0x80;) ++end;
      const std::string_view part = text.substr(at, end - at);
      const std::string changed = normalized(part);
      known_.emplace_back(out, at);
      if (changed == part)
        for (std::size_t i = 1; i < part.size(); ++i) known_.emplace_back(out + i, at + i);
      out += changed.size();
    }
    known_.emplace_back(out, text.size());
  }
  std::optional<std::size_t> original(std::size_t offset) const {
    const auto found =
        std::lower_bound(known_.begin(), known_.end(), std::pair(offset, std::size_t{0}));
    if (found == known_.end() || found->first != offset) return std::nullopt;
    return found->second;
  }

 private:
  std::vector<std::pair<std::size_t, std::size_t>> known_;  // ascending
};

}  // namespace

/// What a tokenizer.json says, but for which added tokens are special.
struct Tokenizer::Model {
  Model(std::string text, TokenizerDefinition d)
      : json(std::move(text)),
        nfc(d.nfc),
        pretokenizer(std::move(d.steps), d.prefix_space),
        bpe(byte_tokens(d), std::move(d.merges), whole_words(d)) {
    const auto add = [this](std::int32_t id, std::string bytes) {
      if (std::size_t(id) >= tokens.size()) tokens.resize(std::size_t(id) + 1);
      tokens[std::size_t(id)] = {std::move(bytes), true};
    };
    for (const auto& [token, id] : d.vocab) add(id, from_byte_alphabet(token).value_or(token));
    for (const AddedToken& token : d.added_tokens) {
      add(token.id, d.nfc && token.normalized ? to_nfc(token.content) : token.content);
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

  std::string json;
  bool nfc;
  Pretokenizer pretokenizer;
  Bpe bpe;
  std::vector<TokenBytes> tokens;  // by id
  std::unordered_map<std::string, std::int32_t> ids, added;
  mutable ScratchPool scratch;
};

struct Tokenizer::State {
  State(std::shared_ptr<const Model> shared, std::vector<AddedToken> tokens)
      : model(std::move(shared)),
        added_tokens(std::move(tokens)),
        raw_tokens(select(added_tokens, false, model->nfc)),
        normalized_tokens(select(added_tokens, true, model->nfc)),
        special(model->tokens.size()) {
    for (const AddedToken& token : added_tokens) special[std::size_t(token.id)] = token.special;
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
      const std::string changed = model->nfc ? normalized(section.text) : std::string();
      own.normalized_sections.clear();
      normalized_tokens.find(model->nfc ? std::string_view(changed) : section.text, special_as_text,
                             own.normalized_sections);
      for (const Section& part : own.normalized_sections) {
        if (part.id >= 0)
          out.push_back(part.id);
        else
          model->pretokenizer.split(part.text, own.split, [&](std::string_view word, std::size_t) {
            model->bpe.encode(word, own.bpe, out);
          });
      }
    }
  }

  void word_ends(std::string_view text, bool special_as_text, Scratch& own,
                 std::vector<std::size_t>& ends) const {
    own.sections.clear();
    raw_tokens.find(text, special_as_text, own.sections);
    for (const Section& section : own.sections) {
      const auto begin = std::size_t(section.text.data() - text.data());
      if (section.id >= 0) {
        ends.push_back(begin + section.text.size());
        continue;
      }
      const std::string changed = model->nfc ? normalized(section.text) : std::string();
      const std::string_view whole = model->nfc ? std::string_view(changed) : section.text;
      std::optional<NormalizedOffsets> offsets;
      if (model->nfc) offsets.emplace(section.text);
      const auto add = [&](std::size_t end) {
        const auto original = offsets ? offsets->original(end) : std::optional(end);
        if (original) ends.push_back(begin + *original);
      };
      own.normalized_sections.clear();
      normalized_tokens.find(whole, special_as_text, own.normalized_sections);
      for (const Section& part : own.normalized_sections) {
        const auto from = std::size_t(part.text.data() - whole.data());
        if (part.id >= 0)
          add(from + part.text.size());
        else
          model->pretokenizer.split(part.text, own.split,
                                    [&](std::string_view, std::size_t end) { add(from + end); });
      }
    }
  }

  std::shared_ptr<const Model> model;
  std::vector<AddedToken> added_tokens;
  AddedTokenFinder raw_tokens, normalized_tokens;
  std::vector<bool> special;  // by id
};

Tokenizer Tokenizer::load(const std::string& path) {
  return from_json(read_named_file(path), path);
}

Tokenizer Tokenizer::from_json(std::string json, const std::string& name) {
  TokenizerDefinition definition = read_tokenizer_json(json, name);
  std::vector<AddedToken> added = definition.added_tokens;
  const auto model = std::make_shared<const Model>(std::move(json), std::move(definition));
  const Tokenizer flagged(std::make_shared<const State>(model, std::move(added)));
  std::vector<std::int32_t> structure;
  for (const std::int64_t id : {flagged.mask_token(), flagged.eos_token(), flagged.pad_token()})
    if (id >= 0) structure.push_back(std::int32_t(id));
  return flagged.with_special(structure);
}

Tokenizer Tokenizer::with_special(std::span<const std::int32_t> ids) const {
  std::vector<AddedToken> added = state_->added_tokens;
  bool changes = false;
  for (AddedToken& token : added) {
    if (token.special || std::find(ids.begin(), ids.end(), token.id) == ids.end()) continue;
    token.special = changes = true;
  }
  if (!changes) return *this;
  return Tokenizer(std::make_shared<const State>(state_->model, std::move(added)));
}

const std::string& Tokenizer::json() const { return state_->model->json; }
std::int64_t Tokenizer::vocab_size() const { return std::int64_t(state_->model->tokens.size()); }
std::int64_t Tokenizer::mask_token() const {
  return state_->model->known_as(
      {"<|mdm_mask|>", "<|mask|>", "<|MASK|>", "|<MASK>|", "<mask>", "[MASK]"});
}
std::int64_t Tokenizer::eos_token() const {
  return state_->model->known_as({"<|endoftext|>", "</s>", "<|end_of_text|>"});
}
std::int64_t Tokenizer::pad_token() const {
  const std::int64_t pad = state_->model->known_as({"<|pad|>"});
  return pad >= 0 ? pad : eos_token();
}

std::optional<std::int32_t> Tokenizer::id_of(std::string_view token) const {
  const auto found = state_->model->ids.find(std::string(token));
  if (found == state_->model->ids.end()) return std::nullopt;
  return found->second;
}

bool Tokenizer::has(std::int32_t id) const {
  const std::vector<TokenBytes>& tokens = state_->model->tokens;
  return id >= 0 && std::size_t(id) < tokens.size() && tokens[std::size_t(id)].exists;
}

bool Tokenizer::is_special(std::int32_t id) const {
  return has(id) && state_->special[std::size_t(id)];
}

bool Tokenizer::is_added(std::int32_t id) const {
  const std::vector<AddedToken>& added = state_->added_tokens;
  return std::any_of(added.begin(), added.end(),
                     [id](const AddedToken& token) { return token.id == id; });
}

std::vector<std::int32_t> Tokenizer::encode(std::string_view text, Special special) const {
  std::vector<std::int32_t> ids;
  ids.reserve(text.size() / 3 + 1);
  auto scratch = state_->model->scratch.take();
  state_->encode(text, special == Special::as_text, *scratch, ids);
  state_->model->scratch.give_back(std::move(scratch));
  return ids;
}

std::vector<std::size_t> Tokenizer::word_ends(std::string_view text, Special special) const {
  std::vector<std::size_t> ends;
  auto scratch = state_->model->scratch.take();
  state_->word_ends(text, special == Special::as_text, *scratch, ends);
  state_->model->scratch.give_back(std::move(scratch));
  return ends;
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids, bool skip_special) const {
  std::string text;
  text.reserve(ids.size() * 4);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    CHECK(has(ids[i]), "id ", ids[i], " (number ", i + 1, " of ", ids.size(),
          ") is not one of the tokenizer's ", vocab_size());
    if (!(skip_special && is_special(ids[i])))
      text += state_->model->tokens[std::size_t(ids[i])].bytes;
  }
  return text;
}

CutText cut_between_words(const Tokenizer& tokenizer, Tokenizer::Special special) {
  return [tokenizer, special](std::string_view text, std::size_t limit) {
    return find_cut(
        text, limit, [&](std::string_view part) { return tokenizer.encode(part, special); },
        [&](std::string_view part) { return tokenizer.word_ends(part, special); });
  };
}

}  // namespace lacuna
