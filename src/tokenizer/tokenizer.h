#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/cut.h"

namespace lacuna {

/// Byte-level BPE as Hugging Face's `tokenizers` does it (GPT-2's byte alphabet; GPT-2, Llama-3 or
/// any other split pattern), read from tokenizer.json. Gives the ids that package (0.23, Unicode
/// 16) gives for any bytes that are valid Unicode; bytes that are not become byte tokens, so that
/// decode(encode(x)) is x for every x. (Not so where tokenizer.json itself says that text is lost:
/// by an NFC normalizer, removed splits, or added tokens that strip the space beside them.)
/// Immutable: any number of threads may use one.
class Tokenizer {
 public:
  /// What the text of a special token ("<|endoftext|>") in a text becomes.
  enum class Special : std::uint8_t {
    as_token,  // its id, as Hugging Face does
    as_text,   // ordinary tokens, so that a corpus cannot forge one
  };

  /// Throws Error, naming the file and the key, when it is missing, not JSON, contradicts itself,
  /// or asks for what this class cannot do.
  static Tokenizer load(const std::string& path);
  /// The same from the text of a tokenizer.json; `name` stands for the file in messages.
  static Tokenizer from_json(std::string json, const std::string& name);

  /// tokenizer.json itself, byte for byte.
  const std::string& json() const;
  /// One more than the largest id, added tokens included. Ids below it may be of no token.
  std::int64_t vocab_size() const;
  /// -1 when there is none. Known by their text, among the added tokens: "<|mdm_mask|>" (also
  /// "<|mask|>", "<mask>", "[MASK]"), "<|endoftext|>" (also "</s>", "<|end_of_text|>"), "<|pad|>"
  /// (else the end of text, as LLaDA pads with).
  std::int64_t mask_token() const;
  std::int64_t eos_token() const;
  std::int64_t pad_token() const;
  /// The id of a token, added ones included, by its text as in tokenizer.json.
  std::optional<std::int32_t> id_of(std::string_view token) const;
  /// Whether the token marks structure rather than text: tokenizer.json flags it so, or it is the
  /// mask, end or padding token.
  bool is_special(std::int32_t id) const;
  /// Whether the token is one of those found before the text is cut into words.
  bool is_added(std::int32_t id) const;
  /// The same tokenizer, to which the added tokens among `ids` are special too.
  Tokenizer with_special(std::span<const std::int32_t> ids) const;
  /// Whether an id is a token's.
  bool has(std::int32_t id) const;

  /// No special tokens are put around the text. Time grows as n log n, whatever the text,
  /// for the split patterns in use.
  std::vector<std::int32_t> encode(std::string_view text,
                                   Special special = Special::as_token) const;
  /// Where the words and added tokens of `text` end, in bytes, ascending: what BPE never merges
  /// across. Some are missing where an NFC normalizer changes the text.
  std::vector<std::size_t> word_ends(std::string_view text,
                                     Special special = Special::as_token) const;
  /// The bytes of `ids`, one after another. Throws Error, naming its place, for an id that is no
  /// token's.
  std::string decode(std::span<const std::int32_t> ids, bool skip_special = true) const;

 private:
  struct Model;
  struct State;
  explicit Tokenizer(std::shared_ptr<const State> state) : state_(std::move(state)) {}
  std::shared_ptr<const State> state_;
};

/// Where to cut a text into pieces that have the ids of the whole.
CutText cut_between_words(const Tokenizer& tokenizer, Tokenizer::Special special);

}  // namespace lacuna
