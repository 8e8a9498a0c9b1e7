#include "diffusion/responses.h"

#include <algorithm>

#include "core/check.h"
#include "diffusion/block_noise.h"

namespace lacuna {
namespace {

void add_predicted(const ResponseExample& example, std::int64_t start, std::int64_t end,
                   double weight, LossBatch& batch) {
  for (std::int64_t i = std::max<std::int64_t>(1, example.text.prompt); i < end - start; ++i) {
    const auto row = std::size_t(start + i);
    batch.masked[row] = 1;
    batch.rows.push_back(std::int32_t(row - 1));
    batch.targets.push_back(batch.tokens[row]);
    batch.weights.push_back(weight);
  }
}

/// One sequence, masked or with every token predicted from those before it. `level` as in
/// add_block_text().
void add_sequence(const NoiseOptions& options, const ResponseExample& example,
                  std::span<const std::int32_t> tokens, double weight, double level,
                  LossBatch& batch) {
  const auto start = std::int64_t(batch.tokens.size());
  batch.tokens.insert(batch.tokens.end(), tokens.begin(), tokens.end());
  const auto end = std::int64_t(batch.tokens.size());
  batch.masked.resize(std::size_t(end));
  ++batch.sequences;
  if (options.objective == Objective::autoregressive) {
    batch.p.push_back(1.0f);
    return add_predicted(example, start, end, weight, batch);
  }
  batch.p.push_back(level < 0 ? mask_probability(options, example.sample)
                              : mask_probability(level, options.min_mask_probability));
  mask_sequence(options, {example.sample, start, start + example.text.prompt, end}, batch.p.back(),
                weight / double(batch.p.back()), batch);
}

/// Where the example's sequences end, of `length` tokens each, and which are of the response.
void end_sequences(const ResponseExample& example, std::int64_t length, LossBatch& batch) {
  batch.length = std::max(batch.length, length);
  while (batch.offsets.back() < std::int64_t(batch.tokens.size())) {
    batch.offsets.push_back(std::int32_t(batch.offsets.back() + length));
    batch.response.insert(batch.response.end(), std::size_t(example.text.prompt), 0);
    batch.response.resize(std::size_t(batch.offsets.back()), 1);
    batch.samples.push_back(example.sample);
  }
}

}  // namespace

LossBatch make_response_batch(const NoiseOptions& options,
                              std::span<const ResponseExample> examples, std::int32_t end_token,
                              std::int64_t examples_in_step, std::span<const double> levels) {
  CHECK(examples_in_step >= 1, "a step of ", examples_in_step, " examples");
  CHECK(levels.empty() || levels.size() == examples.size(), levels.size(), " noise levels for ",
        examples.size(), " examples");
  LossBatch batch;
  batch.shift = options.objective != Objective::block_diffusion && options.predicts_next();
  batch.offsets.push_back(0);
  for (std::size_t b = 0; b < examples.size(); ++b) {
    const ResponseExample& example = examples[b];
    CHECK(example.text.prompt >= 0 && example.text.response() >= 1, "example ", example.sample,
          ": ", example.text.tokens.size(), " tokens with a prompt of ", example.text.prompt,
          " leave no response");
    CHECK(example.padding == 0 || end_token >= 0, "example ", example.sample,
          " is to be padded, but the model has no end token");
    std::vector<std::int32_t> tokens = example.text.tokens;
    tokens.insert(tokens.end(), std::size_t(example.padding), end_token);
    const double weight =
        1.0 / (double(example.text.response() + example.padding) * double(examples_in_step));
    if (has_views(options)) {
      CHECK(levels.empty(), "noise levels of several views, or of counts, are each view's");
      add_masked_views(options, {example.sample, tokens, example.text.prompt}, weight, batch);
    } else if (options.objective == Objective::block_diffusion) {
      add_block_text(options, {example.sample, tokens, example.text.prompt}, weight, batch,
                     levels.empty() ? -1 : levels[b]);
    } else {
      add_sequence(options, example, tokens, weight, levels.empty() ? -1 : levels[b], batch);
    }
    end_sequences(example, std::int64_t(tokens.size()), batch);
  }
  return batch;
}

}  // namespace lacuna
