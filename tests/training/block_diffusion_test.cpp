// Runs of block diffusion: schedules of block sizes, pretraining, fine-tuning, adapters, traces.
#include <gtest/gtest.h>

#include <cmath>

#include "diffusion/block_noise.h"
#include "diffusion/block_rows.h"
#include "formats/hdf5.h"
#include "tests/training/support.h"
#include "training/block_schedule.h"
#include "training/flops.h"
#include "training/run_plan.h"
#include "training/sft_batches.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

/// A run on blocks of 8 of 32 tokens.
struct BlockRun : TinyRun {
  BlockRun() {
    config.model.attention = Attention::block_causal;
    config.model.block_size = 8;
    config.train.objective = Objective::block_diffusion;
  }
  Trainer start(const Config& c, bool resume = false) {
    return Trainer(c, ops, {.resume = resume, .trace = {}, .matmul_peak = 1e9});
  }
};

/// Everything that the objective has, at once.
void all_of_it(Config& c) {
  c.model.causal_context = true;
  c.train.block_sizes = {4, 16, 8};
  c.train.block_schedule = BlockSchedule::mixed;
  c.train.noisy_views = 2;
  c.train.complementary_masks = true;
  c.train.autoregressive_weight = 0.5;
}

TEST(BlockSchedule, StagesAndMixed) {
  BlockRun run;
  Config& c = run.config;
  using Sizes = std::vector<std::int64_t>;
  EXPECT_EQ(block_sizes_of_step(c, 3, 10), (Sizes{8}));
  EXPECT_EQ(block_schedule_summary(c), "blocks of 8 tokens");
  c.train.block_sizes = {1, 4, 8};
  Sizes stages;
  for (std::int64_t step = 0; step <= 10; ++step) {
    ASSERT_EQ(block_sizes_of_step(c, step, 10).size(), 1u);
    stages.push_back(block_sizes_of_step(c, step, 10).front());
  }
  EXPECT_EQ(stages, (Sizes{1, 1, 1, 1, 4, 4, 4, 8, 8, 8, 8}));
  EXPECT_EQ(block_schedule_summary(c), "blocks of 1, then 4, then 8 tokens");
  c.train.block_schedule = BlockSchedule::mixed;
  EXPECT_EQ(block_sizes_of_step(c, 3, 10), (Sizes{1, 4, 8}));
  EXPECT_EQ(block_schedule_summary(c), "blocks of 1 or 4 or 8 tokens");
  c.train.objective = Objective::masked_diffusion;
  EXPECT_EQ(block_schedule_summary(c), "");
}

// Operations of a step by formula are those of its rows.
TEST(BlockFlops, AreThoseOfTheRows) {
  BlockRun run;
  const ModelConfig& plain = run.config.model;
  std::vector<std::int32_t> tokens(3 * 32, 5);
  for (const bool causal_context : {false, true})
    for (const std::int64_t size : {1, 8, 32})
      for (const std::int64_t views : {1, 3}) {
        ModelConfig model = plain;
        model.block_size = size;
        model.causal_context = causal_context;
        NoiseOptions noise{.objective = Objective::block_diffusion, .mask_token = kMask};
        noise.blocks = {.sizes = {size}, .views = views};
        noise.blocks.autoregressive_weight = causal_context ? 1 : 0;
        const LossBatch batch = make_noisy_batch(noise, Tensor(tokens.data(), {3, 32}), 32, 0, 3);
        const BlockRows rows(batch, causal_context);
        const PassWork work =
            block_work_of(model, 3, 32, size, views, double(batch.rows.size()), causal_context);
        EXPECT_EQ(work.rows, double(rows.tokens.size()));
        EXPECT_EQ(work.pairs, double(rows.attended_pairs()));
        EXPECT_EQ(work.predicted, double(rows.losses.size()));
        // Which tokens are masked makes the number of keys vary.
        EXPECT_NEAR(work.predicted_pairs, double(rows.attended_pairs_of_logit_rows()),
                    0.2 * work.predicted_pairs);
      }
}

