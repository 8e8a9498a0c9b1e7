// The same run on every layout of ranks. Each rank also computes the run alone, and compares its
// part.
#include <gtest/gtest.h>

#include "decoding/generate.h"
#include "tests/data/support.h"
#include "tests/training/parallel_support.h"
#include "training/run_plan.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

struct Variant {
  const char* name;
  void (*apply)(Config&);
};
const Variant kVariants[] = {
    {"plain", [](Config&) {}},
    {"tied", [](Config& c) { c.model.tie_embeddings = true; }},
    {"causal",
     [](Config& c) {
       c.model.attention = Attention::causal;
       c.train.objective = Objective::autoregressive;
     }},
    {"with norms of heads",
     [](Config& c) {
       c.model.qk_norm = true;
       c.model.head_dim = c.model.hidden_size / c.model.num_heads + 2;
     }},
    {"with biases and shifted logits",
     [](Config& c) { c.model.qkv_bias = c.model.logits_shift = true; }},
    {"Muon, a weight average, and pairs of counts at stratified levels",
     [](Config& c) {
       c.optimizer.name = OptimizerName::muon;
       c.optimizer.ema_decay = 0.9;
       c.train.mask_form = MaskFormSetting::mask_count;
       c.train.noisy_views = 2;
       c.train.complementary_masks = c.train.stratified_mask_ratios = true;
       c.model.num_kv_heads = c.model.num_heads;
     }},
};

const Variant kSources = {"with separate documents of two sources, in stages", [](Config& c) {
                            c.data.sources = {{c.data.train, 3}, {c.data.validation, 1}};
                            c.data.stages = {{1, {1, 1}}, {2, {0, 1}}};
                            c.data.train = DataConfig::kDefaultTrain;
                            c.data.documents = Documents::separate;
                          }};

const Variant kBlockVariants[] = {
    {"blocks",
     [](Config& c) {
       c.model.attention = Attention::block_causal;
       c.model.block_size = 8;
       c.train.objective = Objective::block_diffusion;
     }},
    {"views of blocks of several sizes",
     [](Config& c) {
       kBlockVariants[0].apply(c);
       c.model.causal_context = true;
       c.train.block_sizes = {4, 8, 32};
       c.train.block_schedule = BlockSchedule::mixed;
       c.train.noisy_views = 2;
       c.train.complementary_masks = true;
       c.train.autoregressive_weight = 0.5;
     }},
};

class Layouts : public ::testing::Test {
 protected:
  void compare_steps(const Variant& variant, const Layout& layout) {
    SCOPED_TRACE(str(variant.name, ", ", layout));
    variant.apply(run_.config);
    Config alone = run_.in(str("alone-", world_->rank(), "-", number_), layout);
    alone.parallel = {};
    alone.train.micro_batch_size = 2;
    Config together = run_.in(str("together-", number_++), layout);
    Trainer reference(alone, run_.ops, {.resume = false, .trace = {}, .matmul_peak = 1e9});
    DeviceMesh grid(testing::world(), layout.tensor);
    Trainer trainer(together, run_.ops, on(grid));
    ASSERT_EQ(relative_difference(held_weights(trainer), trainer.weights(), reference.weights()), 0)
        << "initial weights";
    for (int step = 0; step < 3; ++step) {
      const StepResult expected = reference.step(), result = trainer.step();
      EXPECT_NEAR(result.loss, expected.loss, kRounding * expected.loss);
      EXPECT_NEAR(result.grad_norm, expected.grad_norm, kRounding * expected.grad_norm);
      EXPECT_EQ(result.record.tokens, expected.record.tokens);
      EXPECT_NEAR(result.record.flops, expected.record.flops, 1e-9 * expected.record.flops);
      const OptimizerShard& sums = trainer.reduced_gradients();
      EXPECT_LE(relative_difference(
                    layout.zero ? sums.pieces_within(parts(trainer, grid)) : sums.pieces(),
                    trainer.weights(), reference.gradients()),
                kRounding);
    }
    // An update divides by the root of a second moment: where a gradient is small against its own
    // rounding it may turn either way, by the learning rate.
    EXPECT_LE(relative_difference(held_weights(trainer), trainer.weights(), reference.weights()),
              1e-3);
  }

