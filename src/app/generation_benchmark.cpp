#include "app/generation_benchmark.h"

#include <algorithm>
#include <vector>

#include "app/training_benchmark.h"
#include "core/philox.h"
#include "core/stopwatch.h"
#include "kernels/bench/median.h"
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

/// Counts the passes of a round by what each left.
class Counter {
 public:
  Counter(const ModelConfig& model, const GenerationShape& shape, GenerationBenchmark& result)
      : model_(model), shape_(shape), result_(result) {}

  void operator()(const CanvasStep& step) {
    if (step.sequence == 0 || step.block != block_ || step.step != step_) ++result_.passes;
    block_ = step.block;
    step_ = step.step;
    const bool causal = model_.attention == Attention::causal;
    const auto length = std::int64_t(step.tokens.size()) - causal;
    const std::int64_t asked = causal ? 1 : masked_before(step);
    result_.rows += length;
    result_.logit_rows += asked;
    flops_ += forward_flops(model_, 1, length, asked);
  }
  double flops() const { return flops_; }

 private:
  /// Up to the block's end, before this step filled some.
  std::int64_t masked_before(const CanvasStep& step) const {
    const auto end = step.tokens.begin() +
                     (shape_.prompt_length + (step.block + 1) * shape_.sampler.block_length);
    return std::count(step.tokens.begin(), end, std::int32_t(model_.mask_token)) +
           std::int64_t(step.committed.size());
  }
  const ModelConfig& model_;
  const GenerationShape& shape_;
  GenerationBenchmark& result_;
  std::int64_t block_ = -1, step_ = -1;
  double flops_ = 0;
};

}  // namespace

GenerationBenchmark benchmark_generation(Ops& ops, const ModelConfig& model,
                                         const ModelTensors& weights,
                                         const GenerationShape& shape) {
  const std::int64_t available = ops.memory().available();
  const std::int64_t canvas = shape.prompt_length + shape.sampler.gen_length;
  const auto sampler =
      make_sampler(ops, model, weights, {.tokens = shape.batch * canvas, .sequences = shape.batch});
  const Prompts prompts = random_prompts(model, shape);
  GenerationBenchmark result;
  Counter counter(model, shape, result);  // in the round that warms up: all are alike
  for (const auto& text : sampler->generate(prompts, shape.sampler, std::ref(counter)))
    result.tokens += std::int64_t(text.size()) - shape.prompt_length;
  ops.synchronize();
  std::vector<double> seconds;
  for (std::int64_t round = 0; round < shape.rounds; ++round) {
    const Stopwatch stopwatch;
    sampler->generate(prompts, shape.sampler);
    ops.synchronize();
    seconds.push_back(stopwatch.seconds());
  }
  result.seconds = median(seconds);
  result.flops_per_s = counter.flops() / result.seconds;
  result.parameters = weights.parameters();
  result.peak_bytes =
      ops.place() == Place::host ? peak_resident_bytes() : available - ops.memory().available();
  return result;
}

}  // namespace lacuna
