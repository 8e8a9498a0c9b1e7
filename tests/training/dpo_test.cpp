// Preference tuning: the loss and its gradient, and the trainer on pairs.
#include <algorithm>
#include <cmath>
#include <memory>

#include "comm/communicator.h"
#include "diffusion/likelihood.h"
#include "tests/training/planned.h"
#include "tests/training/support.h"
#include "training/flops.h"
#include "training/gradient_accumulator.h"
#include "training/preference_batches.h"
#include "training/preference_scorer.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

/// Questions of some numbers in a row; the chosen response counts on, the rejected one backwards.
void write_pairs(const std::string& path, std::int64_t pairs) {
  TokenFileWriter writer(path, {kVocabulary, kMask, kEnd, "", true, true});
  const CounterRng rng{8, Purpose::benchmark};
  for (std::int64_t i = 0; i < pairs; ++i) {
    const auto start = std::int64_t(rng.below(kCycle, std::uint32_t(4 * i)));
    const auto prompt = 2 + std::int64_t(rng.below(5, std::uint32_t(4 * i + 1)));
    std::vector<std::int32_t> given;
    for (std::int64_t j = 0; j < prompt; ++j) given.push_back(std::int32_t((start + j) % kCycle));
    for (const std::int64_t step : {1, -1}) {
      const auto length = 2 + std::int64_t(rng.below(4, std::uint32_t(4 * i + (step > 0 ? 2 : 3))));
      std::vector<std::int32_t> reply;
      for (std::int64_t j = 1; j <= length; ++j)
        reply.push_back(std::int32_t((start + prompt - 1 + step * j + 8 * kCycle) % kCycle));
      reply.push_back(kEnd);
      writer.append(given, false);
      writer.append(reply, true);
      writer.end_document();
    }
  }
  writer.finish();
  writer.commit();
}

class Dpo : public TinyRun, public ::testing::Test {
 protected:
  Dpo() {
    write_pairs(config.data.train, 40);
    write_pairs(config.data.validation, 12);
    config.model.vocab_size = kVocabulary;
    config.model.num_kv_heads = 2;
    config.model.mask_token = kMask;
    config.model.eos_token = kEnd;
    config.model.pad_token = kEnd;
    config.data.sequence_length = 16;
    config.train.batch_size = 4;
    config.train.micro_batch_size = 6;
    config.dpo.mask_samples = 3;
    config.train.init = reference_model();
  }
  /// A model that is not trained, as a run's folder.
  std::string reference_model(const std::string& name = "reference") {
    Config c = in(name);
    c.data.train = folder / "cycle.h5";
    c.data.validation.clear();
    write_cycle(c.data.train, 400);
    c.train.steps = 1;
    Trainer(c, ops, {.trace = {}, .matmul_peak = 1e9}).run();
    return c.train.output;
  }
  TrainerOptions options(const Config& c, bool resume = false) const {
    return {.resume = resume,
            .trace = {},
            .matmul_peak = 1e9,
            .task = dpo_task,
            .trained = sft_trained(c.lora)};
  }
  Trainer dpo(const Config& c, bool resume = false) { return Trainer(c, ops, options(c, resume)); }

  /// Loss, figures and gradients of samples [first, first + count) of the first step, of a model
  /// that differs from the reference model.
  struct Result {
    BatchResult batch;
    std::unique_ptr<ModelTensors> gradients;
    double directional(const std::vector<float>& direction) const {
      double sum = 0;
      for (std::size_t i = 0; i < direction.size(); ++i)
        sum += double(gradients->flat().as<float>()[i]) * double(direction[i]);
      return sum;
    }
  };
  std::unique_ptr<ModelTensors> other_weights() {
    auto weights = std::make_unique<ModelTensors>(ops.memory(), config.model, "weights");
    initialise(*weights, config.model, 5, ops);
    return weights;
  }
  Result result_of(const Config& c, const ModelTensors& weights, std::int64_t first,
                   std::int64_t count) {
    const TrainingData data(c);
    SelfCommunicator alone;
    const Task task = dpo_task(data, alone);
    GradientAccumulator accumulator(ops, data.config, weights, task, {first, count});
    Result result;
    result.gradients = std::make_unique<ModelTensors>(ops.memory(), c.model, "gradients");
    result.batch = accumulator.run(0, 0, *result.gradients);
    return result;
  }
  static double figure(const std::vector<Figure>& figures, const std::string& name) {
    for (const Figure& f : figures)
      if (f.name == name) return f.value;
    ADD_FAILURE() << name;
    return 0;
  }
};

