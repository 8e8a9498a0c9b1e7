#include "diffusion/responses.h"

#include <algorithm>

#include "core/check.h"

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

}  // namespace

LossBatch make_response_batch(const NoiseOptions& options,
                              std::span<const ResponseExample> examples, std::int32_t end_token,
                              std::int64_t examples_in_step, const std::vector<float>& p) {
  CHECK(examples_in_step >= 1, "a step of ", examples_in_step, " examples");
  CHECK(p.empty() || p.size() == examples.size(), p.size(), " mask probabilities for ",
        examples.size(), " examples");
  const bool autoregressive = options.objective == Objective::autoregressive;
  LossBatch batch;
  batch.sequences = std::int64_t(examples.size());
  batch.shift = autoregressive;
  batch.offsets.push_back(0);
  for (std::size_t b = 0; b < examples.size(); ++b) {
    const ResponseExample& example = examples[b];
    CHECK(example.text.prompt >= 0 && example.text.response() >= 1, "example ", example.sample,
          ": ", example.text.tokens.size(), " tokens with a prompt of ", example.text.prompt,
          " leave no response");
    CHECK(example.padding == 0 || end_token >= 0, "example ", example.sample,
          " is to be padded, but the model has no end token");
    const std::int64_t start = batch.offsets.back();
    batch.tokens.insert(batch.tokens.end(), example.text.tokens.begin(), example.text.tokens.end());
    batch.tokens.insert(batch.tokens.end(), std::size_t(example.padding), end_token);
    const auto end = std::int64_t(batch.tokens.size());
    batch.offsets.push_back(std::int32_t(end));
    batch.length = std::max(batch.length, end - start);
    batch.masked.resize(std::size_t(end));
    batch.response.resize(std::size_t(start + example.text.prompt), 0);
    batch.response.resize(std::size_t(end), 1);
    batch.samples.push_back(example.sample);
    const double weight =
        1.0 / (double(example.text.response() + example.padding) * double(examples_in_step));
    batch.p.push_back(autoregressive ? 1.0f
                      : p.empty()    ? mask_probability(options, example.sample)
                                     : p[b]);
    if (autoregressive)
      add_predicted(example, start, end, weight, batch);
    else
      mask_sequence(options, {example.sample, start, start + example.text.prompt, end},
                    batch.p.back(), weight / double(batch.p.back()), batch);
  }
  return batch;
}

}  // namespace lacuna
