#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace lacuna {

/// A word's bytes, and how often the corpus has it.
struct WordCount {
  std::string word;
  std::int64_t count = 0;
};

/// What training found. Tokens 0 to 255 are the bytes, in the order of the characters that stand
/// for them in tokenizer.json ('!' is 0).
struct LearnedBpe {
  std::vector<std::string> tokens;                            // their bytes
  std::vector<std::pair<std::int32_t, std::int32_t>> merges;  // by rank
  std::int64_t corpus_tokens = 0;                             // that the corpus now has
};

/// Byte-pair encoding (Sennrich et al., arXiv:1508.07909): the most frequent pair of neighbouring
/// tokens becomes a token, again and again, until there are `tokens` of them (at least 256) or no
/// pair is left that occurs `min_count` times. Of pairs equally frequent, the one of the smaller
/// ids; so the result depends on the words alone, and not on their order. `progress` is called with
/// the number of tokens now and then. As the BpeTrainer of `tokenizers` with the byte alphabet does
/// it, but for this: when a pair that already merges comes up again (by another way to its parts),
/// it is merged at once, as encoding would.
LearnedBpe learn_bpe(const std::vector<WordCount>& words, std::int64_t tokens,
                     std::int64_t min_count,
                     const std::function<void(std::int64_t)>& progress = {});

}  // namespace lacuna