  /// Calls `test` with run_.config that of each variant, for a model on one rank and, where the
  /// number of ranks is even, for one on two.
  template <class Test>
  void for_each_variant(const Test& test) {
    const Config config = run_.config;
    for (const Variant& variant : kVariants)
      for (const int tensor : {1, 2}) {
        if (world_->size() % tensor != 0) continue;
        SCOPED_TRACE(str(variant.name, ", tensor ", tensor));
        run_.config = config;
        variant.apply(run_.config);
        test(variant, tensor);
      }
    run_.config = config;
  }
  void validation_is_shared();
  RunPlan expect_layout_planned(const Config& config, const Layout& layout);
  void the_plan_counts_what_is_allocated();
  /// From now on runs train on a text, and can write one.
  void write_text() {
    run_.config.data.train = run_.path("text.h5");
    run_.config.data.validation = "";
    run_.config.model.vocab_size = 261;
    run_.config.train.sample_length = 12;
    run_.config.train.sample_prompt = "ab";
    if (world_->rank() == 0) {
      TokenFileWriter writer(run_.path("text.h5"), {260, 257, 258, byte_tokenizer()});
      std::vector<std::int32_t> text;
      for (int i = 0; i < 4000; ++i) text.push_back("abcdefgh"[i * i % 8]);
      writer.append(text);
      writer.end_document();
      writer.finish();
      writer.commit();
    }
    world_->barrier();
  }

  std::unique_ptr<Communicator> world_ = testing::world();
  SharedRun run_{*world_};
  int number_ = 0;
};

/// What a rank has of the weights of one run is what it has of them in another run.
void expect_same_bits(const Trainer& one, const Trainer& other) {
  const OptimizerShard &mine = one.updater().optimizer().weights(),
                       &others = other.updater().optimizer().weights();
  for (std::size_t i = 0; i < mine.pieces().size(); ++i) {
    const Tensor a = mine.pieces()[i].values, b = others.elements(mine.place(i));
    EXPECT_EQ(std::memcmp(a.data, b.data, std::size_t(a.bytes())), 0)
        << one.weights().named()[mine.pieces()[i].weight].name;
  }
}

TEST_F(Layouts, StepsAgreeWithOneRank) {
  for (const Layout& layout : layouts(world_->size())) compare_steps(kVariants[0], layout);
}

TEST_F(Layouts, SoDoVariantsOfTheModel) {
  for (const Variant* variant : {&kVariants[1], &kVariants[2], &kVariants[3], &kVariants[4],
                                 &kVariants[5], &kSources, &kBlockVariants[0], &kBlockVariants[1]})
    for (const Layout& layout : layouts(world_->size()))
      if (layout.micro_batch == 3 &&
          (layout.zero != 1 || variant == &kBlockVariants[1] || variant == &kVariants[5])) {
        const Config plain = run_.config;
        compare_steps(*variant, layout);
        run_.config = plain;
      }
}

// Fewer rows than ranks, so that some have none; and a block between the first and the last, which
// keeps its own rows alone.
TEST_F(Layouts, FewRowsAreSplitToo) {
  const Variant short_and_deep = {"short and deep", [](Config& c) {
                                    c.model.num_layers = 4;
                                    c.data.sequence_length = 3;
                                    c.train.random_length_fraction = 0;
                                  }};
  for (const Layout& layout : layouts(world_->size()))
    if (layout.sequence_parallel) compare_steps(short_and_deep, layout);
}

// What a block keeps of the residual stream, apart from the first and the last one's.
TEST_F(Layouts, SplitRowsTakeLessMemory) {
  const int ranks = world_->size();
  if (ranks == 1) return;
  Config config = run_.in("memory", {ranks, 0, 1});
  config.model.num_layers = 12;
  const std::int64_t whole = plan_run(config, ranks).memory.activations;
  config.parallel.sequence_parallel = true;
  const std::int64_t split = plan_run(config, ranks).memory.activations;
  const std::int64_t rows = config.data.sequence_length, others = rows - (rows + ranks - 1) / ranks;
  // Of 11 blocks middle and two rstd (the last block's stay), of 10 also x; every tensor is rounded
  // up.
  const std::int64_t saved = 4 * others * (config.model.hidden_size * (11 + 10) + 11 * 2);
  EXPECT_NEAR(double(whole - split), double(saved), 43 * 64.0);
  EXPECT_GT(whole - split, saved / 2);
}

