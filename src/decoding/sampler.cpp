#include "decoding/sampler.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "core/check.h"
#include "core/text.h"
#include "decoding/autoregressive.h"
#include "decoding/device_canvas.h"
#include "decoding/token_predictor.h"
#include "decoding/unmasking.h"

namespace lacuna {
namespace {

/// A canvas in the making.
struct Canvas {
  std::int64_t number;  // among those of this call
  std::int64_t sample;  // names its noise
  std::int64_t prompt_length;
  std::vector<std::int32_t> tokens;  // prompt and answer
  std::vector<std::int32_t> given;   // positions of the prompt that were not masked
  std::int64_t masked_in_block = 0;  // when the block began
};

/// The rows of one step.
struct StepBatch {
  std::vector<std::int32_t> tokens;
  Sequences sequences;
  std::vector<std::int64_t> keys;
  std::vector<std::int32_t> positions;    // of each row in its canvas
  std::vector<std::int64_t> row_offsets;  // [canvases + 1]
};

std::int64_t steps_per_block(const SamplerOptions& o) {
  return o.steps / (o.gen_length / o.block_length);
}

/// Numbers a step among all: a block is done in at most block_length steps that fill something.
std::int64_t noise_step(const SamplerOptions& o, std::int64_t block, std::int64_t step) {
  return block * o.block_length + step;
}
std::int64_t commits_of(const Canvas& canvas, const SamplerOptions& o, std::int64_t step) {
  return unmasked_in_step(canvas.masked_in_block, steps_per_block(o), step);
}

void append_sequence(StepBatch& batch, std::span<const std::int32_t> tokens) {
  batch.tokens.insert(batch.tokens.end(), tokens.begin(), tokens.end());
  batch.sequences.offsets.push_back(std::int32_t(batch.tokens.size()));
}

}  // namespace

void validate(const SamplerOptions& o) {
  const auto at_least_1 = [](const char* option, std::int64_t value) {
    if (value < 1) fail_usage(str(option, " is ", value, "; it must be at least 1"));
  };
  at_least_1("--gen-length", o.gen_length);
  at_least_1("--block-length", o.block_length);
  at_least_1("--steps", o.steps);
  if (o.gen_length % o.block_length != 0)
    fail_usage(
        str("--block-length ", o.block_length, " does not divide --gen-length ", o.gen_length));
  const std::int64_t blocks = o.gen_length / o.block_length;
  if (o.steps % blocks != 0)
    fail_usage(str("--steps ", o.steps, " cannot be shared evenly by ", blocks,
                   " blocks (--gen-length ", o.gen_length, " / --block-length ", o.block_length,
                   "); it must be a multiple of ", blocks));
  if (!(o.temperature >= 0) || !std::isfinite(o.temperature))
    fail_usage(str("--temperature is ", o.temperature, "; it must be 0 or more"));
  if (!(o.cfg_scale >= 0) || !std::isfinite(o.cfg_scale))
    fail_usage(str("--cfg-scale is ", o.cfg_scale, "; it must be 0 or more"));
  CHECK(o.first_sample >= 0, "first_sample is ", o.first_sample);
}

void check_fits(const std::vector<std::vector<std::int32_t>>& prompts,
                const SamplerOptions& options, const SamplerLimits& limits,
                const ModelConfig& config, const char* what) {
  CHECK(std::int64_t(prompts.size()) <= limits.sequences, prompts.size(), " ", what,
        " at once where at most ", limits.sequences, " were announced");
  std::int64_t all = 0;
  for (const std::vector<std::int32_t>& prompt : prompts) {
    const std::int64_t whole = std::int64_t(prompt.size()) + options.gen_length;
    CHECK(whole <= config.max_length, "a prompt of ", counted(std::int64_t(prompt.size()), "token"),
          " and ", options.gen_length, " generated ones make ", whole,
          ", more than model.max_length ", config.max_length);
    all += whole;
  }
  CHECK(all <= limits.tokens, what, " of ", all, " tokens where at most ", limits.tokens,
        " were announced");
}

std::unique_ptr<TextSampler> make_sampler(Ops& ops, const ModelConfig& config,
                                          const ModelTensors& weights, const SamplerLimits& limits,
                                          Communicator* shares) {
  if (config.attention == Attention::causal)
    return std::make_unique<AutoregressiveSampler>(ops, config, weights, limits, shares);
  return std::make_unique<Sampler>(ops, config, weights, limits, shares);
}

std::int64_t sampler_bytes(const ModelConfig& config, DType dtype, Place place, ModelShare share,
                           const SamplerLimits& limits) {
  const bool causal = config.attention == Attention::causal;
  const ModelLimits model =
      causal ? AutoregressiveSampler::model_limits(limits) : Sampler::model_limits(limits);
  const bool canvas = !causal && place == Place::device && share.count == 1;
  return TokenPredictor::bytes(config, model, dtype, place, share) +
         (canvas ? DeviceCanvas::plan(model).bytes() : 0);
}

ModelLimits Sampler::model_limits(const SamplerLimits& l) {
  const std::int64_t branches = l.guidance ? 2 : 1;
  return {l.tokens * branches, l.sequences * branches, l.tokens * branches, false};
}

struct Sampler::State {
  State(Ops& ops, const ModelConfig& c, const ModelTensors& weights, const SamplerLimits& l,
        Communicator* shares)
      : config(c), limits(l), predictor(ops, c, weights, model_limits(l), shares) {
    // Ranks that share the model wait for each other in every block, which no device can record.
    if (ops.place() == Place::device && weights.share().count == 1)
      device.emplace(ops, predictor, c, model_limits(l));
  }

