#include "training/sample_text.h"

#include <algorithm>
#include <span>

#include "core/check.h"
#include "core/text.h"
#include "tokenizer/answer_text.h"

namespace lacuna {

SampleText::SampleText(Ops& ops, const Config& config, const ModelTensors& weights,
                       const Tokenizer& tokenizer, Communicator* shares)
    : config_(config),
      tokenizer_(tokenizer),
      prompt_(tokenizer.encode(config.train.sample_prompt)) {
  const std::int64_t tokens = std::int64_t(prompt_.size()) + config.train.sample_length;
  if (tokens > config.model.max_length)
    fail_usage(str("train.sample_length = ", config.train.sample_length, " after a prompt of ",
                   counted(std::int64_t(prompt_.size()), "token"),
                   " exceeds model.max_length = ", config.model.max_length));
  sampler_ = make_sampler(ops, config.model, weights, {.tokens = tokens}, shares);
}

std::int64_t SampleText::most_bytes(const Config& config, DType dtype, Place place,
                                    ModelShare share) {
  const std::int64_t tokens =
      std::int64_t(config.train.sample_prompt.size()) + config.train.sample_length;
  return sampler_bytes(config.model, dtype, place, share,
                       {.tokens = std::min(tokens, config.model.max_length)});
}

std::string SampleText::draw() {
  // A token per step, each drawn from the model's own distribution: what it has learnt, unpolished.
  const std::int64_t length = config_.train.sample_length;
  const SamplerOptions options{.gen_length = length,
                               .steps = length,
                               .block_length = length,
                               .temperature = 1,
                               .remasking = Remasking::random,
                               .seed = std::uint64_t(config_.train.seed)};
  const std::vector<std::int32_t> text = sampler_->generate({prompt_}, options).front();
  return tokenizer_.decode(prompt_) + answer_text(tokenizer_,
                                                  std::span(text).subspan(prompt_.size()),
                                                  {config_.model.eos_token});
}

}  // namespace lacuna
