#include "model/model.h"

#include <cmath>
#include <numbers>
#include <numeric>
#include <tuple>

#include "core/block_formats.h"
#include "decoding/generate.h"
#include "model/inference_weights.h"
#include "tests/cuda/support.h"
#include "tests/cuda/training.h"
#include "training/newton_schulz.h"

// The whole model on both backends: training steps and generation.

namespace lacuna::testing {
namespace {

using CudaModelTest = CudaOpsTest;
INSTANTIATE_TEST_SUITE_P(Cuda, CudaModelTest, ::testing::ValuesIn(all_cases()), case_name);

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

// Matrices of either form; products of the type, sums of it.
TEST_P(CudaModelTest, OrthogonalisesAsTheCpuDoes) {
  for (const auto& [rows, cols] : {std::pair{24, 40}, {40, 24}, {16, 16}}) {
    const HostArray x = normal({rows, cols}, 1, DType::f32);
    HostArray expected = x;
    CpuOps cpu(1);
    NewtonSchulz(cpu, rows * cols, 24, DType::f32).orthogonalise(expected);
    DeviceArray found(device(), x, DType::f32);
    NewtonSchulz(device(), rows * cols, 24, type()).orthogonalise(found);
    EXPECT_LT(distance(found.read().values, expected.values), type() == DType::bf16 ? 0.1 : 1e-3);
  }
}

void expect_same_training(CudaOps& device, CpuOps& host, const ModelConfig& config, DType type) {
  Training here(host, config, DType::f32), there(device, config, type);
  initialise(here.weights, config, 1, host);
  initialise(there.optimizer.master().pieces(), there.weights, config, 1, device);
  there.optimizer.cast_master_weights();
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

/// Qwen3's norms of heads, and heads that together are wider than the stream.
TEST_P(CudaModelTest, ThreeStepsOfTrainingWithNormsOfHeads) {
  ModelConfig config = tiny(48, 4, 2, Attention::causal);
  config.qk_norm = true;
  config.head_dim = 16;
  expect_same_training(device(), host, config, type());
}
/// Qwen2's. The softmax takes most of a key's bias away again; what is left of its gradient is
/// below the rounding of bf16.
TEST_P(CudaModelTest, ThreeStepsOfTrainingWithBiases) {
  if (type() == DType::bf16) GTEST_SKIP() << "compared in f32";
  ModelConfig config = tiny(48, 3, 1);
  config.qkv_bias = true;
  expect_same_training(device(), host, config, type());
}

/// A model whose matrices are frozen in some format, with adapters of all of them.
struct AdaptedModel {
  AdaptedModel(Ops& o, DType type, MatrixFormat format)
      : ops(o),
        config(shape()),
        frozen(o.memory(), config, type, storage(type, format)),
        adapters(o.memory(), WeightLayout(config, lora(), {}), "weights", type),
        gradients(o.memory(), WeightLayout(config, lora(), {}), "gradients", DType::f32) {
    ModelTensors values(host_memory(), config, "values");
    CpuOps host(1);
    initialise(values, config, 1, host);
    for (std::size_t i = 0; i < values.named().size(); ++i) {
      const InferenceWeights::Allocated& a = frozen.allocated()[i];
      const Tensor from = values.named()[i].tensor;
      std::vector<std::uint8_t> bytes(std::size_t(a.bytes.count()));
      round_to(a.format, from.as<float>(), from.count(), bytes.data());
      ops.copy(a.bytes, tensor_of(bytes).reshaped(a.bytes.shape));
      ops.synchronize();
    }
    for (std::size_t i = 0; i < adapters.named().size(); ++i) {
      const Tensor to = adapters.named()[i].tensor;
      const HostArray drawn = normal(to.shape, 20 + i, DType::bf16, 0.2);
      ops.copy(to, drawn);
      ops.synchronize();
    }
  }
  static ModelConfig shape() {
    ModelConfig c = tiny(64, 4, 2);
    c.intermediate_size = 96;
    c.qk_norm = true;
    return c;
  }
  static LoraConfig lora() {
    return {.rank = 4,
            .alpha = 6,
            .targets = {"q_proj", "k_proj", "v_proj", "attn_out", "ff_proj", "up_proj", "ff_out"}};
  }
  std::vector<WeightStorage> storage(DType type, MatrixFormat format) const {
    std::vector<WeightStorage> all;
    for (const ModelWeight& w : model_weights(config))
      all.push_back({w.spec->is_block_matrix() ? format : format_of(type)});
    return all;
  }
  ModelWeights views() const { return with_adapters(frozen, adapters, float(lora().scale())); }
  /// Losses; gradients are left for inspection.
  std::vector<float> step() {
    const Batch b = batch_of(config, 3);
    Model model(ops, config, views(), {48, 3, 24, true});
    Head head(ops, config, views(), 7);
    const Mirror<std::int32_t> tokens(ops, b.tokens), targets(ops, b.targets);
    const Mirror<float> row_weights(ops, b.weights);
    const Mirror<float> losses(ops, std::vector<float>(b.targets.size()));
    const Tensor hidden = model.forward(tokens.tensor, b.sequences);
    head.loss_and_gradient(losses.tensor, hidden, gradients.head, hidden, targets.tensor,
                           row_weights.tensor);
    model.backward(gradients, hidden);
    return read(ops, losses.tensor);
  }
  /// Of a model that is only used.
  std::vector<float> hidden() {
    const Batch b = batch_of(config, 3);
    Model model(ops, config, views(), {48, 3, 24, false});
    const Mirror<std::int32_t> tokens(ops, b.tokens);
    return read(ops, model.forward(tokens.tensor, b.sequences));
  }

  Ops& ops;
  const ModelConfig config;
  InferenceWeights frozen;
  ModelTensors adapters, gradients;
};

TEST_P(CudaModelTest, TrainsAdaptersBesideFrozenMatricesOfAnyFormat) {
  for (const MatrixFormat format : {format_of(type()), MatrixFormat::f16, MatrixFormat::q8_0}) {
    SCOPED_TRACE(text_of(format));
    AdaptedModel here(host, DType::f32, format), there(device(), type(), format);
    // As in expect_same_training().
    const double tolerance = type() == DType::bf16 ? 3 * 0x1p-9 * std::sqrt(40.0) : 1e-4;
    EXPECT_LT(distance(there.step(), here.step()), tolerance);
    for (std::size_t i = 0; i < here.gradients.named().size(); ++i)
      EXPECT_LT(distance(read(device(), there.gradients.named()[i].tensor),
                         read(host, here.gradients.named()[i].tensor)),
                3 * tolerance)  // s x A^T and its gradient are rounded once more each
          << here.gradients.named()[i].name;
    // The host reads blocks as they are, with rows rounded to 8 bits.
    EXPECT_LT(distance(there.hidden(), here.hidden()),
              format == MatrixFormat::q8_0 ? 0.05 : tolerance);
  }
}

/// Both round alike, but for sums in bf16 in another order, which turn some roundings to FP8 the
/// other way: as between layouts of ranks (tests/training/parallel_fp8_test.cpp).
using CudaFp8ModelTest = CudaOpsTest;
INSTANTIATE_TEST_SUITE_P(Cuda, CudaFp8ModelTest, ::testing::ValuesIn(bf16_cases()), case_name);
TEST_P(CudaFp8ModelTest, ProductsAreThoseOfTheCpu) {
  if (!device().has_fp8()) GTEST_SKIP() << "a GPU before sm_89";
  ModelConfig config = tiny(64, 2, 1);
  config.intermediate_size = 96;
  Training here(host, config, DType::bf16, {}, true),
      there(device(), config, DType::bf16, {}, true);
  for (Training* t : {&here, &there}) {
    initialise(t->optimizer.master().pieces(), t->weights, config, 1, t->ops);
    t->optimizer.cast_master_weights();
  }
  const Batch b = batch_of(config, 1);
  EXPECT_LT(distance(there.step(b, 1), here.step(b, 1)), 0.02);
  EXPECT_NEAR(there.norm / here.norm, 1, 0.1);
  for (std::size_t i = 0; i < here.gradients.named().size(); ++i)
    EXPECT_LT(distance(read(device(), there.gradients.named()[i].tensor),
                       read(host, here.gradients.named()[i].tensor)),
              0.25)
        << here.gradients.named()[i].name;
}

TEST_P(CudaModelTest, RecomputationChangesNoBit) {
  ModelConfig config = tiny(128, 2, 1);
  config.num_layers = 3;
  config.qk_norm = true;
  const auto trained = [&](const Recompute& recompute) {
    Training run(device(), config, type(), recompute);
    initialise(run.optimizer.master().pieces(), run.weights, config, 1, device());
    run.optimizer.cast_master_weights();
    std::vector<float> losses = run.step(batch_of(config, 1), 1);
    const std::vector<float> gradients = read(device(), run.gradients.flat());
    losses.insert(losses.end(), gradients.begin(), gradients.end());
    return losses;
  };
  const std::vector<float> expected = trained({});
  EXPECT_EQ(trained({.gate_up = true}), expected);
  EXPECT_EQ(trained({.qkv = true}), expected);
  EXPECT_EQ(trained({.gate_up = true, .qkv = true}), expected);
  EXPECT_EQ(trained({.block = true}), expected);
}

/// In f32 alone: in bf16 the largest logit may be another.
using CudaSamplerTest = CudaOpsTest;
INSTANTIATE_TEST_SUITE_P(Cuda, CudaSamplerTest, ::testing::ValuesIn(f32_cases()), case_name);

/// Weights that are not numbers are noticed, if only when the canvas comes back.
TEST_P(CudaSamplerTest, NoticesDamagedWeights) {
  const ModelConfig config = tiny(48, 3, 1);
  ModelTensors weights(device().memory(), config, "weights");
  device().fill(weights.flat(), NAN);
  DecodingOptions options;
  options.gen_length = options.block_length = options.steps = 4;
  Decoder decoder(device(), config, weights, {64, 2, false});
  EXPECT_TRUE(contains(error_of([&] { generate(decoder, {{1}}, options); }), "are not finite"));
  EXPECT_TRUE(decoder.idle());
}

TEST_P(CudaSamplerTest, GeneratesTheHostsTokens) {
  const ModelConfig config = tiny(48, 3, 1);
  ModelTensors here(host.memory(), config, "weights"), there(device().memory(), config, "weights");
  initialise(here, config, 5, host);
  for (std::size_t i = 0; i < here.named().size(); ++i)
    device().copy(there.named()[i].tensor, here.named()[i].tensor);
  DecodingOptions options;
  options.gen_length = 16;
  options.block_length = 8;
  options.steps = 8;
  // A hole in the second prompt is filled along with its first block.
  const std::vector<std::vector<std::int32_t>> prompts = {{1, 2, 3}, {50, 100, 7}};
  using Step = std::tuple<std::int64_t, std::int64_t, std::int64_t, std::vector<std::int32_t>,
                          std::vector<std::int32_t>>;
  std::vector<Step> steps;
  const DecodingObserver observer = [&](const DecodingStep& s) {
    steps.emplace_back(s.id, s.block, s.step,
                       std::vector<std::int32_t>(s.tokens.begin(), s.tokens.end()),
                       std::vector<std::int32_t>(s.committed.begin(), s.committed.end()));
  };
  const auto texts = [&](Ops& ops, const ModelTensors& weights, bool observed) {
    steps.clear();
    Decoder decoder(ops, config, weights, {64, 2, true});
    return generate(decoder, prompts, options, 0, observed ? observer : DecodingObserver());
  };
  for (const Remasking remasking : {Remasking::low_confidence, Remasking::random})
    for (const double guidance : {0.0, 1.5}) {
      options.remasking = remasking;
      options.cfg_scale = guidance;
      const auto expected = texts(host, here, true);
      const std::vector<Step> expected_steps = steps;
      EXPECT_EQ(texts(device(), there, false), expected);
      EXPECT_EQ(texts(device(), there, true), expected);
      EXPECT_EQ(steps, expected_steps);
    }
  options.remasking = Remasking::low_confidence;
  options.temperature = 0.8;
  EXPECT_EQ(texts(device(), there, false), texts(host, here, false));
}

/// A mixture of experts: the host learns on the way how many rows each expert has, so that no pass
/// is recorded.
TEST_P(CudaSamplerTest, GeneratesTheHostsTokensByAMixtureOfExperts) {
  ModelConfig config = tiny(48, 4, 2);
  config.num_experts = 6;
  config.num_experts_per_tok = 2;
  config.qk_norm = true;
  const std::vector<WeightStorage> storage(model_weights(config).size());
  const auto filled = [&](Ops& ops) {
    auto weights = std::make_unique<InferenceWeights>(ops.memory(), config, DType::f32, storage);
    for (const InferenceWeights::Allocated& a : weights->allocated()) {
      const Tensor& t = a.weight.tensor;
      HostArray values = normal(t.shape, std::hash<std::string>()(a.weight.name), DType::f32, 0.3);
      if (t.shape.rank == 1) values = HostArray(t.shape, 1);
      ops.copy(t, values);
      ops.synchronize();
    }
    return weights;
  };
  const auto here = filled(host), there = filled(device());
  for (const CacheKind cache : {CacheKind::none, CacheKind::dual}) {
    const DecodingOptions options{.gen_length = 12,
                                  .block_length = 6,
                                  .strategy = StrategyKind::threshold,
                                  .threshold = 0.3,
                                  .cache = cache};
    const auto texts = [&](Ops& ops, const ModelWeights& weights) {
      Decoder decoder(ops, config, weights, {64, 2, false, cache != CacheKind::none});
      return generate(decoder, {{1, 2, 3}, {50, 7}}, options);
    };
    EXPECT_EQ(texts(device(), *there), texts(host, *here));
  }
}

/// Texts with other seeds, temperatures, guidance, lengths and strategies, some of which end
/// sooner. While remdm is among them the host decides.
TEST_P(CudaSamplerTest, TextsThatDifferInEverythingShareTheirRounds) {
  const ModelConfig config = tiny(48, 3, 1);
  ModelTensors here(host.memory(), config, "weights"), there(device().memory(), config, "weights");
  initialise(here, config, 5, host);
  for (std::size_t i = 0; i < here.named().size(); ++i)
    device().copy(there.named()[i].tensor, here.named()[i].tensor);
  const StrategyKind strategies[] = {StrategyKind::fixed, StrategyKind::threshold,
                                     StrategyKind::remdm, StrategyKind::entropy};
  std::vector<DecodingRequest> requests;
  for (std::int64_t i = 0; i < 4; ++i)  // without a prompt, all rows would be equal
    requests.push_back(
        {.tokens = std::vector<std::int32_t>(std::size_t(i + 1), std::int32_t(7 + i)),
         .options = {.gen_length = 8 + 4 * (i % 2),
                     .block_length = 4,
                     .temperature = 0.4 * double(i % 3),
                     .cfg_scale = i % 2 ? 1.5 : 0.0,
                     .seed = std::uint64_t(i),
                     .strategy = strategies[i]},
         .sample = i});
  const auto texts = [&](Ops& ops, const ModelTensors& weights) {
    Decoder decoder(ops, config, weights, {64, 3, true});
    std::vector<std::vector<std::int32_t>> tokens;
    for (DecodingResult& result : decode(decoder, requests))
      tokens.push_back(std::move(result.tokens));
    return tokens;
  };
  EXPECT_EQ(texts(device(), there), texts(host, here));
}

/// What a device decides by itself: any strategy with any cache, texts of several lengths at once;
/// also of models that predict a token at the row before it. Tokens, and when and how surely each
/// was committed.
TEST_P(CudaSamplerTest, StrategiesAndCachesAsOnTheHost) {
  const std::tuple<Attention, bool> models[] = {{Attention::bidirectional, false},
                                                {Attention::block_causal, false},
                                                {Attention::bidirectional, true},
                                                {Attention::block_causal, true}};
  for (const auto& [attention, logits_shift] : models) {
    const bool exact = attention == Attention::block_causal;
    const std::int64_t length = exact ? 12 : 8;  // exact caches: two blocks before the last
    ModelConfig config = tiny(48, 3, 1, attention);
    config.logits_shift = logits_shift;
    if (exact) config.block_size = 4;
    ModelTensors here(host.memory(), config, "weights"),
        there(device().memory(), config, "weights");
    initialise(here, config, 5, host);
    // Logits far enough apart that some tokens are certain.
    for (std::size_t i = 0; i < here.named().size(); ++i) {
      const Tensor& w = here.named()[i].tensor;
      if (w.shape.rank == 2)
        for (std::int64_t k = 0; k < w.count(); ++k) w.as<float>()[k] *= 3;
      device().copy(there.named()[i].tensor, w);
    }
    struct Outcome {
      std::vector<std::vector<std::int32_t>> tokens, committed_at;
      std::vector<float> probability;
      DecodingStats stats;
    };
    const auto outcome_of = [&](Ops& ops, const ModelTensors& weights, const DecodingOptions& o) {
      std::vector<DecodingRequest> requests;
      for (std::int32_t i = 0; i < 3; ++i)
        requests.push_back({.tokens = std::vector<std::int32_t>(std::size_t(2 * i + 1), 7 + i),
                            .options = o,
                            .sample = i});
      if (!exact) requests[1].options.cfg_scale = 1.5;
      Decoder decoder(ops, config, weights, {64, 3, !exact, o.cache != CacheKind::none});
      Outcome outcome;
      for (DecodingResult& r : decode(decoder, std::move(requests))) {
        outcome.tokens.push_back(std::move(r.tokens));
        outcome.committed_at.push_back(std::move(r.committed_at));
        outcome.probability.insert(outcome.probability.end(), r.probability.begin(),
                                   r.probability.end());
      }
      outcome.stats = decoder.stats();
      return outcome;
    };
    const std::vector<CacheKind> caches = exact ? std::vector{CacheKind::none, CacheKind::prefix}
                                                : std::vector{CacheKind::none, CacheKind::prefix,
                                                              CacheKind::dual, CacheKind::vicinity};
    for (const StrategyKind strategy :
         {StrategyKind::fixed, StrategyKind::threshold, StrategyKind::dynamic, StrategyKind::factor,
          StrategyKind::entropy, StrategyKind::margin}) {
      std::int64_t passes = 0;
      for (const CacheKind cache : caches) {
        DecodingOptions o{.gen_length = length,
                          .block_length = 4,
                          .temperature = 0.5,
                          .strategy = strategy,
                          .threshold = strategy == StrategyKind::fixed ? 0 : 0.3,
                          .entropy_bound = 1.5,
                          .cache = cache,
                          .vicinity = 2};
        if (cache == CacheKind::dual) o.refresh_every = 3;
        const Outcome expected = outcome_of(host, here, o), found = outcome_of(device(), there, o);
        const std::string what =
            str(word_of(attention), ' ', word_of(strategy), ' ', word_of(cache));
        EXPECT_EQ(found.tokens, expected.tokens) << what;
        EXPECT_EQ(found.committed_at, expected.committed_at) << what;
        ASSERT_EQ(found.probability.size(), expected.probability.size());
        for (std::size_t i = 0; i < found.probability.size(); ++i)
          EXPECT_NEAR(found.probability[i], expected.probability[i], 1e-4) << what;
        EXPECT_EQ(found.stats.tokens, expected.stats.tokens) << what;
        EXPECT_GE(found.stats.passes, expected.stats.passes) << what;
        passes = expected.stats.passes;
      }
      // Some steps commit several tokens.
      if (strategy != StrategyKind::fixed) {
        EXPECT_LT(passes, 3 * length) << word_of(strategy);
      }
    }
  }
}

}  // namespace
}  // namespace lacuna::testing
