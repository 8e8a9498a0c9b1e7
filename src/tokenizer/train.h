#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/cut.h"

namespace lacuna {

/// How a new tokenizer cuts text into words.
enum class SplitPattern : std::uint8_t { gpt2, llama3 };

struct TrainTokenizerOptions {
  std::int64_t vocab_size = 0;  // of everything: bytes, merges, special tokens
  SplitPattern split = SplitPattern::llama3;
  std::int64_t min_count = 2;               // merges of rarer pairs are not made
  std::vector<std::string> special_tokens;  // further ones, after special_tokens()
  int threads = 0;                          // 0: every core the process may use
};

struct TrainedTokenizer {
  std::string json;  // of a tokenizer.json
  std::int64_t vocab_size = 0, merges = 0, special_tokens = 0;
  std::int64_t bytes = 0, words = 0, different_words = 0, tokens = 0;  // of the corpus
};

/// Those every tokenizer gets, last in the vocabulary and in this order: LLaDA's mask and end of
/// text, padding, and the markers of its chat template.
const std::vector<std::string>& special_tokens();

/// Gives the next piece of the corpus; false at its end. A piece ends where cut_between_words says,
/// or with a document.
using NextPiece = std::function<bool(std::string& piece)>;

/// Trains byte-level BPE on a corpus that need not fit in memory (its different words must). The
/// result depends on the corpus and the options, not on the number of threads. Throws UsageError
/// for a vocabulary too small (or absurdly large) or a special token that is empty or repeated;
/// Error for a corpus without text.
TrainedTokenizer train_tokenizer(const NextPiece& next, const TrainTokenizerOptions& options);

/// Throws the UsageError of train_tokenizer, before anything is read.
void check(const TrainTokenizerOptions& options);
/// Where to cut a corpus into pieces that have the words of the whole.
CutText cut_between_words(SplitPattern split);

}  // namespace lacuna