// Two rows per token in the linear layers, the same pairs in attention; logits of a little more
// than half of the tokens.
TEST(BlockFlops, AgainstABidirectionalModel) {
  BlockRun run;
  run.config.model.vocab_size = kVocabulary;
  run.config.model.num_layers = 24;
  Config whole = run.config;
  whole.model.attention = Attention::bidirectional;
  whole.model.block_size = 0;
  whole.train.objective = Objective::masked_diffusion;
  const RunPlan blocks = plan_run(run.config, 1), plain = plan_run(whole, 1);
  EXPECT_GT(blocks.flops, 1.5 * plain.flops);
  EXPECT_LT(blocks.flops, 2 * plain.flops);
  EXPECT_GT(double(blocks.memory.activations), 1.9 * double(plain.memory.activations));
  EXPECT_LT(double(blocks.memory.activations), 2.1 * double(plain.memory.activations));
}

TEST(BlockRuns, ResumingIsBitExact) {
  for (const bool everything : {false, true}) {
    BlockRun run;
    if (everything) all_of_it(run.config);
    if (!everything) run.config.train.block_sizes = {1, 2, 8};  // a stage ends in between
    const Config whole = run.in("whole"), parts = run.in("parts");
    Trainer uninterrupted = run.start(whole);
    uninterrupted.run();
    {
      Trainer first = run.start(parts);
      first.run([&] { return first.state().step == 4; });
    }
    Trainer second = run.start(parts, true);
    EXPECT_EQ(second.state().step, 4);
    second.run();
    EXPECT_TRUE(testing::same_bits(uninterrupted.weights(), second.weights()));
    EXPECT_EQ(untimed_metrics(whole.train.output + "/metrics.jsonl"),
              untimed_metrics(parts.train.output + "/metrics.jsonl"));
  }
}

TEST(BlockRuns, TheMicroBatchDoesNotMatter) {
  for (const bool everything : {false, true}) {
    BlockRun run;
    if (everything) all_of_it(run.config);
    Config one = run.in("one"), all = run.in("all");
    one.train.micro_batch_size = 1;
    all.train.micro_batch_size = 4;
    Trainer a = run.start(one), b = run.start(all);
    for (int step = 0; step < 3; ++step) {
      const StepResult x = a.step(), y = b.step();
      EXPECT_NEAR(x.loss, y.loss, 1e-5 * y.loss);
      EXPECT_NEAR(x.grad_norm, y.grad_norm, 1e-4 * y.grad_norm);
      EXPECT_EQ(x.record.tokens, y.record.tokens);
      EXPECT_LE(x.record.tokens, 4 * 32);  // of the data, not of its views
      EXPECT_DOUBLE_EQ(x.record.flops, y.record.flops);
    }
  }
}

// Past a sequence's first tokens the rest is known, from the block's other tokens or from those
// before it.
TEST(BlockRuns, LearnFromABaseOfAnyKind) {
  BlockRun run;
  Config& c = run.config;
  c.model.hidden_size = 32;
  c.model.intermediate_size = 64;
  c.train.steps = 150;
  c.train.batch_size = c.train.micro_batch_size = 16;
  c.train.eval_every = 0;
  c.train.eval_samples = 30;
  c.train.log_every = 50;
  c.train.checkpoint_every = 0;
  c.optimizer.warmup_steps = 20;
  c.optimizer.decay_steps = 50;
  const auto bound = [&](const Config& config) {
    Trainer(config, run.ops, {.resume = false, .trace = {}, .matmul_peak = 1e9}).run();
    return json_lines(config.train.output + "/metrics.jsonl")
        .back()["validation_bound"]
        .get<double>();
  };
  EXPECT_LT(bound(run.in("blocks")), 0.5 * std::log(double(kCycle)));

  Config causal = run.in("causal");
  causal.model.attention = Attention::causal;
  causal.model.block_size = 0;
  causal.train.objective = Objective::autoregressive;
  bound(causal);
  Config converted = run.in("converted");  // 1, then 4, then 8
  converted.train.init = causal.train.output;
  converted.train.block_sizes = {1, 4, 8};
  EXPECT_LT(bound(converted), 0.5 * std::log(double(kCycle)));
}