// On every layout, of every kind of block, in both types: losses, norms and weights keep their
// bits. A block in between has neighbours on both sides.
TEST_F(Layouts, RecomputationChangesNoBit) {
  using Words = std::vector<std::string>;
  const std::vector<Words> choices = {{"gate_up"}, {"qkv"}, {"gate_up", "qkv"}, {"block"}};
  for (const Variant* variant : {&kVariants[0], &kVariants[3], &kVariants[4], &kBlockVariants[1]})
    for (const Precision type : {Precision::f32, Precision::bf16})
      for (const Layout& layout : layouts(world_->size())) {
        if (layout.micro_batch != 3 || layout.zero != 0) continue;
        SCOPED_TRACE(str(variant->name, ", ", layout, ", ", word_of(type)));
        Config config = run_.in("recomputed", layout);
        config.model.num_layers = 3;
        config.compute.dtype = type;
        variant->apply(config);
        const auto of = [&](const Words& recompute) {
          config.train.output = run_.path(str("recomputed-", number_++));
          config.train.recompute = recompute;
          return config;
        };
        DeviceMesh grid(testing::world(), layout.tensor);
        Trainer kept(of({}), run_.ops, on(grid));
        std::vector<StepResult> expected;
        for (int step = 0; step < 2; ++step) expected.push_back(kept.step());
        for (const Words& words : choices) {
          Trainer again(of(words), run_.ops, on(grid));
          for (const StepResult& step : expected) {
            const StepResult result = again.step();
            EXPECT_EQ(result.loss, step.loss) << words.back();
            EXPECT_EQ(result.grad_norm, step.grad_norm) << words.back();
            EXPECT_EQ(result.record.flops, step.record.flops) << words.back();
          }
          EXPECT_TRUE(same_bits(again.weights(), kept.weights())) << words.back();
        }
      }
}

// The more is recomputed the less a block keeps, and the plan knows it to the byte.
TEST_F(Layouts, ThePlanCountsWhatRecomputationLeaves) {
  using Words = std::vector<std::string>;
  const std::vector<Words> choices = {{}, {"gate_up"}, {"gate_up", "qkv"}, {"block"}};
  for (const Layout& layout : layouts(world_->size())) {
    if (layout.micro_batch != 1 || layout.zero != 0) continue;
    SCOPED_TRACE(str(layout));
    std::vector<std::int64_t> activations;
    for (const Words& words : choices) {
      Config config = run_.in(str("kept-", number_++), layout);
      config.model.num_layers = 8;
      config.train.recompute = words;
      activations.push_back(expect_layout_planned(config, layout).memory.activations);
    }
    for (std::size_t i = 1; i < activations.size(); ++i)
      EXPECT_LT(activations[i], activations[i - 1]);
    const Config& c = run_.config;
    const std::int64_t rows = c.data.sequence_length, F = c.model.intermediate_size / layout.tensor;
    // Seven of the eight blocks have no gate and up projection of their own.
    EXPECT_EQ(activations[0] - activations[1], 4 * 7 * rows * 2 * F);
  }
}

// Muon brings the parts of each matrix together before it orthogonalises it.
TEST_F(Layouts, ShardedStatesChangeNoBit) {
  for (const auto& [tensor, moments, name] : {std::tuple{1, Precision::f32, OptimizerName::adamw},
                                              {2, Precision::f32, OptimizerName::adamw},
                                              {2, Precision::bf16, OptimizerName::adamw},
                                              {1, Precision::f32, OptimizerName::muon},
                                              {2, Precision::f32, OptimizerName::muon}}) {
    if (world_->size() % tensor != 0) continue;
    run_.config.optimizer.moments_dtype = moments;
    run_.config.optimizer.name = name;
    run_.config.optimizer.ema_decay = name == OptimizerName::muon ? 0.9 : 0;
    DeviceMesh grid(testing::world(), tensor);
    Trainer plain(run_.in(str("plain-", number_), {tensor, 0, 1}), run_.ops, on(grid));
    Trainer sharded(run_.in(str("sharded-", number_++), {tensor, 1, 1}), run_.ops, on(grid));
    for (int step = 0; step < 3; ++step) {
      const StepResult a = plain.step(), b = sharded.step();
      EXPECT_EQ(a.loss, b.loss);
      EXPECT_EQ(a.grad_norm, b.grad_norm);
    }
    sharded.gather_weights();
    EXPECT_TRUE(same_bits(plain.weights(), sharded.weights()));
    if (const OptimizerShard* average = sharded.updater().optimizer().average())
      for (std::size_t i = 0; i < average->pieces().size(); ++i) {
        const Tensor& part = average->pieces()[i].values;
        const Tensor whole = plain.updater().optimizer().average()->elements(average->place(i));
        EXPECT_EQ(std::memcmp(part.data, whole.data, std::size_t(part.bytes())), 0);
      }
    // And less memory: one part for each data rank.
    EXPECT_EQ(sharded.updater().optimizer().first_moment().flat().count() * grid.data().size(),
              plain.updater().optimizer().first_moment().flat().count());
  }
}

