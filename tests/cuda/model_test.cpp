#include "model/model.h"

#include <cmath>
#include <numbers>
#include <numeric>
#include <tuple>

#include "core/philox.h"
#include "diffusion/sampler.h"
#include "model/head.h"
#include "tests/cuda/support.h"
#include "training/optimizer.h"

// The whole model on both backends: training steps and generation.

namespace lacuna::testing {
namespace {

using CudaModelTest = CudaOpsTest;
INSTANTIATE_TEST_SUITE_P(Cuda, CudaModelTest, ::testing::ValuesIn(all_cases()), case_name);

constexpr double kLearningRate = 1e-2;

ModelConfig tiny(std::int64_t width, std::int64_t heads, std::int64_t kv_heads,
                 Attention attention = Attention::full) {
  ModelConfig c;
  c.vocab_size = 101;
  c.layers = 2;
  c.width = width;
  c.heads = heads;
  c.kv_heads = kv_heads;
  c.ffn_width = 88;
  c.max_length = 64;
  c.mask_token = 100;
  c.attention = attention;
  return c;
}

/// A tensor on the device, of elements held on the host.
template <class T>
struct Mirror {
  Mirror(Ops& ops, const std::vector<T>& values) {
    Plan plan;
    const Slot slot = plan.add("test/values", {std::int64_t(values.size())}, dtype_of<T>);
    arena = std::make_unique<Arena>(ops.memory(), plan);
    tensor = (*arena)[slot];
    ops.copy(tensor, Tensor(const_cast<T*>(values.data()), tensor.shape));
  }
  std::unique_ptr<Arena> arena;
  Tensor tensor;
};

std::vector<float> read(Ops& ops, const Tensor& t) {
  std::vector<float> values(std::size_t(t.count()));
  ops.copy(Tensor(values.data(), t.shape), t);
  ops.synchronize();
  return values;
}

struct Batch {
  Sequences sequences;
  std::vector<std::int32_t> tokens, targets;
  std::vector<float> weights;
};
/// Sequences of 17, 1 and 30 tokens, every second one masked.
Batch batch_of(const ModelConfig& config, std::uint64_t seed) {
  Batch b;
  b.sequences.offsets = {0, 17, 18, 48};
  b.tokens = integers(48, config.vocab_size - 1, seed);
  for (std::int32_t i = 0; i < 48; i += 2) {
    b.sequences.head_rows.push_back(i);
    b.targets.push_back(b.tokens[std::size_t(i)]);
    b.tokens[std::size_t(i)] = std::int32_t(config.mask_token);
    b.weights.push_back(float(i % 5 + 1) / 48);
  }
  return b;
}

/// Training on one backend, in f32 or in bf16 with f32 master weights and gradients.
struct Training {
  Training(Ops& o, const ModelConfig& c, DType type)
      : ops(o),
        config(c),
        weights(o.memory(), c, "weights", type),
        gradients(o.memory(), c, "gradients"),
        optimizer(o, OptimizerConfig{}, weights),
        model(o, c, weights, {48, 3, 24, true}),
        head(o, c, weights, 7) {}

  /// Losses of the rows; gradients are left for inspection.
  std::vector<float> step(const Batch& b, std::int64_t number) {
    ops.fill(gradients.flat(), 0);
    const Mirror<std::int32_t> tokens(ops, b.tokens), targets(ops, b.targets);
    const Mirror<float> row_weights(ops, b.weights);
    const Mirror<float> losses(ops, std::vector<float>(b.targets.size()));
    const Tensor hidden = model.forward(tokens.tensor, b.sequences);
    head.loss_and_gradient(losses.tensor, hidden, gradients.head, hidden, targets.tensor,
                           row_weights.tensor);
    model.backward(gradients, hidden);
    optimizer.measure(gradients);
    optimizer.update(gradients, kLearningRate, number);
    norm = optimizer.gradient_norm();
    return read(ops, losses.tensor);
  }

  Ops& ops;
  const ModelConfig config;
  ModelTensors weights, gradients;
  Optimizer optimizer;
  Model model;
  Head head;
  double norm = 0;
};

/// The root of the mean square of a - b.
double rms_of_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += std::pow(double(a[i]) - double(b[i]), 2);
  return std::sqrt(sum / double(a.size()));
}

/// |a - b| / |b| over all elements.
double distance(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference += std::pow(double(a[i]) - double(b[i]), 2);
    size += std::pow(double(b[i]), 2);
  }
  return std::sqrt(difference / size);
}

