#pragma once
#include <optional>
#include <vector>

#include "config/config.h"
#include "data/token_file.h"
#include "tokenizer/tokenizer.h"

namespace lacuna {

/// What a run trains on, and what follows from it.
struct TrainingData {
  /// Opens data.train or data.sources. Throws Error for a file, UsageError for a config that it
  /// contradicts.
  explicit TrainingData(const Config& unresolved);
  std::int64_t tokens() const;

  const std::vector<TokenFile> files;
  const TokenFile& file;                     // the first of them that has a tokenizer, or the first
  const std::optional<Tokenizer> tokenizer;  // none in data made without one
  const Config config;  // with the vocabulary, special tokens and number of steps filled in
};

}  // namespace lacuna