// With one micro-batch sums over ranks are all there is; with more, which each is reduced on its
// own, they are added in another order. The norm's parts are others.
TEST_F(Layouts, ShardedGradientsChangeNoBit) {
  run_.config.model.num_layers = 5;  // so that windows are used again
  for_each_variant([&](const Variant&, int tensor) {
    DeviceMesh grid(testing::world(), tensor);
    const auto of = [&](std::int64_t zero) {
      Config config = run_.in(str("windows-", number_++), Layout{tensor, zero, 3, tensor == 2});
      config.train.batch_size = config.train.micro_batch_size = 3 * grid.data().size();
      return config;
    };
    Trainer states(of(1), run_.ops, on(grid)), gradients(of(2), run_.ops, on(grid));
    for (int step = 0; step < 3; ++step) {
      const StepResult a = states.step(), b = gradients.step();
      EXPECT_EQ(a.loss, b.loss);
      EXPECT_NEAR(a.grad_norm, b.grad_norm, 1e-12 * a.grad_norm);
    }
    states.gather_weights();
    gradients.gather_weights();
    for (std::size_t i = 0; i < states.weights().named().size(); ++i) {
      const Tensor &a = states.weights().named()[i].tensor,
                   &b = gradients.weights().named()[i].tensor;
      EXPECT_EQ(std::memcmp(a.data, b.data, std::size_t(a.bytes())), 0)
          << states.weights().named()[i].name;
    }
    const std::int64_t two_windows = gradients.gradients().memory().bytes();
    EXPECT_EQ(two_windows<states.gradients().memory().bytes(), grid.data().size()> 1);
  });
}

// Not on any number of micro-batches, of which some ranks have fewer, or some without a loss; nor
// when blocks are recomputed. What is not gathered is NaN.
TEST_F(Layouts, ShardedWeightsChangeNoBit) {
  run_.config.model.num_layers = 5;
  run_.config.train.mask_form = MaskFormSetting::mask_ratio;
  run_.config.data.sequence_length = 3;
  run_.config.train.random_length_fraction = 0;
  for_each_variant([&](const Variant& variant, int tensor) {
    const bool first = &variant == &kVariants[0];
    run_.config.compute.dtype = tensor == 1 && !first ? Precision::bf16 : Precision::f32;
    if (!first) run_.config.train.recompute = {"block"};
    DeviceMesh grid(testing::world(), tensor);
    const auto of = [&](std::int64_t zero) {
      return run_.in(str("weights-", number_++), Layout{tensor, zero, 1, tensor == 2});
    };
    Trainer gradients(of(2), run_.ops, on(grid)), weights(of(3), run_.ops, on(grid));
    for (int step = 0; step < 3; ++step) {
      const StepResult a = gradients.step(), b = weights.step();
      EXPECT_TRUE(std::isfinite(a.loss));
      EXPECT_EQ(a.loss, b.loss);
      EXPECT_EQ(a.grad_norm, b.grad_norm);
    }
    expect_same_bits(weights, gradients);
    EXPECT_EQ(weights.weights().are_windows(), grid.data().size() > 1);
    const Tensor windows = weights.weights().memory();
    if (weights.weights().are_windows() && windows.dtype == DType::f32) {
      const float* const values = windows.as<float>();
      EXPECT_TRUE(std::all_of(values, values + windows.count(), [](float v) { return v != v; }));
    }
  });
}

// A whole run: validation, on fewer sequences than four ranks, sample texts, which one rank draws,
// both with the average in place of the weights; and checkpoints, one of which is resumed from.
TEST_F(Layouts, NorDoPassesBetweenSteps) {
  write_text();
  run_.config.data.validation = run_.config.data.train;
  run_.config.model.num_layers = 4;
  run_.config.optimizer.ema_decay = 0.9;
  run_.config.train.eval_samples = 3;
  run_.config.train.eval_every = run_.config.train.sample_every = 1;
  std::vector<std::string> metrics;
  for (const std::int64_t zero : {2, 3}) {
    Config config = run_.in(str("between-", zero), {1, zero, 1});
    DeviceMesh grid(testing::world(), 1);
    for (const std::int64_t steps : {2, 3}) {
      config.train.steps = steps;
      Trainer(config, run_.ops, on(grid, /*resume=*/steps == 3)).run();
    }
    metrics.push_back(untimed_metrics(config.train.output + "/metrics.jsonl"));
  }
  EXPECT_EQ(metrics[0], metrics[1]);
  EXPECT_TRUE(contains(metrics[0], "validation_bound"));
}

