#pragma once
#include <cstdint>
#include <string>

#include "config/config.h"
#include "data/loader.h"
#include "data/token_file.h"
#include "diffusion/validation.h"
#include "tokenizer/tokenizer.h"
#include "training/validator.h"

namespace lacuna {

/// Pretraining's: train.eval_samples windows of data.validation, evenly spaced.
class PretrainValidator final : public Validator {
 public:
  /// Borrows `config`. `tokenizer` null: bits per byte stay unknown. Error when the file cannot be
  /// used.
  PretrainValidator(const Config& config, TokenFile file, const Tokenizer* tokenizer);
  PretrainValidator(const PretrainValidator&) = delete;
  PretrainValidator& operator=(const PretrainValidator&) = delete;

  ValidationResult run(ObjectiveRunner& objective, Communicator& ranks) const override;
  std::string description() const override;

 private:
  const Config& config_;
  const TokenFile file_;
  Loader loader_;
  ValidationSet set_;
  // Of the set, to state its bound in bits per byte of text; 0: unknown.
  std::int64_t tokens_ = 0, bytes_ = 0;
};

}  // namespace lacuna