TEST(BlockRuns, ResumingMayChangeTheBlockSizeAlone) {
  BlockRun run;
  run.start(run.config).run();
  Config more = run.config;
  more.model.block_size = 16;
  more.train.steps = 12;
  EXPECT_EQ(run.start(more, true).run().step, 12);
  more.model.causal_context = true;
  EXPECT_TRUE(contains(error_of<UsageError>([&] { run.start(more, true); }),
                       "model.causal_context = true, but "));
}

// --- traces

template <class T>
std::vector<T> read(const h5::File& file, const std::string& dataset) {
  std::vector<T> values(std::size_t(file.shape(dataset).count()));
  file.read(dataset, Tensor(values.data(), file.shape(dataset)));
  return values;
}

/// The loss that a trace's masks and weights make, with the weights of its first step.
double loss_of_trace(BlockRun& run, const h5::File& file, const Config& config, bool sft) {
  const auto clean = read<std::int32_t>(file, "/clean"),
             sizes = read<std::int32_t>(file, "/block_size");
  const auto masked = read<std::uint8_t>(file, "/masked");
  const auto weight = read<double>(file, "/weight"), next = read<double>(file, "/next_weight");
  std::vector<std::int32_t> offsets;
  if (sft)
    offsets = read<std::int32_t>(file, "/offsets");
  else
    for (std::int64_t i = 0; i <= file.shape("/clean")[0]; ++i)
      offsets.push_back(std::int32_t(i * file.shape("/clean")[1]));
  LossBatch batch;
  for (std::size_t s = 0; s + 1 < offsets.size(); ++s) {
    const auto begin = std::size_t(offsets[s]), end = std::size_t(offsets[s + 1]);
    if (s % std::size_t(config.train.noisy_views) == 0) {
      const auto first = std::int32_t(batch.clean.size());
      add_clean_text(std::span(clean).subspan(begin, end - begin), sizes[begin], batch);
      for (std::size_t i = begin; i < end; ++i)
        if (next[i] > 0) {
          batch.clean_rows.push_back(first + std::int32_t(i - begin) - 1);
          batch.clean_weights.push_back(next[i]);
        }
    }
    add_noisy_view(batch);
    for (std::size_t i = begin; i < end; ++i) {
      EXPECT_EQ(weight[i] > 0, masked[i] != 0);
      mask_tokens(kMask, std::int64_t(i - begin), {{masked[i]}, weight[i], 0}, 1, batch);
    }
  }
  Config fresh = config;
  fresh.train.output = run.folder / "fresh";
  TrainerOptions options{.resume = false, .trace = {}, .matmul_peak = 1e9};
  if (sft) options.task = sft_task;
  Trainer trainer(fresh, run.ops, options);
  ObjectiveRunner runner(run.ops, trainer.config().model, trainer.weights(),
                         ModelLimits{2000, 100, 2000, false});
  return runner.loss(batch);
}