// Its parts are the ranks' first micro-batches, with ZeRO-2 these together; and what is measured
// changes nothing.
TEST_F(Layouts, GradientNoiseIsThatOfFirstMicroBatches) {
  for (const Layout& layout : layouts(world_->size())) {
    DeviceMesh grid(testing::world(), layout.tensor);
    const int ranks = grid.data().size();
    const bool together = layout.zero >= 2 && ranks > 1;
    const std::int64_t micro = layout.micro_batch, share = (6 + ranks - 1) / ranks;
    const bool one_part = (ranks == 1 || together) && micro * ranks >= 6;
    if (one_part || (layout.tensor > 1 && !together && micro < share)) {
      Config refused = run_.in(str("refused-", number_++), layout);
      refused.train.log_gradient_noise = true;
      EXPECT_TRUE(contains(error_of<UsageError>([&] { Trainer(refused, run_.ops, on(grid)); }),
                           "train.log_gradient_noise = true"));
      continue;
    }
    SCOPED_TRACE(str(layout));
    Config config = run_.in(str("noise-", number_), layout), without = config;
    without.train.output = run_.path(str("without-", number_));
    Config alone = run_.in(str("alone-", world_->rank(), "-", number_++), {});
    config.train.log_gradient_noise = true;
    Trainer trainer(config, run_.ops, on(grid)), plain(without, run_.ops, on(grid));
    const Trainer reference(alone, run_.ops, {.resume = false, .trace = {}, .matmul_peak = 1e9});
    const TrainingData data(alone);
    SelfCommunicator self;
    const Task task = pretrain_task(data, self);
    double parts = 0, counts = 0, counts_squared = 0;
    ModelTensors sum(run_.ops.memory(), reference.config().model, "gradients");
    const auto squares = [](const ModelTensors& t) {
      double total = 0;
      for (std::int64_t i = 0; i < t.flat().count(); ++i)
        total += std::pow(double(t.flat().as<float>()[i]), 2);
      return total;
    };
    for (int rank = 0; rank < ranks; ++rank) {
      SampleRange first = share_of_samples(alone.train.batch_size, rank, ranks);
      first.count = std::min(first.count, micro);
      ModelTensors one(run_.ops.memory(), reference.config().model, "gradients");
      GradientAccumulator part(run_.ops, data.config, reference.weights(), task, first);
      part.run(0, 0, one);
      parts += squares(one);
      counts += double(first.count);
      counts_squared += double(first.count * first.count);
      run_.ops.add(sum.flat(), one.flat());
    }
    if (together) parts = squares(sum);
    if (together) counts_squared = counts * counts;
    const StepResult result = trainer.step(), same = plain.step();
    EXPECT_EQ(result.loss, same.loss);
    EXPECT_EQ(result.grad_norm, same.grad_norm);
    expect_same_bits(trainer, plain);
    const GradientNoise expected = estimated_gradient_noise(parts, counts, counts_squared,
                                                            result.grad_norm * result.grad_norm, 6);
    ASSERT_EQ(result.figures.size(), 3u);
    EXPECT_NEAR(result.figures[1].value, expected.variance, 1e-4 * std::abs(expected.variance));
  }
}

TEST_F(Layouts, OnOneOfThemARunIsReproducible) {
  for (const Layout& layout : layouts(world_->size())) {
    if (layout.micro_batch != 1) continue;
    SCOPED_TRACE(str(layout));
    std::vector<float> weights[2];
    std::vector<double> losses[2];
    for (int i : {0, 1}) {
      DeviceMesh grid(testing::world(), layout.tensor);
      Trainer trainer(run_.in(str("again-", number_++), layout), run_.ops, on(grid));
      for (int step = 0; step < 3; ++step) losses[i].push_back(trainer.step().loss);
      for (const WeightPiece& piece : held_weights(trainer))
        weights[i].insert(weights[i].end(), piece.values.as<float>(),
                          piece.values.as<float>() + piece.values.count());
    }
    EXPECT_EQ(losses[0], losses[1]);
    EXPECT_EQ(weights[0], weights[1]);
  }
}