class DpoObjectives : public Dpo, public ::testing::WithParamInterface<Objective> {
 protected:
  DpoObjectives() {
    config.train.objective = GetParam();
    if (GetParam() == Objective::autoregressive) config.model.attention = Attention::causal;
    if (GetParam() == Objective::block_diffusion) {
      config.model.attention = Attention::block_causal;
      config.model.block_size = 4;
    }
  }
};
INSTANTIATE_TEST_SUITE_P(All, DpoObjectives,
                         ::testing::Values(Objective::masked_diffusion, Objective::autoregressive,
                                           Objective::block_diffusion),
                         [](const auto& p) { return std::string(word_of(p.param)); });

TEST_P(DpoObjectives, AModelThatIsTheReferenceHasNoMargin) {
  Trainer trainer = dpo(config);
  const StepResult result = trainer.step();
  // The same masks and the same weights: the same f32 sums.
  EXPECT_EQ(figure(result.figures, "reward_margin"), 0);
  EXPECT_NEAR(result.loss, std::log(2.0), 1e-12);
  EXPECT_EQ(figure(result.figures, "dpo_loss"), result.loss);
  EXPECT_EQ(figure(result.figures, "reward_accuracy"), 0);
  EXPECT_GT(result.grad_norm, 0);
}

TEST_P(DpoObjectives, ThePlanCountsTheReferenceModel) {
  config.train.micro_batch_size = 2;
  config.train.recompute = {"block"};
  for (const Precision dtype : {Precision::f32, Precision::bf16}) {
    config.compute.dtype = dtype;
    const RunPlan plan = expect_planned(in(word_of(dtype)), options(config), RunTask::dpo);
    EXPECT_GT(plan.memory.reference, plan.memory.weights);
    // Two responses with their masks, in each of them all tokens and, on average, half masked.
    const double texts = 2 * 4 * (GetParam() == Objective::autoregressive ? 1 : 3);
    EXPECT_EQ(tokens_of_step(config, RunTask::dpo), texts * 16);
    if (GetParam() != Objective::block_diffusion) {
      const auto predicted =
          std::int64_t(texts) * (GetParam() == Objective::autoregressive ? 15 : 8);
      const std::int64_t sequences = std::int64_t(texts);
      EXPECT_EQ(plan.flops, training_flops(config.model, sequences, 16, predicted) +
                                2 * forward_flops(config.model, sequences, 16, predicted));
      EXPECT_EQ(plan.micro_batches, sequences / 2);
    }
  }
}

// The frozen weights are the reference model's, unless another is named.
TEST_F(Dpo, ThePlanCountsTheReferenceModelOfAdapters) {
  config.train.micro_batch_size = 2;
  config.lora.rank = 2;
  const RunPlan plan = expect_planned(in("adapters"), options(config), RunTask::dpo);
  config.dpo.reference = config.train.init;
  const RunPlan other = expect_planned(in("other"), options(config), RunTask::dpo);
  EXPECT_GT(other.memory.reference, plan.memory.reference);
}