void expect_same_training(CudaOps& device, CpuOps& host, const ModelConfig& config, DType type) {
  Training here(host, config, DType::f32), there(device, config, type);
  initialise(here.weights, config, 1, host);
  initialise(there.optimizer.master().pieces(), there.weights, config, 1, device);
  there.optimizer.round_master();
  // bf16: each of the two blocks rounds some ten tensors, each by 2^-9 on average, on the way
  // forward and again on the way back; these add up as independent errors do, to about 2^-9
  // sqrt(40). Three times that is allowed.
  const double tolerance = type == DType::bf16 ? 3 * 0x1p-9 * std::sqrt(40.0) : 1e-4;
  for (std::int64_t number = 1; number <= 3; ++number) {
    const Batch b = batch_of(config, std::uint64_t(number));
    EXPECT_LT(distance(there.step(b, number), here.step(b, number)), tolerance);
    EXPECT_NEAR(there.norm / here.norm, 1, tolerance);
    for (std::size_t i = 0; i < here.gradients.named().size(); ++i)
      EXPECT_LT(
          distance(read(device, there.gradients.named()[i].tensor),
                   read(host, here.gradients.named()[i].tensor)),
          number == 1 ? 2 * tolerance : 6 * tolerance)  // steps later, of weights a little apart
          << here.gradients.named()[i].name << ", step " << number;
    // A step of Adam is at most about the learning rate per element, whatever the gradient's size,
    // and differs by twice that where signs do: at a share e / pi of the elements, if gradients
    // differ by a relative e, independently of their size.
    const double update_error = 2 * kLearningRate * std::sqrt(6 * tolerance / std::numbers::pi);
    for (std::size_t i = 0; i < here.weights.named().size(); ++i) {
      const std::vector<float> master = read(device, there.optimizer.master().pieces()[i].values);
      EXPECT_LT(rms_of_difference(master, read(host, here.weights.named()[i].tensor)),
                double(number) * update_error)
          << here.weights.named()[i].name << ", step " << number;
      HostArray rounded_master({std::int64_t(master.size())});
      rounded_master.values = master;
      EXPECT_EQ(read(device, there.weights.named()[i].tensor),
                rounded(rounded_master, type).values);
    }
  }
}

TEST_P(CudaModelTest, ThreeStepsOfTraining) {
  expect_same_training(device(), host, tiny(48, 3, 1), type());
}
/// Heads that tensor cores take, and the autoregressive baseline's mask.
TEST_P(CudaModelTest, ThreeStepsOfCausalTraining) {
  expect_same_training(device(), host, tiny(128, 2, 1, Attention::causal), type());
}

/// In f32 alone: in bf16 the largest logit may be another.
using CudaSamplerTest = CudaOpsTest;
INSTANTIATE_TEST_SUITE_P(Cuda, CudaSamplerTest, ::testing::ValuesIn(f32_cases()), case_name);

/// Weights that are not numbers are noticed, if only when the canvas comes back.
TEST_P(CudaSamplerTest, NoticesDamagedWeights) {
  const ModelConfig config = tiny(48, 3, 1);
  ModelTensors weights(device().memory(), config, "weights");
  device().fill(weights.flat(), NAN);
  SamplerOptions options;
  options.gen_length = options.block_length = options.steps = 4;
  const auto sampler = make_sampler(device(), config, weights, {64, 2, false});
  EXPECT_TRUE(contains(error_of([&] { sampler->generate({{1}}, options); }), "are not finite"));
}

TEST_P(CudaSamplerTest, GeneratesTheHostsTokens) {
  const ModelConfig config = tiny(48, 3, 1);
  ModelTensors here(host.memory(), config, "weights"), there(device().memory(), config, "weights");
  initialise(here, config, 5, host);
  for (std::size_t i = 0; i < here.named().size(); ++i)
    device().copy(there.named()[i].tensor, here.named()[i].tensor);
  SamplerOptions options;
  options.gen_length = 16;
  options.block_length = 8;
  options.steps = 8;
  // A hole in the second prompt is filled along with its first block.
  const std::vector<std::vector<std::int32_t>> prompts = {{1, 2, 3}, {50, 100, 7}};
  using Step = std::tuple<std::int64_t, std::int64_t, std::int64_t, std::vector<std::int32_t>,
                          std::vector<std::int32_t>>;
  std::vector<Step> steps;
  const CanvasObserver observer = [&](const CanvasStep& s) {
    steps.emplace_back(s.sequence, s.block, s.step,
                       std::vector<std::int32_t>(s.tokens.begin(), s.tokens.end()),
                       std::vector<std::int32_t>(s.committed.begin(), s.committed.end()));
  };
  const auto generate = [&](Ops& ops, const ModelTensors& weights, bool observed) {
    steps.clear();
    return make_sampler(ops, config, weights, {64, 2, true})
        ->generate(prompts, options, observed ? observer : CanvasObserver());
  };
  for (const Remasking remasking : {Remasking::low_confidence, Remasking::random})
    for (const double guidance : {0.0, 1.5}) {
      options.remasking = remasking;
      options.cfg_scale = guidance;
      const auto expected = generate(host, here, true);
      const std::vector<Step> expected_steps = steps;
      EXPECT_EQ(generate(device(), there, false), expected);
      EXPECT_EQ(generate(device(), there, true), expected);
      EXPECT_EQ(steps, expected_steps);
    }
  options.remasking = Remasking::low_confidence;
  options.temperature = 0.8;
  EXPECT_EQ(generate(device(), there, false), generate(host, here, false));
}

}  // namespace
}  // namespace lacuna::testing
