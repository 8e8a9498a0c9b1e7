#include "training/sft_batches.h"

#include <algorithm>

#include "core/text.h"
#include "diffusion/block_noise.h"
#include "training/block_schedule.h"
#include "training/run_length.h"

namespace lacuna {
namespace {

std::int64_t length_of(const ResponseExample& example) {
  return std::int64_t(example.text.tokens.size()) + example.padding;
}

}  // namespace

SftBatches::SftBatches(const Config& config, const TokenFile& file)
    : config_(config),
      noise_(noise_options(config)),
      examples_(file, config.data.sequence_length, noise_.seed) {}

ModelLimits SftBatches::limits(const Config& config, std::int64_t count) {
  const std::int64_t tokens = room(config, count);
  // An example has at least a token of response.
  return batch_limits(config, tokens, std::min(tokens, count));
}

std::int64_t SftBatches::room(const Config& config, std::int64_t count) {
  return std::min(config.train.micro_batch_size, count) * config.data.sequence_length;
}

std::int64_t SftBatches::padding(std::int64_t sample) const {
  if (config_.sft.pad_loss == PadLoss::none || noise_.objective == Objective::autoregressive)
    return 0;
  const std::int64_t group = config_.sft.pad_group, first = sample / group * group;
  std::int64_t longest = 0;
  for (std::int64_t i = first; i < first + group; ++i)
    longest = std::max(longest, examples_.length(examples_.permuted(i)));
  if (noise_.objective == Objective::block_diffusion) {  // to whole blocks, as in generation
    const std::int64_t size = block_size_of(noise_, sample);
    longest = (longest + size - 1) / size * size;
  }
  return longest - examples_.length(examples_.permuted(sample));
}

void SftBatches::begin(std::int64_t step, std::int64_t first_sample, std::int64_t count) {
  if (noise_.objective == Objective::block_diffusion)
    noise_.blocks.sizes =
        block_sizes_of_step(config_, step, last_step(config_.train, samples_per_epoch()));
  step_.clear();
  done_ = 0;
  room_ = room(config_, count);
  for (std::int64_t sample = first_sample; sample < first_sample + count; ++sample)
    step_.push_back({examples_.at(examples_.permuted(sample)), padding(sample), sample});
  std::stable_sort(step_.begin(), step_.end(),
                   [](const auto& a, const auto& b) { return length_of(a) > length_of(b); });
}

bool SftBatches::next(LossBatch& batch) {
  if (done_ == step_.size()) return false;
  std::size_t end = done_;
  for (std::int64_t rows = 0; end < step_.size() && rows + length_of(step_[end]) <= room_; ++end)
    rows += length_of(step_[end]);
  batch = make_response_batch(noise_, std::span(step_).subspan(done_, end - done_),
                              std::int32_t(config_.model.eos_token), config_.train.batch_size);
  done_ = end;
  return true;
}

std::string SftBatches::description() const {
  std::string text = str(counted(examples_.size(), "example"), " per epoch, ",
                         counted(examples_.response_tokens(), "token"), " of response, at most ",
                         counted(examples_.longest(), "token"), " each");
  if (examples_.cut_prompts() > 0)
    text += str("; ", counted(examples_.cut_prompts(), "prompt"),
                " cut at the beginning to data.sequence_length = ", config_.data.sequence_length);
  if (examples_.left_out() > 0)
    text += str("; ", counted(examples_.left_out(), "example"),
                " left out, the response being longer than that");
  return text;
}

}  // namespace lacuna
