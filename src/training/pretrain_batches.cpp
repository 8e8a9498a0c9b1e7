#include "training/pretrain_batches.h"

#include <algorithm>

#include "core/check.h"
#include "core/machine.h"
#include "core/text.h"
#include "diffusion/block_noise.h"
#include "diffusion/separate_documents.h"
#include "training/block_schedule.h"
#include "training/run_length.h"

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
  NoiseOptions noise{.objective = config.train.objective,
                     .min_mask_probability = config.train.min_mask_probability,
                     .seed = std::uint64_t(config.train.seed),
                     .mask_token = std::int32_t(config.model.mask_token),
                     .logits_shift = config.model.logits_shift};
  if (noise.objective == Objective::autoregressive) return noise;
  noise.blocks = {.sizes = {},
                  .form = config.train.resolved_mask_form(),
                  .views = config.train.noisy_views,
                  .complementary = config.train.complementary_masks};
  if (config.train.stratified_mask_ratios) noise.stratum = config.train.batch_size;
  if (noise.objective != Objective::block_diffusion) return noise;
  noise.blocks.sizes = {config.model.block_size};
  noise.blocks.autoregressive_weight = config.train.autoregressive_weight;
  return noise;
}

NoiseOptions validation_noise(const Config& config) {
  NoiseOptions noise = noise_options(config);
  noise.stratum = 0;
  const BlockNoise trained = noise.blocks;
  noise.blocks = {};
  // Masked diffusion is validated with ratios, whatever it is trained with.
  if (noise.objective == Objective::block_diffusion)
    noise.blocks = {.sizes = trained.sizes, .form = trained.form};
  return noise;
}

ModelLimits batch_limits(const Config& config, std::int64_t tokens, std::int64_t sequences) {
  const BlockNoise noise = noise_options(config).blocks;
  ModelLimits limits = {tokens * noise.views, sequences * noise.views, tokens * noise.masks(),
                        true};
  if (config.train.objective == Objective::block_diffusion)
    limits = block_limits(noise, tokens, sequences, true);
  return with_compute_options(limits, config);
}

ModelLimits with_compute_options(ModelLimits limits, const Config& config) {
  limits.recompute = recompute_of(config.train);
  limits.fp8_linears = config.compute.linear_dtype == LinearDtype::fp8;
  return limits;
}

Recompute recompute_of(const TrainConfig& train) {
  const auto named = [&](const char* what) {
    return std::find(train.recompute.begin(), train.recompute.end(), what) != train.recompute.end();
  };
  return {.gate_up = named("gate_up"), .qkv = named("qkv"), .block = named("block")};
}

std::int64_t validation_tokens(const Config& config, const ModelLimits& limits) {
  // Of block diffusion a noisy view and the clean tokens. All tokens may be masked.
  return config.train.objective == Objective::block_diffusion ? limits.rows / 2 : limits.logit_rows;
}

PretrainBatches::PretrainBatches(const Config& config, std::span<const TokenFile> files)
    : config_(config),
      noise_(noise_options(config)),
      loader_(config, files),
      tokens_(tokens_of_micro_batch(config)) {}

ModelLimits PretrainBatches::limits(const Config& config, std::int64_t count) {
  const std::int64_t sequences = largest_micro_batch(config.train, count),
                     tokens = sequences * config.data.sequence_length;
  // A document may have a single token.
  return batch_limits(config, tokens,
                      config.data.documents == Documents::separate ? tokens : sequences);
}

void PretrainBatches::begin(std::int64_t step, std::int64_t first_sample, std::int64_t count) {
  if (noise_.objective == Objective::block_diffusion)
    noise_.blocks.sizes =
        block_sizes_of_step(config_, step, last_step(config_.train, samples_per_epoch()));
  length_ =
      step_length(noise_, step, config_.data.sequence_length, config_.train.random_length_fraction);
  sample_ = first_sample;
  end_ = first_sample + count;
}

bool PretrainBatches::next(LossBatch& batch) {
  if (sample_ == end_) return false;
  const std::int64_t count = std::min(config_.train.micro_batch_size, end_ - sample_);
  const Tensor clean(tokens_.data(), {count, config_.data.sequence_length});
  loader_.batch(sample_, count, clean, documents_);
  batch = make_noisy_batch(noise_, clean, length_, sample_, config_.train.batch_size);
  if (!documents_.empty()) separate_documents(noise_, documents_, sample_, batch);
  sample_ += count;
  return true;
}

std::string PretrainBatches::description() const {
  std::string text =
      str(counted(loader_.windows(), "sequence"), " of ", loader_.sequence_length(), " per epoch");
  if (!config_.data.sources.empty())
    text += str(", of ", counted(std::int64_t(config_.data.sources.size()), "source"));
  if (config_.data.documents == Documents::separate) text += ", documents separate";
  return text;
}

}  // namespace lacuna
