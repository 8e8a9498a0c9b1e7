#include "training/preference_batches.h"

#include <utility>

#include "core/text.h"

namespace lacuna {

PreferenceBatches::PreferenceBatches(const Config& config, const TokenFile& file,
                                     std::shared_ptr<PreferenceScorer> scorer)
    : config_(config),
      pairs_(file, config.data.sequence_length, std::uint64_t(config.train.seed)),
      scorer_(std::move(scorer)) {}

void PreferenceBatches::begin(std::int64_t /*step*/, std::int64_t first_sample,
                              std::int64_t count) {
  step_.clear();
  batches_.clear();
  done_ = 0;
  for (std::int64_t sample = first_sample; sample < first_sample + count; ++sample)
    step_.push_back({pairs_.at(pairs_.permuted(sample)), sample});
}

std::optional<double> PreferenceBatches::weigh(ObjectiveRunner& model) {
  ScoredPairs scored = uneven_passes(model.model().gatherer(), [&] {
    return scorer_->score(model, step_, std::uint64_t(config_.train.seed));
  });
  const DpoConfig& dpo = config_.dpo;
  const double of_pair = 1 / double(config_.train.batch_size);
  double loss = 0;
  std::vector<double> factors;  // of each text's rows
  figures_ = {};
  for (std::size_t i = 0; i < step_.size(); ++i) {
    const PairLikelihoods& pair = scored.likelihoods[i];
    const DpoLoss l = dpo_loss(pair.margin(), dpo.beta);
    const double sft = dpo.sft_weight / double(step_[i].pair.chosen.response());
    loss += of_pair * (l.loss - sft * pair.chosen);
    factors.push_back(of_pair * (l.slope + sft));
    factors.push_back(-of_pair * l.slope);
    figures_.add(pair, dpo.beta, of_pair);
  }
  batches_ = std::move(scored.batches);
  for (ScoreBatch& batch : batches_)
    for (std::size_t m = 0; m < batch.texts.size(); ++m)
      batch.losses.weights[m] *= factors[std::size_t(batch.texts[m])];
  return loss;
}

bool PreferenceBatches::next(LossBatch& batch) {
  if (done_ == batches_.size()) return false;
  batch = std::move(batches_[done_++].losses);
  return true;
}

std::string PreferenceBatches::description() const {
  std::string text =
      str(counted(pairs_.size(), "pair"), " per epoch, at most ",
          counted(pairs_.longest(), "token"), " each; reference model: ", scorer_->reference());
  if (pairs_.cut_prompts() > 0)
    text += str("; ", counted(pairs_.cut_prompts(), "prompt"),
                " cut at the beginning to data.sequence_length = ", config_.data.sequence_length);
  if (pairs_.left_out() > 0)
    text += str("; ", counted(pairs_.left_out(), "pair"),
                " left out, a response being longer than that");
  return text;
}

}  // namespace lacuna
