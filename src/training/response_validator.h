#pragma once
#include <vector>

#include "comm/communicator.h"
#include "config/config.h"
#include "data/sft_examples.h"
#include "diffusion/objective.h"

namespace lacuna {

/// The validation of fine-tuning: the objective on train.eval_samples held-out examples, evenly
/// spaced, without padding, with ratios and masks that depend on nothing but each example's number
/// and how many there are. Masked diffusion: a bound on -log p(response | prompt), in nats per
/// response token, a mean over examples. Autoregressive: the exact mean.
class ResponseValidator {
 public:
  /// Borrows `config`. Error when the file cannot be used.
  ResponseValidator(const Config& config, const TokenFile& file);

  /// `ranks` divide the examples among themselves; all get the result.
  double run(ObjectiveRunner& objective, Communicator& ranks) const;
  std::int64_t sequences() const { return count_; }

 private:
  const Config& config_;
  SftExamples examples_;
  std::int64_t count_;
};

}  // namespace lacuna
