#pragma once
#include <cstdint>
#include <string>

#include "config/config.h"
#include "data/sft_examples.h"
#include "training/validator.h"

namespace lacuna {

/// Fine-tuning's: the objective on train.eval_samples held-out examples, evenly
/// spaced, without padding, with ratios and masks that depend on nothing but each example's number
/// and how many there are. Masked diffusion: a bound on -log p(response | prompt), in nats per
/// response token, a mean over examples. Autoregressive: the exact mean.
class SftValidator final : public Validator {
 public:
  /// Borrows `config`. Error when the file cannot be used.
  SftValidator(const Config& config, const TokenFile& file);

  ValidationResult run(ObjectiveRunner& objective, Communicator& ranks) const override;
  std::string description() const override;

 private:
  const Config& config_;
  SftExamples examples_;
  std::int64_t count_;
};

}  // namespace lacuna
