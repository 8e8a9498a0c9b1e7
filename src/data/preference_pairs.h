#pragma once
#include <cstdint>
#include <vector>

#include "core/prompted_text.h"
#include "data/permutation.h"
#include "data/response_texts.h"
#include "data/token_file.h"

namespace lacuna {

/// Two responses to one prompt.
struct PreferencePair {
  PromptedText chosen, rejected;  // the first is preferred
};

/// The pairs of a file made by `lacuna prepare --format preference`, each text at most `max_length`
/// tokens. Where one is longer, the beginning of the prompt is cut off both; a pair with a response
/// that does not leave room for a token of prompt is left out. Both are counted.
class PreferencePairs {
 public:
  /// Reads all. Throws Error as ResponseTexts, when the file has no pairs or a pair's prompts
  /// differ, and when no pair is left. `seed` names the order of training.
  PreferencePairs(const TokenFile& file, std::int64_t max_length, std::uint64_t seed);

  std::int64_t size() const { return std::int64_t(pairs_.size()); }
  std::int64_t cut_prompts() const { return cut_prompts_; }
  std::int64_t left_out() const { return left_out_; }
  /// Tokens of the longest text.
  std::int64_t longest() const { return longest_; }

  /// Pair i in the order of the file.
  PreferencePair at(std::int64_t i) const;
  /// Which pair sample `index` of the training order is (permuted_sample()).
  std::int64_t permuted(std::int64_t index) const { return permuted_sample(index, size(), seed_); }

 private:
  struct Pair {
    ResponseTexts::Span chosen, rejected;
  };
  std::uint64_t seed_;
  ResponseTexts texts_;
  std::vector<Pair> pairs_;
  std::int64_t cut_prompts_ = 0, left_out_ = 0, longest_ = 0;
};

}  // namespace lacuna
