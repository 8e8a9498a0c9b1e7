#pragma once
#include <cstdint>
#include <vector>

#include "core/prompted_text.h"
#include "data/permutation.h"
#include "data/response_texts.h"
#include "data/token_file.h"

namespace lacuna {

/// The examples of a file made by `lacuna prepare --format chat`, each at most `max_length` tokens:
/// of a longer one the beginning of the prompt is cut off; one whose response alone does not leave
/// room for a token of prompt is left out. Both are counted.
class SftExamples {
 public:
  /// Reads all. Throws Error as ResponseTexts, for a file of preference pairs, and when no example
  /// is left. `seed` names the order of training.
  SftExamples(const TokenFile& file, std::int64_t max_length, std::uint64_t seed);

  std::int64_t size() const { return std::int64_t(spans_.size()); }
  std::int64_t cut_prompts() const { return cut_prompts_; }
  std::int64_t left_out() const { return left_out_; }
  std::int64_t longest() const { return longest_; }
  std::int64_t response_tokens() const { return response_tokens_; }

  std::int64_t length(std::int64_t i) const { return spans_[std::size_t(i)].size(); }
  /// Example i in the order of the file.
  PromptedText at(std::int64_t i) const;
  /// Which example sample `index` of the training order is (permuted_sample()).
  std::int64_t permuted(std::int64_t index) const { return permuted_sample(index, size(), seed_); }

 private:
  std::uint64_t seed_;
  ResponseTexts texts_;
  std::vector<ResponseTexts::Span> spans_;
  std::int64_t cut_prompts_ = 0, left_out_ = 0, longest_ = 0, response_tokens_ = 0;
};

}  // namespace lacuna
