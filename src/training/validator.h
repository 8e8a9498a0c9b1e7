#pragma once
#include <optional>

#include "comm/communicator.h"
#include "config/config.h"
#include "data/loader.h"
#include "data/token_file.h"
#include "diffusion/validation.h"
#include "tokenizer/tokenizer.h"

namespace lacuna {

struct ValidationResult {
  double bound = 0;                     // nats per token (diffusion/validation.h)
  std::optional<double> bits_per_byte;  // bound tokens / (bytes ln 2); needs the tokenizer
};

/// The validation set of a run: train.eval_samples windows of data.validation, evenly spaced.
class Validator {
 public:
  /// `tokenizer` null: bits per byte stay unknown. Error when data.validation cannot be used.
  Validator(const Config& config, const TokenFile& file, const Tokenizer* tokenizer);
  Validator(const Validator&) = delete;
  Validator& operator=(const Validator&) = delete;

  /// `ranks` divide the windows among themselves; all get the result.
  ValidationResult run(ObjectiveRunner& objective, Communicator& ranks) const;
  std::int64_t sequences() const { return set_.sequences; }

 private:
  const Config& config_;
  Loader loader_;
  ValidationSet set_;
  std::int64_t bytes_ = 0;  // of text in the set; 0: unknown
};

}  // namespace lacuna