// Copies of a weight stay copies: those of other data ranks, and norms among those who share a
// model.
TEST_F(Layouts, RanksKeepTheSameWeights) {
  for (const Layout& layout : layouts(world_->size())) {
    if (layout.micro_batch != 1 || layout.zero == 3) continue;
    SCOPED_TRACE(str(layout));
    DeviceMesh grid(testing::world(), layout.tensor);
    Trainer trainer(run_.in(str("copies-", number_++), layout), run_.ops, on(grid));
    for (int step = 0; step < 4; ++step) trainer.step();
    trainer.gather_weights();
    const auto expect_same = [](Communicator& group, const Tensor& t) {
      std::vector<float> first(t.as<float>(), t.as<float>() + t.count());
      group.broadcast(Tensor(first.data(), t.shape), 0);
      group.wait();
      EXPECT_EQ(std::memcmp(first.data(), t.data, std::size_t(t.bytes())), 0);
    };
    expect_same(grid.data(), trainer.weights().flat());
    for (const NamedWeight& w : trainer.weights().named())
      if (w.replicated()) expect_same(grid.tensor(), w.tensor);
  }
}

TEST_F(Layouts, ValidationIsShared) { validation_is_shared(); }
TEST_F(Layouts, ValidationOfBlocksIsShared) {
  kBlockVariants[1].apply(run_.config);
  validation_is_shared();
}

void Layouts::validation_is_shared() {
  Config alone = run_.in(str("alone-", world_->rank()), {});
  alone.train.steps = 1;
  Trainer reference(alone, run_.ops, {.resume = false, .trace = {}, .matmul_peak = 1e9});
  reference.run();
  const double expected = json_lines(alone.train.output + "/metrics.jsonl")[1]["validation_bound"];
  for (const Layout& layout : layouts(world_->size())) {
    if (layout.micro_batch != 1) continue;
    SCOPED_TRACE(str(layout));
    Config config = run_.in(str("validated-", number_++), layout);
    config.train.steps = 1;
    DeviceMesh grid(testing::world(), layout.tensor);
    Trainer(config, run_.ops, on(grid)).run();
    const auto lines = json_lines(config.train.output + "/metrics.jsonl");
    ASSERT_EQ(lines.size(), 2u);  // rank 0's alone
    EXPECT_NEAR(double(lines[1]["validation_bound"]), expected, 1e-3 * expected);
  }
}

// Every kind of sampling, with few rows at a time and with many; every rank gets the texts.
TEST_F(Layouts, TextsAreThoseOfOneRank) {
  const std::vector<std::vector<std::int32_t>> prompts = {{1, 2, 3}, {4}};
  DecodingOptions greedy{.gen_length = 12, .steps = 6, .block_length = 6};
  DecodingOptions noisy = greedy, guided = greedy;
  noisy.temperature = 1;
  noisy.remasking = Remasking::random;
  guided.temperature = 0.5;
  guided.cfg_scale = 1;
  const DecoderLimits limits{28, 2, true};
  for (const Variant& variant : kVariants)
    for (const Layout& layout : layouts(world_->size())) {
      if (layout.micro_batch != 1 || layout.zero != 0) continue;
      SCOPED_TRACE(str(variant.name, ", ", layout));
      run_.config.model.attention = Attention::bidirectional;
      run_.config.train.objective = Objective::masked_diffusion;
      variant.apply(run_.config);
      Config alone = run_.in(str("alone-", world_->rank(), "-", number_), layout);
      alone.parallel = {};
      const Trainer reference(alone, run_.ops, {.resume = false, .trace = {}, .matmul_peak = 1e9});
      DeviceMesh grid(testing::world(), layout.tensor);
      const Trainer trainer(run_.in(str("together-", number_++), layout), run_.ops, on(grid));
      Decoder decoder(run_.ops, trainer.config().model, trainer.weights(), limits, &grid.tensor());
      Decoder expected(run_.ops, reference.config().model, reference.weights(), limits);
      for (const DecodingOptions& options : {greedy, noisy, guided})
        EXPECT_EQ(generate(decoder, prompts, options), generate(expected, prompts, options));
    }
}