TEST(BlockTraces, LossIsTheSumOfWeightedCrossEntropies) {
  for (const bool everything : {false, true})
    for (const bool sft : {false, true}) {
      SCOPED_TRACE(str(everything ? "everything" : "plain", sft ? ", sft" : ""));
      BlockRun run;
      if (everything) all_of_it(run.config);
      Config& c = run.config;
      c.data.validation.clear();
      c.model.mask_token = kMask;
      c.model.eos_token = kEnd;
      if (sft) {
        write_questions(c.data.train, 50);
        c.train.batch_size = c.train.micro_batch_size = 6;
      }
      const std::string path = run.folder / "trace.h5";
      TrainerOptions options{.resume = false, .trace = path, .matmul_peak = 1e9};
      if (sft) options.task = sft_task;
      Trainer(c, run.ops, options).step();
      const h5::File file = h5::File::open(path);
      const double loss = read<double>(file, "/loss").at(0);
      EXPECT_NEAR(loss_of_trace(run, file, c, sft), loss, 1e-5 * loss);
      EXPECT_EQ(file.string_attribute("objective"), "block_diffusion");
      // One count per block: weights are 1 / p, but for the pairs of the complementary.
      if (everything) continue;
      const auto p = read<float>(file, "/p_mask");
      const auto weight = read<double>(file, "/weight");
      const auto masked = read<std::uint8_t>(file, "/masked");
      if (sft) continue;
      for (std::size_t i = 0; i < p.size(); ++i)
        if (masked[i]) {
          EXPECT_NEAR(weight[i] * double(p[i]) * double(p.size()), 1, 1e-6);
        }
    }
}

// --- fine-tuning

struct BlockSft : BlockRun {
  BlockSft() {
    write_questions(config.data.train, 50);
    write_questions(config.data.validation, 30);
    config.data.sequence_length = 16;
    config.model.mask_token = kMask;
    config.model.eos_token = kEnd;
    config.model.block_size = 4;
    config.train.batch_size = 6;
    config.train.micro_batch_size = 3;
  }
};

TEST(BlockSftRuns, ExamplesArePaddedToWholeBlocks) {
  BlockSft run;
  run.config.train.block_sizes = {2, 4};
  run.config.train.block_schedule = BlockSchedule::mixed;
  const TokenFile file(run.config.data.train);
  SftBatches source(run.config, file);
  source.begin(3, 18, 6);
  std::int64_t examples = 0;
  for (LossBatch batch; source.next(batch);) {
    for (std::size_t s = 0; s < batch.texts.size(); ++s, ++examples)
      EXPECT_EQ((batch.offsets[s + 1] - batch.offsets[s]) % batch.texts[s].block_size, 0);
    EXPECT_LE(batch.offsets.back(), 3 * 16);
  }
  EXPECT_EQ(examples, 6);
}

TEST(BlockSftRuns, LearnAndResumeBitForBit) {
  for (const bool lora : {false, true}) {
    BlockSft run;
    Config& c = run.config;
    c.train.steps = 40;
    c.train.checkpoint_every = 20;
    if (lora) {
      Config base = run.in("base");
      base.train.steps = 2;
      Trainer(base, run.ops, TinyRun::sft_options(base)).run();
      c.train.init = base.train.output;
      c.lora.rank = 4;
      c.lora.targets = {"q_proj", "v_proj", "ff_out"};
      c.optimizer.learning_rate = 3e-2;
    }
    const Config whole = run.in("whole"), parts = run.in("parts");
    Trainer uninterrupted(whole, run.ops, TinyRun::sft_options(whole));
    uninterrupted.run();
    std::vector<double> bounds;
    for (const auto& line : json_lines(whole.train.output + "/metrics.jsonl"))
      if (line.contains("validation_bound")) bounds.push_back(line["validation_bound"]);
    ASSERT_GE(bounds.size(), 2u);
    EXPECT_LT(bounds.back(), bounds.front());
    {
      Trainer first(parts, run.ops, TinyRun::sft_options(parts));
      first.run([&] { return first.state().step == 20; });
    }
    Trainer second(parts, run.ops, TinyRun::sft_options(parts, true));
    EXPECT_EQ(second.state().step, 20);
    second.run();
    EXPECT_TRUE(testing::same_bits(uninterrupted.weights(), second.weights()));
    EXPECT_EQ(untimed_metrics(whole.train.output + "/metrics.jsonl"),
              untimed_metrics(parts.train.output + "/metrics.jsonl"));
  }
}

}  // namespace
}  // namespace lacuna
