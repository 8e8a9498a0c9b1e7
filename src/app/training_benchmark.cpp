#include "app/training_benchmark.h"

#include <sys/resource.h>

#include <vector>

#include "core/philox.h"
#include "core/stopwatch.h"
#include "diffusion/noise.h"
#include "diffusion/objective.h"
#include "kernels/bench/median.h"
#include "training/flops.h"
#include "training/optimizer.h"

namespace lacuna {
namespace {

constexpr std::int64_t kWarmUp = 3;

}  // namespace

ModelConfig model_of(const BenchShape& s) {
  ModelConfig m;
  m.vocab_size = s.vocab;
  m.num_layers = s.layers;
  m.hidden_size = s.dim;
  m.num_heads = s.heads;
  m.num_kv_heads = s.kv_heads;
  m.intermediate_size = s.ffn;
  m.max_seq_length = s.length;
  m.mask_token = s.vocab - 1;
  return m;
}

std::int64_t peak_resident_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return std::int64_t{usage.ru_maxrss} * 1024;  // Linux counts KiB
}

TrainingBenchmark benchmark_training(Ops& ops, const BenchShape& shape, std::int64_t steps,
                                     DType type, bool fp8) {
  const std::int64_t available = ops.memory().available();
  const ModelConfig model = model_of(shape);
  const OptimizerConfig recipe;
  const NoiseOptions noise{.mask_token = std::int32_t(model.mask_token)};
  ModelTensors weights(ops.memory(), model, "weights", type);
  ModelTensors gradients(ops.memory(), model, "gradients");
  Optimizer optimizer(ops, recipe, weights);
  initialise(optimizer.master().pieces(), weights, model, 1, ops);
  optimizer.cast_master_weights();
  ModelLimits limits{shape.tokens(), shape.batch, shape.tokens(), true};
  limits.fp8_linears = fp8;
  ObjectiveRunner objective(ops, model, weights, limits);

  objective.prepare(gradients);  // nothing is timed or prepared within the steps

  std::vector<std::int32_t> clean(std::size_t(shape.tokens()));
  std::vector<float> p;
  for (std::int64_t b = 0; b < shape.batch; ++b)
    p.push_back(
        mask_probability((double(b) + 0.5) / double(shape.batch), noise.min_mask_probability));
  std::vector<double> seconds, flops_per_s, model_flops_per_s, full_head_flops_per_s;
  TrainingBenchmark result;
  double predicted = 0;
  for (std::int64_t step = 0; step < kWarmUp + steps; ++step) {
    const Stopwatch stopwatch;
    const CounterRng rng{1, Purpose::benchmark, std::uint64_t(step)};
    for (std::size_t i = 0; i < clean.size(); ++i)
      clean[i] = std::int32_t(rng.below(std::uint64_t(model.mask_token), std::uint32_t(i)));
    const LossBatch batch =
        make_noisy_batch(noise, Tensor(clean.data(), {shape.batch, shape.length}), shape.length,
                         step * shape.batch, shape.batch, p);
    result.loss = objective.loss_and_gradients(batch, gradients, {}, GradMode::overwrite);
    optimizer.measure(gradients);
    optimizer.update(gradients, recipe.learning_rate, step + 1);
    ops.synchronize();
    const double spent = stopwatch.seconds();
    if (step < kWarmUp) continue;
    const auto rows = std::int64_t(batch.rows.size());
    seconds.push_back(spent);
    flops_per_s.push_back(
        executed_flops(model, shape.batch, shape.length, objective.computed_head_rows()) / spent);
    model_flops_per_s.push_back(training_flops(model, shape.batch, shape.length, rows) / spent);
    full_head_flops_per_s.push_back(
        training_flops(model, shape.batch, shape.length, shape.tokens()) / spent);
    predicted += double(rows);
  }
  result.peak_bytes =
      ops.place() == Place::host ? peak_resident_bytes() : available - ops.memory().available();
  result.tokens_per_s = double(shape.tokens()) / median(seconds);
  result.flops_per_s = median(flops_per_s);
  result.model_flops_per_s = median(model_flops_per_s);
  result.full_head_flops_per_s = median(full_head_flops_per_s);
  result.predicted_share = predicted / double(steps * shape.tokens());
  result.parameters = weights.parameters();
  return result;
}

}  // namespace lacuna
