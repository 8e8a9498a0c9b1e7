#include "training/preference_scorer.h"

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "training/batch_source.h"

namespace lacuna {
namespace {

// Of the reference model's own masks: any other seed would do.
constexpr std::uint64_t kReferenceSeed = 0x7265666572656e63;  // "referenc"

PreferenceNoise noise_of(const Config& config, std::uint64_t seed) {
  PreferenceNoise noise{noise_options(config), config.dpo.mask_samples};
  noise.noise.seed = seed;
  noise.noise.stratum = 0;  // masks are named by the response, not by the step
  if (config.train.objective == Objective::autoregressive) noise.samples = 1;
  return noise;
}

/// The estimates of -log p of each text.
std::vector<double> sums_of(ObjectiveRunner& model, const std::vector<ScoreBatch>& batches,
                            std::size_t texts) {
  std::vector<double> sums(texts);
  for (const ScoreBatch& batch : batches) {
    model.loss(batch.losses);
    batch.add_sums(model.row_losses(), sums);
  }
  return sums;
}

}  // namespace

void PreferenceFigures::add(const PairLikelihoods& pair, double beta, double weight) {
  const double chosen = beta * (pair.chosen - pair.reference_chosen),
               rejected = beta * (pair.rejected - pair.reference_rejected);
  dpo_loss += weight * lacuna::dpo_loss(pair.margin(), beta).loss;
  reward_chosen += weight * chosen;
  reward_rejected += weight * rejected;
  reward_margin += weight * (chosen - rejected);
  reward_accuracy += weight * (chosen > rejected ? 1 : 0);
}

std::vector<Figure> PreferenceFigures::figures() const {
  return {{"dpo_loss", dpo_loss},
          {"reward_chosen", reward_chosen},
          {"reward_rejected", reward_rejected},
          {"reward_margin", reward_margin},
          {"reward_accuracy", reward_accuracy}};
}

PreferenceScorer::PreferenceScorer(const Config& config, std::string reference)
    : config_(config), path_(std::move(reference)) {}

void PreferenceScorer::attach(Ops& ops, const ModelWeights& model, const ModelLimits& limits,
                              Communicator* tensor_parallel) {
  if (path_.empty())
    reference_.emplace(ops, config_, without_adapters(model), limits, tensor_parallel);
  else
    reference_.emplace(ops, config_, path_, limits, tensor_parallel);
}

ModelLimits PreferenceScorer::limits(std::int64_t pairs) const {
  const PreferenceNoise noise = noise_of(config_, 0);
  const bool blocks = config_.train.objective == Objective::block_diffusion;
  const std::int64_t texts = 2 * pairs * (blocks ? 1 : noise.samples),
                     tokens = std::min(config_.train.micro_batch_size, texts) *
                              config_.data.sequence_length;
  return with_compute_options(score_limits(noise, tokens, std::min(tokens, texts), true), config_);
}

ScoredPairs PreferenceScorer::score(ObjectiveRunner& model, std::span<const NumberedPair> pairs,
                                    std::uint64_t seed) {
  CHECK(reference_, "pairs are scored before the reference model is there");
  std::vector<ScoredText> texts;
  for (const NumberedPair& p : pairs) {
    texts.push_back({p.pair.chosen, 2 * p.number});
    texts.push_back({p.pair.rejected, 2 * p.number + 1});
  }
  ScoredPairs scored;
  scored.batches = make_score_batches(noise_of(config_, seed), texts, model.limits());
  const std::vector<double> sums = sums_of(model, scored.batches, texts.size());
  const std::vector<double> reference =
      config_.dpo.shared_masks
          ? sums_of(reference_->objective(), scored.batches, texts.size())
          : sums_of(
                reference_->objective(),
                make_score_batches(noise_of(config_, seed ^ kReferenceSeed), texts, model.limits()),
                texts.size());
  for (std::size_t i = 0; i < sums.size(); i += 2)
    scored.likelihoods.push_back({-sums[i], -sums[i + 1], -reference[i], -reference[i + 1]});
  return scored;
}

}  // namespace lacuna
