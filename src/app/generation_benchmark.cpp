#include "app/generation_benchmark.h"

#include <algorithm>
#include <vector>

#include "app/training_benchmark.h"
#include "core/philox.h"
#include "core/stopwatch.h"
#include "decoding/generate.h"
#include "kernels/bench/median.h"
#include "model/weight_spec.h"
#include "training/flops.h"

namespace lacuna {
namespace {

using Prompts = std::vector<std::vector<std::int32_t>>;

Prompts random_prompts(const ModelConfig& model, const GenerationShape& shape) {
  Prompts prompts;
  for (std::int64_t b = 0; b < shape.batch; ++b) {
    const CounterRng rng{1, Purpose::benchmark, std::uint64_t(b)};
    std::vector<std::int32_t> prompt;
    while (std::int64_t(prompt.size()) < shape.prompt_length) {
      const auto id =
          std::int32_t(rng.below(std::uint64_t(model.vocab_size), std::uint32_t(prompt.size())));
      prompt.push_back(id == model.mask_token ? 0 : id);
    }
    prompts.push_back(std::move(prompt));
  }
  return prompts;
}

}  // namespace

GenerationBenchmark benchmark_generation(Ops& ops, const ModelConfig& model,
                                         const ModelWeights& weights,
                                         const GenerationShape& shape) {
  const std::int64_t available = ops.memory().available();
  Decoder decoder(ops, model, weights,
                  limits_for(model, shape.decoding, shape.prompt_length, shape.batch));
  const Prompts prompts = random_prompts(model, shape);
  GenerationBenchmark result;
  double flops = 0;  // of the round that warms up: all are alike
  const auto count = [&](const DecodingStep& step) {
    flops += forward_flops(model, 1, step.rows, step.logit_rows);
  };
  for (const auto& text : generate(decoder, prompts, shape.decoding, 0, count))
    result.tokens += std::int64_t(text.size()) - shape.prompt_length;
  result.passes = decoder.stats().passes;
  result.rows = decoder.stats().rows;
  result.logit_rows = decoder.stats().logit_rows;
  ops.synchronize();
  std::vector<double> seconds;
  for (std::int64_t round = 0; round < shape.rounds; ++round) {
    const Stopwatch stopwatch;
    generate(decoder, prompts, shape.decoding);
    ops.synchronize();
    seconds.push_back(stopwatch.seconds());
  }
  result.seconds = median(seconds);
  result.flops_per_s = flops / result.seconds;
  result.parameters = count_parameters(model);
  result.peak_bytes =
      ops.place() == Place::host ? peak_resident_bytes() : available - ops.memory().available();
  return result;
}

}  // namespace lacuna
