#include "training/pretrain_batches.h"

#include <algorithm>

#include "core/check.h"
#include "core/machine.h"
#include "core/text.h"

namespace lacuna {
namespace {

std::int64_t largest_micro_batch(const TrainConfig& train, std::int64_t count) {
  return std::min(train.micro_batch_size, count);
}

/// Error when they do not fit into memory.
std::size_t tokens_of_micro_batch(const Config& config) {
  const std::int64_t sequences = largest_micro_batch(config.train, config.train.batch_size),
                     length = config.data.sequence_length;
  check_memory_for(
      sequences * length, sizeof(std::int32_t),
      str("a micro-batch of ", counted(sequences, "sequence"), " of ", counted(length, "token"),
          " (train.micro_batch_size, data.sequence_length)"));
  return std::size_t(sequences * length);
}

}  // namespace

NoiseOptions noise_options(const Config& config) {
  return {.objective = config.train.objective,
          .min_mask_probability = config.train.min_mask_probability,
          .seed = std::uint64_t(config.train.seed),
          .mask_token = std::int32_t(config.model.mask_token)};
}

PretrainBatches::PretrainBatches(const Config& config, const TokenFile& file)
    : config_(config),
      noise_(noise_options(config)),
      loader_(file, config.data.sequence_length, noise_.seed),
      tokens_(tokens_of_micro_batch(config)) {}

ModelLimits PretrainBatches::limits(std::int64_t count) const {
  const std::int64_t sequences = largest_micro_batch(config_.train, count);
  const std::int64_t rows = sequences * config_.data.sequence_length;
  return {rows, sequences, rows, true};
}

void PretrainBatches::begin(std::int64_t step, std::int64_t first_sample, std::int64_t count) {
  length_ =
      step_length(noise_, step, config_.data.sequence_length, config_.train.random_length_fraction);
  sample_ = first_sample;
  end_ = first_sample + count;
}

bool PretrainBatches::next(LossBatch& batch) {
  if (sample_ == end_) return false;
  const std::int64_t count = std::min(config_.train.micro_batch_size, end_ - sample_);
  const Tensor clean(tokens_.data(), {count, config_.data.sequence_length});
  loader_.batch(sample_, count, clean);
  batch = make_noisy_batch(noise_, clean, length_, sample_, config_.train.batch_size);
  sample_ += count;
  return true;
}

std::string PretrainBatches::description() const {
  return str(counted(loader_.windows(), "sequence"), " of ", loader_.sequence_length(),
             " per epoch");
}

}  // namespace lacuna
