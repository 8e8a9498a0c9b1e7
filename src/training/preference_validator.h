#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "config/config.h"
#include "data/preference_pairs.h"
#include "training/preference_scorer.h"
#include "training/validator.h"

namespace lacuna {

/// Preference tuning's: train.eval_samples held-out pairs, evenly spaced, with masks that depend on
/// nothing but each pair's number. The bound is that of the chosen responses given their prompts,
/// in nats per response token, a mean over pairs; the figures are PreferenceFigures, likewise.
class PreferenceValidator final : public Validator {
 public:
  /// Borrows `config`. Error when the file cannot be used.
  PreferenceValidator(const Config& config, const TokenFile& file,
                      std::shared_ptr<PreferenceScorer> scorer);

  ValidationResult run(ObjectiveRunner& objective, Communicator& ranks) const override;
  std::string description() const override;

 private:
  const Config& config_;
  const PreferencePairs pairs_;
  const std::shared_ptr<PreferenceScorer> scorer_;
  const std::int64_t count_;
};

}  // namespace lacuna
