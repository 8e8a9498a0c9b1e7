#include "training/sft_validator.h"

#include <algorithm>
#include <vector>

#include "core/text.h"
#include "diffusion/responses.h"
#include "diffusion/validation.h"
#include "training/gradient_accumulator.h"

namespace lacuna {

SftValidator::SftValidator(const Config& config, const TokenFile& file)
    : config_(config),
      examples_(file, config.data.sequence_length, /*seed=*/0),
      count_(std::min(config.train.eval_samples, examples_.size())) {}

ValidationResult SftValidator::run(ObjectiveRunner& objective, Communicator& ranks) const {
  NoiseOptions noise = validation_noise(config_);
  noise.seed = kValidationSeed;
  const std::vector<double> ratios = validation_ratios(count_);
  const std::int64_t room = validation_tokens(config_, objective.limits());
  double sum = 0;
  ValidationDetail detail(count_);
  std::vector<ResponseExample> batch;
  std::vector<double> levels;
  std::int64_t rows = 0;
  const auto flush = [&] {
    const LossBatch losses = make_response_batch(noise, batch, -1, count_, levels);
    sum += objective.loss(losses);
    detail.add(losses, objective.row_losses(), losses.samples);
    batch.clear();
    levels.clear();
    rows = 0;
  };
  const SampleRange share = share_of_samples(count_, ranks.rank(), ranks.size());
  const auto pass_over_share = [&] {
    for (std::int64_t i = share.first; i < share.first + share.count; ++i) {
      ResponseExample example{examples_.at(i * examples_.size() / count_), 0, i};
      const auto length = std::int64_t(example.text.tokens.size());
      if (rows + length > room || std::int64_t(batch.size()) == objective.limits().sequences)
        flush();
      rows += length;
      batch.push_back(std::move(example));
      levels.push_back(ratios[std::size_t(i)]);
    }
    if (!batch.empty()) flush();
    return sum;
  };
  ValidationResult result;
  result.bound = reduced(ranks, uneven_passes(objective.model().gatherer(), pass_over_share));
  add_detail(result, detail, count_, config_.train.objective, ranks);
  return result;
}

std::string SftValidator::description() const { return counted(count_, "example"); }

}  // namespace lacuna
