// Fine-tuning: where its batches come from, and the trainer on them.
#include <algorithm>
#include <cmath>
#include <set>

#include "comm/communicator.h"
#include "tests/training/planned.h"
#include "tests/training/support.h"
#include "training/sft_batches.h"
#include "training/sft_validator.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

class Sft : public TinyRun, public ::testing::Test {
 protected:
  Sft() {
    write_questions(config.data.train, 50);
    write_questions(config.data.validation, 30);
    config.data.sequence_length = 16;
    config.model.mask_token = kMask;
    config.model.eos_token = kEnd;
    config.train.batch_size = 6;
    config.train.micro_batch_size = 3;
  }
  Trainer sft(const Config& c, bool resume = false) {
    return Trainer(c, ops, sft_options(c, resume));
  }
  /// The examples of step `step`, by sample: tokens with padding, as masked, and weights.
  std::vector<LossBatch> batches(const Config& c, std::int64_t step, std::int64_t first,
                                 std::int64_t count) {
    const TokenFile file(c.data.train);
    SftBatches source(c, file);
    source.begin(step, first, count);
    std::vector<LossBatch> all;
    for (LossBatch batch; source.next(batch);) all.push_back(batch);
    return all;
  }
  /// Sequences of batches as text, in an order of their own, to be compared as sets.
  static std::multiset<std::string> sequences(const std::vector<LossBatch>& batches) {
    std::multiset<std::string> all;
    for (const LossBatch& b : batches)
      for (std::size_t s = 0; s + 1 < b.offsets.size(); ++s) {
        std::string text;
        for (std::int32_t i = b.offsets[s]; i < b.offsets[s + 1]; ++i)
          text += str(b.tokens[std::size_t(i)], b.masked[std::size_t(i)] ? "*" : "", " ");
        all.insert(str(text, "p ", b.p[s]));
      }
    return all;
  }
};

TEST_F(Sft, MicroBatchesAreFullAndHoldEachSampleOnce) {
  const auto all = batches(config, 3, 18, 6);
  std::size_t sequences = 0;
  for (const LossBatch& b : all) {
    sequences += std::size_t(b.sequences);
    EXPECT_LE(b.tokens.size(), 3u * 16);
    // Nothing is padded beyond an example's own end tokens: the rows are all there is.
    EXPECT_EQ(std::size_t(b.offsets.back()), b.tokens.size());
  }
  EXPECT_EQ(sequences, 6u);
}

TEST_F(Sft, ThePlanCountsWhatIsAllocated) {
  expect_planned(config, sft_options(config), RunTask::sft);
  EXPECT_EQ(tokens_of_step(config, RunTask::sft), 6 * 16);
}

TEST_F(Sft, ASampleIsTheSameInEveryLayout) {
  const auto together = sequences(batches(config, 3, 18, 6));
  Config other = config;
  other.train.micro_batch_size = 1;
  EXPECT_EQ(sequences(batches(other, 3, 18, 6)), together);
  // As two ranks would take them, though a pair that is padded together is cut apart.
  auto parts = batches(config, 3, 18, 3);
  for (LossBatch& b : batches(config, 3, 21, 3)) parts.push_back(std::move(b));
  EXPECT_EQ(sequences(parts), together);
}

TEST_F(Sft, PaddingReachesTheLongestOfItsGroup) {
  const TokenFile file(config.data.train);
  const SftExamples examples(file, 16, std::uint64_t(config.train.seed));
  config.sft.pad_group = 3;
  std::multiset<std::int64_t> expected, plain;
  for (std::int64_t sample = 18; sample < 24; ++sample) {
    const std::int64_t first = sample / 3 * 3;
    std::int64_t longest = 0;
    for (std::int64_t i = first; i < first + 3; ++i)
      longest = std::max(longest, examples.length(examples.permuted(i)));
    expected.insert(longest);
    plain.insert(examples.length(examples.permuted(sample)));
  }
  const auto lengths = [&] {
    std::multiset<std::int64_t> all;
    for (const LossBatch& b : batches(config, 3, 18, 6))
      for (std::size_t s = 0; s + 1 < b.offsets.size(); ++s)
        all.insert(b.offsets[s + 1] - b.offsets[s]);
    return all;
  };
  EXPECT_EQ(lengths(), expected);
  config.sft.pad_loss = PadLoss::none;
  EXPECT_EQ(lengths(), plain);
  config.sft.pad_loss = PadLoss::eos;
  config.train.objective = Objective::autoregressive;
  EXPECT_EQ(lengths(), plain);
}

TEST_F(Sft, AStepDoesNotDependOnTheMicroBatch) {
  Config one = in("one"), other = in("other");
  one.train.micro_batch_size = 1;
  other.train.micro_batch_size = 6;
  Trainer a = sft(one), b = sft(other);
  const StepResult ra = a.step(), rb = b.step();
  // Sums in another order: f32 rounding of some 100 terms.
  EXPECT_NEAR(ra.loss, rb.loss, 1e-5 * rb.loss);
  EXPECT_NEAR(ra.grad_norm, rb.grad_norm, 1e-4 * rb.grad_norm);
  EXPECT_EQ(ra.record.tokens, rb.record.tokens);
}

TEST_F(Sft, LearnsAndResumesBitForBit) {
  config.train.steps = 60;
  config.train.eval_every = 60;
  config.train.checkpoint_every = 30;
  Trainer whole = sft(config);
  whole.run();
  const auto losses = json_lines(output("metrics.jsonl"));
  // An untrained model's bound is about ln 18 = 2.9 nats per token.
  double last = 0;
  for (const auto& line : losses)
    if (line.contains("validation_bound")) last = line["validation_bound"];
  EXPECT_GT(last, 0);
  EXPECT_LT(last, 2.3);

  Config half = in("half");
  {
    Trainer first = sft(half);
    first.run([&] { return first.state().step == 30; });
  }
  Trainer second = sft(half, true);
  EXPECT_EQ(second.state().step, 30);
  second.run();
  EXPECT_TRUE(same_bits(whole.weights(), second.weights()));
}

TEST_F(Sft, AnEpochIsEveryExampleOnce) {
  const SftExamples examples(TokenFile(config.data.train), 16, 0);
  config.train.steps = -1;
  config.train.epochs = 2;
  const std::int64_t batch = config.train.batch_size;
  EXPECT_EQ(sft(config).steps(), (2 * examples.size() + batch - 1) / batch);
}

TEST_F(Sft, ValidationIsTheExactMeanForACausalModel) {
  config.model.attention = Attention::causal;
  config.train.objective = Objective::autoregressive;
  Trainer trainer = sft(config);
  const TokenFile file(config.data.validation);
  const SftValidator validator(trainer.config(), file);
  EXPECT_EQ(validator.description(), "8 examples");
  ObjectiveRunner runner(ops, trainer.config().model, trainer.weights(), {64, 16, 64, false});
  const SftExamples examples(file, 16, 0);
  double mean = 0;
  for (std::int64_t i = 0; i < 8; ++i) {
    const ResponseExample one{examples.at(i * examples.size() / 8), 0, i};
    mean +=
        runner.loss(make_response_batch(noise_options(trainer.config()), std::vector{one}, -1, 8));
  }
  SelfCommunicator alone;
  EXPECT_NEAR(validator.run(runner, alone).bound, mean, 1e-5 * mean);
}

TEST_F(Sft, DataThatAreNoDialogues) {
  write_cycle(config.data.train, 400);
  EXPECT_TRUE(contains(error_of([&] { sft(config); }), "--format chat"));
}

}  // namespace
}  // namespace lacuna
