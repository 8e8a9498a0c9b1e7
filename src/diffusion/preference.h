#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "core/prompted_text.h"
#include "diffusion/noise.h"
#include "model/sequences.h"

namespace lacuna {

// Preference tuning by direct preference optimization (DPO, arXiv:2305.18290), where the
// log-likelihood of a response is estimated by its bound (VRPO, arXiv:2505.19223).

/// The noise of preference tuning. The objective of `noise` says what a log-likelihood is:
///   masked diffusion: minus the mean of `samples` estimates of the bound, mask_count form
///     (diffusion/likelihood.h), stratified
///   block diffusion: the like with noise.blocks.form (diffusion/block_noise.h)
///   autoregressive: exact; `samples` counts for nothing
struct PreferenceNoise {
  NoiseOptions noise;
  std::int64_t samples = 8;
};

/// A response in a batch. `number` names its masks.
struct ScoredText {
  PromptedText text;
  std::int64_t number = 0;
};

/// Masked responses as a micro-batch. The weights are such that over the rows of a text, in however
/// many batches they are, sum weight CE is the estimate of -log p(response | prompt) in nats.
struct ScoreBatch {
  LossBatch losses;
  std::vector<std::int32_t> texts;  // [M] of each row of `losses`: which of the texts

  /// Adds to sums [texts] those of `row_losses` [M] (ObjectiveRunner::row_losses()).
  void add_sums(std::span<const float> row_losses, std::span<double> sums) const;
};
/// All masks of all texts in batches within `limits`, longest texts first; what a text's masks are
/// does not depend on the others. Throws Error for a text without a prompt or response, or longer
/// than the limits allow.
std::vector<ScoreBatch> make_score_batches(const PreferenceNoise& noise,
                                           std::span<const ScoredText> texts,
                                           const ModelLimits& limits);
/// The most that such batches may have: of `tokens` tokens of at most `texts` texts or masks.
ModelLimits score_limits(const PreferenceNoise& noise, std::int64_t tokens, std::int64_t texts,
                         bool training);

/// Log-likelihoods of a pair's responses under the model that is trained and the reference model.
struct PairLikelihoods {
  double chosen = 0, rejected = 0;                      // log p(response | prompt) in nats
  double reference_chosen = 0, reference_rejected = 0;  // under the reference model

  /// How much more than the reference model prefers the chosen response.
  double margin() const { return (chosen - reference_chosen) - (rejected - reference_rejected); }
};
struct DpoLoss {
  double loss = 0;   // -log sigmoid(beta margin)
  double slope = 0;  // -d loss / d margin = beta sigmoid(-beta margin)
};
DpoLoss dpo_loss(double margin, double beta);

}  // namespace lacuna