TEST_P(DpoObjectives, TheGradientIsThatOfTheLossOfTheseMasks) {
  config.dpo.beta = 0.5;
  config.dpo.sft_weight = 0.3;
  const auto weights = other_weights();
  const Result at = result_of(config, *weights, 0, 4);
  // Along the gradient itself, where the loss changes most.
  std::vector<float> direction(std::size_t(weights->flat().count()));
  double norm = 0;
  for (std::size_t i = 0; i < direction.size(); ++i)
    norm += std::pow(double(at.gradients->flat().as<float>()[i]), 2);
  for (std::size_t i = 0; i < direction.size(); ++i)
    direction[i] = float(double(at.gradients->flat().as<float>()[i]) / std::sqrt(norm));
  const double h = 1e-3;
  const auto moved = [&](double by) {
    for (std::size_t i = 0; i < direction.size(); ++i)
      weights->flat().as<float>()[i] += float(by) * direction[i];
    const double loss = result_of(config, *weights, 0, 4).batch.loss;
    for (std::size_t i = 0; i < direction.size(); ++i)
      weights->flat().as<float>()[i] -= float(by) * direction[i];
    return loss;
  };
  // The loss is a sum of some 100 f32 cross-entropies of about 3, each rounded at 2e-7.
  EXPECT_NEAR((moved(h) - moved(-h)) / (2 * h), std::sqrt(norm), 5e-3 * std::sqrt(norm) + 1e-3);
  EXPECT_NEAR(at.directional(direction), std::sqrt(norm), 1e-5 * std::sqrt(norm));
}

TEST_P(DpoObjectives, SharesOfAStepAddUp) {
  const auto weights = other_weights();
  const Result whole = result_of(config, *weights, 0, 4);
  Config small = config;
  small.train.micro_batch_size = GetParam() == Objective::block_diffusion ? 1 : 2;
  const Result a = result_of(config, *weights, 0, 1), b = result_of(small, *weights, 1, 3);
  EXPECT_NEAR(a.batch.loss + b.batch.loss, whole.batch.loss, 1e-5);
  EXPECT_EQ(a.batch.tokens + b.batch.tokens, whole.batch.tokens);
  for (const Figure& f : whole.batch.figures)
    EXPECT_NEAR(figure(a.batch.figures, f.name) + figure(b.batch.figures, f.name), f.value, 1e-4)
        << f.name;
  for (std::int64_t i = 0; i < whole.gradients->flat().count(); ++i)
    ASSERT_NEAR(a.gradients->flat().as<float>()[i] + b.gradients->flat().as<float>()[i],
                whole.gradients->flat().as<float>()[i], 1e-5)
        << i;
}

TEST_P(DpoObjectives, TheModelLearnsToPreferAndResumesBitForBit) {
  config.train.steps = 40;
  config.train.eval_every = 40;
  config.train.checkpoint_every = 20;
  config.dpo.beta = 0.5;
  Config half = in("half");
  Trainer whole = dpo(config);
  whole.run();
  double accuracy = 0, loss = 1, bound = 0;
  for (const auto& line : json_lines(output("metrics.jsonl")))
    if (line.contains("validation_bound")) {
      accuracy = line["validation_reward_accuracy"];
      loss = line["validation_dpo_loss"];
      bound = line["validation_bound"];
    } else {
      EXPECT_TRUE(line.contains("reward_chosen")) << line;
    }
  EXPECT_GT(accuracy, 0.9);
  EXPECT_LT(loss, 0.5);  // ln 2 = 0.69 at first
  EXPECT_GT(bound, 0);
  {
    Trainer first = dpo(half);
    first.run([&] { return first.state().step == 20; });
  }
  Trainer second = dpo(half, true);
  EXPECT_EQ(second.state().step, 20);
  second.run();
  EXPECT_TRUE(same_bits(whole.weights(), second.weights()));
  EXPECT_EQ(untimed_metrics(output("metrics.jsonl")),
            untimed_metrics(half.train.output + "/metrics.jsonl"));
}

/// Likelihoods of pairs under the untrained model and the reference model.
class DpoLikelihoods : public DpoObjectives {
 protected:
  std::vector<PairLikelihoods> scored(const ModelTensors& weights) {
    PreferenceScorer scorer(config, config.train.init + "/checkpoints/step-00000001.h5");
    const ModelLimits limits = scorer.limits(4);
    scorer.attach(ops, weights, limits, nullptr);
    ObjectiveRunner runner(ops, config.model, weights, limits);
    return scorer.score(runner, pairs(), 9).likelihoods;
  }
  std::vector<NumberedPair> pairs() const {
    const PreferencePairs all(TokenFile(config.data.train), 16, 1);
    return {{all.at(3), 3}, {all.at(7), 5}};
  }
};
INSTANTIATE_TEST_SUITE_P(All, DpoLikelihoods,
                         ::testing::Values(Objective::masked_diffusion, Objective::autoregressive),
                         [](const auto& p) { return std::string(word_of(p.param)); });