// The sample text of a run's log is that of one rank, and losses are as without it.
TEST_F(Layouts, SampleTextsChangeNothingElse) {
  write_text();
  run_.config.train.steps = 4;
  const auto trained = [&](const std::string& name, const Layout& layout, std::int64_t every,
                           DeviceMesh* grid) {
    Config config = run_.in(name, layout);
    config.train.sample_every = every;
    ::testing::internal::CaptureStderr();
    Trainer(config, run_.ops,
            grid ? on(*grid) : TrainerOptions{.resume = false, .trace = {}, .matmul_peak = 1e9})
        .run();
    world_->barrier();
    const std::string log = ::testing::internal::GetCapturedStderr();
    std::string samples;
    for (std::size_t at = 0; (at = log.find("sample after", at)) != std::string::npos;) {
      const std::size_t end = log.find('\n', log.find('\n', at) + 1);
      samples += log.substr(at, end - at) + "\n";
      at = end;
    }
    return std::pair{samples, untimed_metrics(config.train.output + "/metrics.jsonl")};
  };
  const auto [expected, metrics] = trained(str("alone-", world_->rank()), {}, 2, nullptr);
  if (world_->rank() == 0) {  // whose log alone is written
    EXPECT_TRUE(contains(expected, "sample after step 2:\n  ab"));
    EXPECT_TRUE(contains(expected, "sample after step 4:\n  ab"));
  }
  for (const Layout& layout : layouts(world_->size())) {
    if (layout.micro_batch != 1) continue;
    SCOPED_TRACE(str(layout));
    DeviceMesh grid(testing::world(), layout.tensor);
    const auto with = trained(str("with-", number_), layout, 2, &grid);
    const auto without = trained(str("without-", number_++), layout, 0, &grid);
    EXPECT_EQ(with.first, expected);
    EXPECT_EQ(without.first, "");
    EXPECT_EQ(with.second, without.second);
  }
}

TEST_F(Layouts, ABadGradientOnOneRankSkipsTheStepOnAll) {
  for (const auto& [tensor, zero] : {std::pair{1, 1}, {2, 1}, {1, 2}, {2, 2}}) {
    if (world_->size() % tensor != 0) continue;
    DeviceMesh grid(testing::world(), tensor);
    Trainer trainer(run_.in(str("bad-", number_++), {tensor, zero, 1}), run_.ops, on(grid));
    trainer.gather_weights();
    // The last rank's last weight: of the head's columns, so that nothing forward is NaN elsewhere.
    if (world_->rank() == world_->size() - 1) {
      const Tensor head = trainer.weights().head;
      head.as<float>()[head.count() - 1] = std::numeric_limits<float>::quiet_NaN();
    }
    const std::vector<float> norm(trainer.weights().final_norm.as<float>(),
                                  trainer.weights().final_norm.as<float>() + 16);
    EXPECT_TRUE(trainer.step().skipped);
    EXPECT_EQ(trainer.state().bad_steps, 1);
    EXPECT_EQ(std::memcmp(norm.data(), trainer.weights().final_norm.data, 64), 0);
  }
}

TEST_F(Layouts, StopWhenOneIsAskedTo) {
  Config config = run_.in("stopped", {1, 1, 1});
  DeviceMesh grid(testing::world(), 1);
  Trainer trainer(config, run_.ops, on(grid));
  const bool last = world_->rank() == world_->size() - 1;
  const TrainResult result = trainer.run([&] { return last && trainer.state().step == 3; });
  EXPECT_TRUE(result.stopped);
  EXPECT_EQ(result.step, 3);
  EXPECT_TRUE(std::filesystem::exists(result.checkpoint));
}

TEST_F(Layouts, WhatCannotBeSharedIsRefused) {
  const int ranks = world_->size();
  if (ranks == 1) return;
  DeviceMesh grid(testing::world(), ranks);
  const auto refused = [&](const std::string& name, void (*change)(Config&)) {
    Config config = run_.in(name, {ranks, 0, 1});
    change(config);
    return error_of<UsageError>([&] { Trainer(config, run_.ops, on(grid)); });
  };
  EXPECT_EQ(refused("odd heads", [](Config& c) { c.model.num_heads = 1; }),
            str("parallel.tensor_parallel = ", ranks, " must divide model.num_heads = 1"));
  EXPECT_EQ(refused("one key head", [](Config& c) { c.model.num_kv_heads = 1; }),
            str("parallel.tensor_parallel = ", ranks, " must divide model.num_kv_heads = 1"));
  DeviceMesh wide(testing::world(), 1);
  Config few = run_.in("few", {});
  few.train.batch_size = few.train.micro_batch_size = 1;
  EXPECT_EQ(error_of<UsageError>([&] { Trainer(few, run_.ops, on(wide)); }),
            str("train.batch_size = 1 is too small for ", ranks, " data parallel ranks; make it ",
                ranks, " or more"));
}

