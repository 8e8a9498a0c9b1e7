#include "training/preference_validator.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "core/tensor.h"
#include "core/text.h"
#include "diffusion/validation.h"
#include "training/gradient_accumulator.h"

namespace lacuna {

PreferenceValidator::PreferenceValidator(const Config& config, const TokenFile& file,
                                         std::shared_ptr<PreferenceScorer> scorer)
    : config_(config),
      pairs_(file, config.data.sequence_length, /*seed=*/0),
      scorer_(std::move(scorer)),
      count_(std::min(config.train.eval_samples, pairs_.size())) {}

ValidationResult PreferenceValidator::run(ObjectiveRunner& objective, Communicator& ranks) const {
  const double of_pair = 1 / double(count_);
  const SampleRange share = share_of_samples(count_, ranks.rank(), ranks.size());
  std::vector<NumberedPair> batch;  // as many as a step has, whose masks fit into memory
  double sums[2] = {};              // of each pair's nats per token, and their squares
  const auto score_share = [&] {
    PreferenceFigures figures;
    for (std::int64_t i = share.first; i < share.first + share.count; ++i) {
      batch.push_back({pairs_.at(i * pairs_.size() / count_), i});
      if (std::int64_t(batch.size()) < config_.train.batch_size &&
          i + 1 < share.first + share.count)
        continue;
      const ScoredPairs scored = scorer_->score(objective, batch, kValidationSeed);
      for (std::size_t k = 0; k < batch.size(); ++k) {
        const PairLikelihoods& pair = scored.likelihoods[k];
        const double nats = -pair.chosen / double(batch[k].pair.chosen.response());
        sums[0] += nats;
        sums[1] += nats * nats;
        figures.add(pair, config_.dpo.beta, of_pair);
      }
      batch.clear();
    }
    return figures.figures();
  };
  ValidationResult result;
  result.figures = uneven_passes(objective.model().gatherer(), score_share);
  std::vector<double> all = {sums[0], sums[1]};
  for (const Figure& f : result.figures) all.push_back(f.value);
  ranks.all_reduce(Tensor(all.data(), Shape{std::int64_t(all.size())}), Reduce::sum);
  ranks.wait();
  result.bound = all[0] * of_pair;
  if (count_ > 1)
    result.standard_error = std::sqrt(
        std::max(0.0, all[1] * of_pair - result.bound * result.bound) / double(count_ - 1));
  for (std::size_t i = 0; i < result.figures.size(); ++i) result.figures[i].value = all[2 + i];
  return result;
}

std::string PreferenceValidator::description() const { return counted(count_, "pair"); }

}  // namespace lacuna
