#pragma once
#include <optional>

#include "config/config.h"
#include "data/token_file.h"
#include "tokenizer/tokenizer.h"

namespace lacuna {

/// What a run trains on, and what follows from it.
struct TrainingData {
  /// Opens data.train. Throws Error for the file, UsageError for a config that it contradicts.
  explicit TrainingData(const Config& unresolved);

  const TokenFile file;
  const std::optional<Tokenizer> tokenizer;  // none in data made without one
  const Config config;  // with the vocabulary, special tokens and number of steps filled in
};

}  // namespace lacuna
