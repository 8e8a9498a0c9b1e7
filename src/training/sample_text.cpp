#include "training/sample_text.h"

#include <algorithm>
#include <span>

#include "core/check.h"
#include "core/text.h"
#include "decoding/generate.h"
#include "tokenizer/answer_text.h"

namespace lacuna {
namespace {

/// A token per step, each drawn from the model's own distribution: what it has learned, unpolished.
DecodingOptions sample_options(const TrainConfig& train) {
  return {.gen_length = train.sample_length,
          .temperature = 1,
          .remasking = Remasking::random,
          .seed = std::uint64_t(train.seed)};
}

}  // namespace

SampleText::SampleText(Ops& ops, const Config& config, const ModelWeights& weights,
                       const Tokenizer& tokenizer, Communicator* shares)
    : config_(config),
      tokenizer_(tokenizer),
      prompt_(tokenizer.encode(config.train.sample_prompt)),
      options_(sample_options(config.train)) {
  const std::int64_t tokens = std::int64_t(prompt_.size()) + config.train.sample_length;
  if (tokens > config.model.max_seq_length)
    fail_usage(str("train.sample_length = ", config.train.sample_length, " after a prompt of ",
                   counted(std::int64_t(prompt_.size()), "token"),
                   " exceeds model.max_seq_length = ", config.model.max_seq_length));
  decoder_ = std::make_unique<Decoder>(
      ops, config.model, weights, limits_for(config.model, options_, std::int64_t(prompt_.size())),
      shares);
}

std::int64_t SampleText::most_bytes(const Config& config, DType dtype, Place place,
                                    TensorParallelShard share, const WeightScratch& weights) {
  // At most a token per byte of the prompt.
  const std::int64_t prompt = std::min(std::int64_t(config.train.sample_prompt.size()),
                                       config.model.max_seq_length - config.train.sample_length);
  return Decoder::bytes(
      config.model, dtype, place, share,
      limits_for(config.model, sample_options(config.train), std::max<std::int64_t>(0, prompt)),
      weights);
}

std::string SampleText::draw() {
  const std::vector<std::int32_t> text = generate(*decoder_, {prompt_}, options_).front();
  return tokenizer_.decode(prompt_) + answer_text(tokenizer_,
                                                  std::span(text).subspan(prompt_.size()),
                                                  {config_.model.eos_token});
}

}  // namespace lacuna
