#include "decoding/autoregressive.h"

#include "core/check.h"
#include "decoding/token_predictor.h"

namespace lacuna {
namespace {

struct Text {
  std::int64_t number;  // among those of this call
  std::int64_t sample;  // names its noise
  std::int64_t given;   // tokens in front that are no part of the result
  std::vector<std::int32_t> tokens;
  bool ended = false;
};

}  // namespace

struct AutoregressiveSampler::State {
  State(Ops& ops, const ModelConfig& c, const ModelTensors& weights, const SamplerLimits& l,
        Communicator* shares)
      : config(c), limits(l), predictor(ops, c, weights, model_limits(l), shares) {}

  std::vector<Text> texts(const std::vector<std::vector<std::int32_t>>& prompts,
                          const SamplerOptions& options) const;
  void run_step(const std::vector<Text*>& texts, const SamplerOptions& options, std::int64_t step,
                const CanvasObserver& observer);

  ModelConfig config;
  SamplerLimits limits;
  TokenPredictor predictor;
};

std::vector<Text> AutoregressiveSampler::State::texts(
    const std::vector<std::vector<std::int32_t>>& prompts, const SamplerOptions& options) const {
  check_fits(prompts, options, limits, config, "texts");
  std::vector<Text> result;
  for (const std::vector<std::int32_t>& prompt : prompts) {
    const auto number = std::int64_t(result.size());
    Text text{number, options.first_sample + number, 0, prompt};
    if (prompt.empty()) {
      if (config.eos_token < 0)
        fail_usage("an autoregressive model without an end token needs a prompt");
      text.given = 1;
      text.tokens.push_back(std::int32_t(config.eos_token));
    }
    result.push_back(std::move(text));
  }
  return result;
}

void AutoregressiveSampler::State::run_step(const std::vector<Text*>& texts,
                                            const SamplerOptions& options, std::int64_t step,
                                            const CanvasObserver& observer) {
  std::vector<std::int32_t> tokens;
  std::vector<std::int64_t> keys;
  Sequences sequences;
  sequences.offsets.push_back(0);
  for (const Text* text : texts) {
    tokens.insert(tokens.end(), text->tokens.begin(), text->tokens.end());
    sequences.offsets.push_back(std::int32_t(tokens.size()));
    sequences.head_rows.push_back(std::int32_t(tokens.size()) - 1);
    keys.push_back(noise_key(text->sample, std::int64_t(text->tokens.size()) - text->given));
  }
  const auto draws =
      predictor.predict(tokens, sequences, keys, {options.temperature, options.seed, 0});
  for (std::size_t i = 0; i < texts.size(); ++i) {
    Text& text = *texts[i];
    text.tokens.push_back(draws.tokens[i]);
    text.ended = draws.tokens[i] == config.eos_token;
    const std::span<const std::int32_t> canvas =
        std::span(text.tokens).subspan(std::size_t(text.given));
    const auto position = std::int32_t(canvas.size()) - 1;
    if (observer) observer({text.number, 0, step, canvas, {&position, 1}});
  }
}

AutoregressiveSampler::AutoregressiveSampler(Ops& ops, const ModelConfig& config,
                                             const ModelTensors& weights,
                                             const SamplerLimits& limits, Communicator* shares)
    : state_(std::make_unique<State>(ops, config, weights, limits, shares)) {}

AutoregressiveSampler::~AutoregressiveSampler() = default;

// Rows for the end token before an empty prompt are there: the last token is never fed back.
ModelLimits AutoregressiveSampler::model_limits(const SamplerLimits& l) {
  return {l.tokens, l.sequences, l.sequences, false};
}

std::vector<std::vector<std::int32_t>> AutoregressiveSampler::generate(
    const std::vector<std::vector<std::int32_t>>& prompts, const SamplerOptions& options,
    const CanvasObserver& observer) {
  SamplerOptions checked = options;  // by what counts here
  checked.steps = checked.block_length = options.gen_length;
  checked.cfg_scale = 0;
  validate(checked);
  std::vector<Text> texts = state_->texts(prompts, options);
  for (std::int64_t step = 0; step < options.gen_length; ++step) {
    std::vector<Text*> active;
    for (Text& text : texts)
      if (!text.ended) active.push_back(&text);
    if (active.empty()) break;
    state_->run_step(active, options, step, observer);
  }
  std::vector<std::vector<std::int32_t>> result;
  for (Text& text : texts) {
    text.tokens.erase(text.tokens.begin(), text.tokens.begin() + text.given);
    result.push_back(std::move(text.tokens));
  }
  return result;
}

}  // namespace lacuna