RunPlan Layouts::expect_layout_planned(const Config& config, const Layout& layout) {
  DeviceMesh grid(testing::world(), layout.tensor);
  const RunPlan plan = expect_planned(config, on(grid));
  EXPECT_EQ(plan.parameters, plan.trained);
  return plan;
}

TEST_F(Layouts, ThePlanCountsWhatIsAllocated) { the_plan_counts_what_is_allocated(); }
TEST_F(Layouts, ThePlanCountsBf16Moments) {
  run_.config.optimizer.moments_dtype = Precision::bf16;
  the_plan_counts_what_is_allocated();
}
TEST_F(Layouts, ThePlanCountsWhatMuonAndTheAverageAllocate) {
  run_.config.optimizer.name = OptimizerName::muon;
  run_.config.optimizer.ema_decay = 0.9;
  the_plan_counts_what_is_allocated();
}
TEST_F(Layouts, ThePlanCountsWhatViewsAllocate) {
  kVariants[5].apply(run_.config);
  run_.config.optimizer = {};
  the_plan_counts_what_is_allocated();
}
TEST_F(Layouts, ThePlanCountsWhatBlocksAllocate) {
  kBlockVariants[1].apply(run_.config);
  the_plan_counts_what_is_allocated();
}

void Layouts::the_plan_counts_what_is_allocated() {
  for (const Layout& layout : layouts(world_->size())) {
    SCOPED_TRACE(str(layout));
    expect_layout_planned(run_.in(str("planned-", number_++), layout), layout);
  }
}

TEST_F(Layouts, ThePlanCountsSampleTexts) {
  write_text();
  for (const Variant& variant : kVariants)
    for (const Layout& layout : layouts(world_->size())) {
      if (layout.micro_batch != 1) continue;
      SCOPED_TRACE(str(variant.name, ", ", layout));
      run_.config.model.attention = Attention::bidirectional;
      run_.config.train.objective = Objective::masked_diffusion;
      variant.apply(run_.config);
      Config config = run_.in(str("planned-", number_++), layout);
      config.train.sample_every = 2;
      EXPECT_GT(expect_layout_planned(config, layout).memory.sampling, 0);
    }
}

// Bytes on the wire are those of the formulas in docs/multi-node.md, summed over ranks.
TEST_F(Layouts, GradientsAreSentOnce) {
  const double n = world_->size();
  for (const std::int64_t zero : {0, 1}) {
    DeviceMesh grid(testing::world(), 1);
    Trainer trainer(run_.in(str("bytes-", zero), {1, zero, 1}), run_.ops, on(grid));
    trainer.step();
    const std::int64_t before = grid.data().stats().bytes_sent;
    trainer.step();
    const double sent = reduced(grid.world(), double(grid.data().stats().bytes_sent - before));
    const double formula = 2 * (n - 1) * double(trainer.gradients().flat().bytes());
    // Besides, three f64 figures; and data up to 4 KiB, which is whole to every rank: the last
    // bucket's, twice when sharded.
    EXPECT_GE(sent, formula);
    EXPECT_LE(sent, formula + n * (n - 1) * (24 + 2 * 4096));
  }
}

// The same of ranks of a tensor parallel group. (All but the last token of each sequence are
// predicted.)
TEST_F(Layouts, SumsOfActivationsAreThoseOfThePlan) {
  const int n = world_->size();
  if (n == 1) return;
  kVariants[2].apply(run_.config);
  run_.config.train.random_length_fraction = 0;
  run_.config.model.num_layers = 3;
  for (const char* again : {"", "qkv", "block"})
    for (const bool split : {false, true}) {
      Config config = run_.in(str("sums-", number_++), {n, 0, 3, split});
      if (*again) config.train.recompute = {again};
      DeviceMesh grid(testing::world(), n);
      Trainer trainer(config, run_.ops, on(grid));
      trainer.step();
      const std::int64_t before = grid.tensor().stats().bytes_sent;
      trainer.step();
      const double sent = reduced(grid.world(), double(grid.tensor().stats().bytes_sent - before));
      const double formula = n * plan_run(config, n).activation_bytes;
      // Besides, whole to each rank, being small: of each predicted row a maximum, a sum and a
      // target's logit, at most in f64; the gradients of two norms in two blocks; a few figures of
      // the step.
      const double rows = 6 * 31;
      EXPECT_GE(sent, formula) << split;
      EXPECT_LE(sent, formula + n * (n - 1) * (rows * 3 * 8 + 4 * 64 + 256)) << split;
    }
}

}  // namespace
}  // namespace lacuna