TEST_P(DpoLikelihoods, AreThoseOfLacunaScore) {
  const auto weights = other_weights();
  const std::vector<PairLikelihoods> found = scored(*weights);
  LikelihoodEstimator estimator(ops, config.model, *weights, 64);
  const LikelihoodOptions masks{.samples = config.dpo.mask_samples, .seed = 9};
  std::size_t i = 0;
  for (const NumberedPair& p : pairs()) {
    const auto nats = [&](const PromptedText& text, std::int64_t number) {
      return estimator.score({text}, masks, number)[0].nats;
    };
    EXPECT_NEAR(found[i].chosen, -nats(p.pair.chosen, 2 * p.number), 1e-4);
    EXPECT_NEAR(found[i].rejected, -nats(p.pair.rejected, 2 * p.number + 1), 1e-4);
    ++i;
  }
}

TEST_P(DpoLikelihoods, MasksOfTheReferenceModelsOwn) {
  const auto weights = other_weights();
  const auto shared = scored(*weights);
  config.dpo.shared_masks = false;
  const auto own = scored(*weights);
  const bool exact = GetParam() == Objective::autoregressive;  // whatever the masks
  for (std::size_t i = 0; i < shared.size(); ++i) {
    EXPECT_EQ(shared[i].chosen, own[i].chosen);
    EXPECT_EQ(shared[i].reference_chosen == own[i].reference_chosen, exact);
    EXPECT_EQ(shared[i].reference_rejected == own[i].reference_rejected, exact);
  }
}

TEST_F(Dpo, TheReferenceModelCanBeAnother) {
  config.dpo.reference = folder / "other";
  Config c = in("other");
  c.data.train = folder / "cycle.h5";
  c.data.validation.clear();
  c.train.init.clear();
  c.train.steps = 3;
  Trainer(c, ops, {.trace = {}, .matmul_peak = 1e9}).run();
  Trainer trainer = dpo(config);
  EXPECT_NE(figure(trainer.step().figures, "reward_margin"), 0);

  config.dpo.reference = folder / "wide";
  c.train.output = config.dpo.reference;
  c.model.intermediate_size = 32;
  Trainer(c, ops, {.trace = {}, .matmul_peak = 1e9}).run();
  EXPECT_TRUE(contains(error_of<UsageError>([&] { dpo(in("fresh")); }),
                       str("but dpo.reference = ", c.train.output)));
}

/// The reference model is what they are trained beside, and takes no memory of its own.
TEST_F(Dpo, AdaptersAreTunedToo) {
  config.lora.rank = 2;
  config.train.steps = 30;
  config.optimizer.learning_rate = 3e-2;
  config.dpo.beta = 0.5;
  {
    // Of another file it is the same.
    Config other = in("other");
    other.dpo.reference = config.train.init;
    Trainer shared = dpo(in("shared")), own = dpo(other);
    for (int step = 0; step < 3; ++step) {
      const StepResult a = shared.step(), b = own.step();
      EXPECT_EQ(figure(a.figures, "reward_margin") == 0, step == 0);
      EXPECT_EQ(a.loss, b.loss);
    }
  }
  Trainer trainer = dpo(config);
  trainer.run();
  EXPECT_LT(json_lines(output("metrics.jsonl")).back()["validation_dpo_loss"], 0.65);
}

TEST_F(Dpo, DataThatAreNoPairs) {
  write_questions(config.data.train, 20);
  EXPECT_TRUE(contains(error_of([&] { dpo(config); }), "--format preference"));
}

/// The reference model rounds as the trained one does: they are equal before the first update.
TEST_F(Dpo, InFp8BothModelsRoundAlike) {
  config.model.hidden_size = config.model.intermediate_size = 32;
  config.compute.dtype = Precision::bf16;
  config.train.init.clear();
  config.train.init = reference_model("bf16-reference");
  config.compute.linear_dtype = LinearDtype::fp8;
  config.train.steps = 1;
  Trainer trainer = dpo(in("fp8"));
  EXPECT_DOUBLE_EQ(trainer.step().loss, std::log(2.0));
}

}  // namespace
}  // namespace lacuna