  bool is_masked(std::int32_t token) const { return token == config.mask_token; }
  std::vector<Canvas> canvases(const std::vector<std::vector<std::int32_t>>& prompts,
                               const SamplerOptions& options) const;
  void run_step(std::vector<Canvas*>& canvases, const SamplerOptions& options, std::int64_t block,
                std::int64_t step, const CanvasObserver& observer);
  void run_block_on_device(std::vector<Canvas>& canvases, const SamplerOptions& options,
                           std::int64_t block, std::int64_t steps, const CanvasObserver& observer);
  std::vector<std::int32_t> candidates(const Canvas& canvas, const SamplerOptions& options,
                                       std::int64_t block, std::int64_t step) const;
  StepBatch batch_of(const std::vector<Canvas*>& canvases, const SamplerOptions& options,
                     std::int64_t block, std::int64_t step) const;

  ModelConfig config;
  SamplerLimits limits;
  TokenPredictor predictor;
  std::optional<DeviceCanvas> device;  // where operations run on one, and no ranks meet
};

std::vector<Canvas> Sampler::State::canvases(const std::vector<std::vector<std::int32_t>>& prompts,
                                             const SamplerOptions& options) const {
  check_fits(prompts, options, limits, config, "canvases");
  CHECK(options.cfg_scale == 0 || limits.guidance,
        "guidance of a sampler that was made without it");
  std::vector<Canvas> result;
  for (const std::vector<std::int32_t>& prompt : prompts) {
    const auto number = std::int64_t(result.size()), length = std::int64_t(prompt.size());
    const std::int64_t whole = length + options.gen_length;
    Canvas canvas{number, options.first_sample + number, length, prompt, {}, 0};
    for (std::int32_t i = 0; i < length; ++i)
      if (!is_masked(prompt[std::size_t(i)])) canvas.given.push_back(i);
    canvas.tokens.resize(std::size_t(whole), std::int32_t(config.mask_token));
    result.push_back(std::move(canvas));
  }
  return result;
}

// Eligible are the masked positions up to the block's end, those of earlier blocks (and of the
// prompt) among them: they are left over when the model predicts the mask token itself. Random
// remasking chooses among them here, as it needs no logits for that.
std::vector<std::int32_t> Sampler::State::candidates(const Canvas& canvas,
                                                     const SamplerOptions& options,
                                                     std::int64_t block, std::int64_t step) const {
  std::vector<std::int32_t> eligible;
  const std::int64_t end = canvas.prompt_length + (block + 1) * options.block_length;
  for (std::int32_t i = 0; i < end; ++i)
    if (is_masked(canvas.tokens[std::size_t(i)])) eligible.push_back(i);
  if (options.remasking != Remasking::random) return eligible;
  std::vector<double> confidence;
  confidence.reserve(eligible.size());
  for (const std::int32_t i : eligible)
    confidence.push_back(
        random_confidence(options.seed, canvas.sample, noise_step(options, block, step), i));
  std::vector<std::int32_t> chosen;
  for (const std::int64_t c : most_confident(confidence, commits_of(canvas, options, step)))
    chosen.push_back(eligible[std::size_t(c)]);
  return chosen;
}

StepBatch Sampler::State::batch_of(const std::vector<Canvas*>& canvases,
                                   const SamplerOptions& options, std::int64_t block,
                                   std::int64_t step) const {
  StepBatch batch;
  batch.sequences.offsets.push_back(0);
  batch.row_offsets.push_back(0);
  for (const Canvas* canvas : canvases) {
    const std::int32_t start = batch.sequences.offsets.back();
    append_sequence(batch, canvas->tokens);
    for (const std::int32_t i : candidates(*canvas, options, block, step)) {
      batch.sequences.head_rows.push_back(start + i);
      batch.positions.push_back(i);
      batch.keys.push_back(noise_key(canvas->sample, i));
    }
    batch.row_offsets.push_back(std::int64_t(batch.keys.size()));
  }
  if (options.cfg_scale == 0) return batch;
  const std::int32_t shift = batch.sequences.offsets.back();
  for (const Canvas* canvas : canvases) {
    const std::int32_t start = batch.sequences.offsets.back();
    append_sequence(batch, canvas->tokens);
    for (const std::int32_t i : canvas->given)
      batch.tokens[std::size_t(start) + std::size_t(i)] = std::int32_t(config.mask_token);
  }
  for (std::size_t m = 0; m < batch.keys.size(); ++m)
    batch.sequences.head_rows.push_back(batch.sequences.head_rows[m] + shift);
  return batch;
}

void Sampler::State::run_step(std::vector<Canvas*>& canvases, const SamplerOptions& options,
                              std::int64_t block, std::int64_t step,
                              const CanvasObserver& observer) {
  const StepBatch batch = batch_of(canvases, options, block, step);
  const auto draws = predictor.predict(
      batch.tokens, batch.sequences, batch.keys,
      {options.temperature, options.seed, std::uint64_t(noise_step(options, block, step))},
      options.cfg_scale);
  for (std::size_t c = 0; c < canvases.size(); ++c) {
    Canvas& canvas = *canvases[c];
    const auto first = batch.row_offsets[c], rows = batch.row_offsets[c + 1] - first;
    const auto confidence = draws.confidence.subspan(std::size_t(first), std::size_t(rows));
    std::vector<std::int32_t> filled;
    for (const std::int64_t m :
         most_confident(std::vector<double>(confidence.begin(), confidence.end()),
                        commits_of(canvas, options, step))) {
      const std::int32_t position = batch.positions[std::size_t(first + m)];
      const std::int32_t token = draws.tokens[std::size_t(first + m)];
      canvas.tokens[std::size_t(position)] = token;
      if (!is_masked(token)) filled.push_back(position);
    }
    if (observer) observer({canvas.number, block, step, canvas.tokens, filled});
  }
}

/// `steps` as run_step would take them one by one; the canvases come back after the last or, for an
/// observer, after each.
void Sampler::State::run_block_on_device(std::vector<Canvas>& canvases,
                                         const SamplerOptions& options, std::int64_t block,
                                         std::int64_t steps, const CanvasObserver& observer) {
  std::vector<Canvas*> all;
  for (Canvas& canvas : canvases) all.push_back(&canvas);
  StepBatch batch = batch_of(all, options, block, 0);
  CanvasBlock work{std::move(batch.tokens),      std::move(batch.sequences),  std::move(batch.keys),
                   std::move(batch.row_offsets), std::vector<std::int32_t>(), options.cfg_scale};
  for (std::int64_t step = 0; step < steps; ++step)
    for (const Canvas& canvas : canvases)
      work.counts.push_back(std::int32_t(commits_of(canvas, options, step)));
  device->begin(work);
  const auto fetch = [&](std::int64_t step, bool tell) {
    const std::vector<std::int32_t>& tokens = device->tokens();
    for (std::size_t c = 0; c < canvases.size(); ++c) {
      Canvas& canvas = canvases[c];
      std::vector<std::int32_t> filled;
      for (std::size_t i = 0; i < canvas.tokens.size(); ++i) {
        const std::int32_t token = tokens[std::size_t(work.sequences.offsets[c]) + i];
        if (is_masked(canvas.tokens[i]) && !is_masked(token)) filled.push_back(std::int32_t(i));
        canvas.tokens[i] = token;
      }
      if (tell && step < busy_steps(canvas.masked_in_block, steps_per_block(options)))
        observer({canvas.number, block, step, canvas.tokens, filled});
    }
  };
  for (std::int64_t step = 0; step < steps; ++step) {
    device->step(
        step, {options.temperature, options.seed, std::uint64_t(noise_step(options, block, step))});
    if (observer) fetch(step, true);
  }
  if (!observer) fetch(steps - 1, false);
}

Sampler::Sampler(Ops& ops, const ModelConfig& config, const ModelTensors& weights,
                 const SamplerLimits& limits, Communicator* shares) {
  if (config.mask_token < 0 || config.mask_token >= config.vocab_size)
    fail_usage(str("model.mask_token is ", config.mask_token,
                   "; to fill masks it must be a token, from 0 to ", config.vocab_size - 1));
  state_ = std::make_unique<State>(ops, config, weights, limits, shares);
}

Sampler::~Sampler() = default;

std::vector<std::vector<std::int32_t>> Sampler::generate(
    const std::vector<std::vector<std::int32_t>>& prompts, const SamplerOptions& options,
    const CanvasObserver& observer) {
  validate(options);
  std::vector<Canvas> canvases = state_->canvases(prompts, options);
  const std::int64_t blocks = options.gen_length / options.block_length;
  const std::int64_t steps = steps_per_block(options);
  for (std::int64_t block = 0; block < blocks; ++block) {
    std::int64_t busy = 0;
    for (Canvas& canvas : canvases) {
      const auto begin =
          canvas.tokens.begin() + canvas.prompt_length + block * options.block_length;
      canvas.masked_in_block = std::count_if(begin, begin + options.block_length,
                                             [&](auto token) { return state_->is_masked(token); });
      busy = std::max(busy, busy_steps(canvas.masked_in_block, steps));
    }
    // Random remasking chooses rows before it computes their logits, on the host.
    if (busy > 0 && state_->device && options.remasking == Remasking::low_confidence) {
      state_->run_block_on_device(canvases, options, block, busy, observer);
      continue;
    }
    for (std::int64_t step = 0; step < busy; ++step) {
      std::vector<Canvas*> active;
      for (Canvas& canvas : canvases)
        if (step < busy_steps(canvas.masked_in_block, steps)) active.push_back(&canvas);
      state_->run_step(active, options, block, step, observer);
    }
  }
  std::vector<std::vector<std::int32_t>> result;
  result.reserve(canvases.size());
  for (Canvas& canvas : canvases) result.push_back(std::move(canvas.tokens));
  return result;
}

}  // namespace lacuna
