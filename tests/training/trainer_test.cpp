#include "training/trainer.h"

#include <cmath>
#include <filesystem>
#include <limits>

#include "checkpoint/checkpoint.h"
#include "tests/data/support.h"
#include "tests/support/support.h"
#include "tests/training/support.h"
#include "training/run_plan.h"

namespace lacuna {
namespace {

namespace fs = std::filesystem;
using testing::contains;
using testing::error_of;
using testing::json_lines;
using testing::kCycle;
using testing::same_bits;
using testing::TinyRun;
using testing::untimed_metrics;
using testing::write_cycle;

/// Runs to the end, in two sessions if `stop_after` is a step.
void run_to_end(TinyRun& run, const Config& config, std::int64_t stop_after) {
  const TrainerOptions options{.resume = true, .trace = {}, .matmul_peak = 1e9};
  if (stop_after > 0) {
    Trainer first(config, run.ops, options);
    const TrainResult result = first.run([&] { return first.state().step == stop_after; });
    EXPECT_TRUE(result.stopped);
    EXPECT_EQ(result.step, stop_after);
    EXPECT_EQ(result.checkpoint, checkpoint_path(config.train.output, stop_after));
  }
  Trainer second(config, run.ops, options);
  const TrainResult result = second.run();
  EXPECT_FALSE(result.stopped);
  EXPECT_EQ(result.step, config.train.steps);
}

/// Every tensor of two checkpoints has the same bits.
void expect_same_tensors(const fs::path& a, const fs::path& b, bool muon = false) {
  const CheckpointReader x(a), y(b);
  std::vector<const char*> groups = {"model", "first_moment", "second_moment"};
  if (muon) groups.push_back("ema");
  for (const std::string group : groups) {
    ASSERT_EQ(x.names(group), y.names(group));
    EXPECT_EQ(x.names(group).size(), group == "second_moment" && muon ? 2u * 2 + 3 : 2u * 9 + 3)
        << group;
    for (const std::string& name : x.names(group)) {
      std::vector<float> p(std::size_t(x.shape(group, name).count())), q(p.size());
      x.read(group, name, Tensor(p.data(), x.shape(group, name)));
      y.read(group, name, Tensor(q.data(), x.shape(group, name)));
      EXPECT_EQ(std::memcmp(p.data(), q.data(), p.size() * sizeof(float)), 0)
          << group << "/" << name;
    }
  }
}

TEST(Trainer, ResumingIsBitExact) {
  TinyRun run;
  const Config whole = run.in("whole");
  run_to_end(run, whole, 0);
  // In the middle of a stretch between checkpoints, and where a validation was due.
  for (const std::int64_t stop_after : {3, 5}) {
    const Config parts = run.in(str("parts", stop_after));
    run_to_end(run, parts, stop_after);
    expect_same_tensors(checkpoint_path(whole.train.output, 10),
                        checkpoint_path(parts.train.output, 10));
    EXPECT_EQ(untimed_metrics(whole.train.output + "/metrics.jsonl"),
              untimed_metrics(parts.train.output + "/metrics.jsonl"));
  }
}

TEST(Trainer, ResumingMuonAndTheAverageIsBitExact) {
  TinyRun run;
  run.config.optimizer.name = OptimizerName::muon;
  run.config.optimizer.ema_decay = 0.8;
  const Config whole = run.in("whole"), parts = run.in("parts");
  run_to_end(run, whole, 0);
  run_to_end(run, parts, 3);
  expect_same_tensors(checkpoint_path(whole.train.output, 10),
                      checkpoint_path(parts.train.output, 10), true);
  EXPECT_EQ(untimed_metrics(whole.train.output + "/metrics.jsonl"),
            untimed_metrics(parts.train.output + "/metrics.jsonl"));
  // The average in place of the weights, where it is asked for by name.
  const fs::path file = checkpoint_path(whole.train.output, 10), average = file.string() + "@ema";
  EXPECT_EQ(resolve_checkpoint(whole.train.output + "@ema"), average);
  const CheckpointReader trained(file);
  const std::unique_ptr<const ModelReader> used = open_model(average);
  EXPECT_EQ(used->names("model"), trained.names("ema"));
  bool differs = false;
  for (const std::string& name : trained.names("model")) {
    const Shape shape = trained.shape("model", name);
    std::vector<float> a(std::size_t(shape.count())), b = a, c = a;
    used->read("model", name, Tensor(a.data(), shape));
    trained.read("ema", name, Tensor(b.data(), shape));
    trained.read("model", name, Tensor(c.data(), shape));
    EXPECT_EQ(a, b) << name;
    differs |= a != c;
  }
  EXPECT_TRUE(differs);
  EXPECT_TRUE(used->names("master").empty());
  run.config.optimizer.ema_decay = 0;
  run_to_end(run, run.in("without"), 0);
  EXPECT_TRUE(
      contains(error_of([&] { resolve_checkpoint(run.in("without").train.output + "@ema"); }),
               "step-00000010.h5: has no moving average of its weights; train with "
               "optimizer.ema_decay, or leave out @ema"));
}

// A run that is resumed with an average begins it with the weights; one without forgets it.
TEST(Trainer, AnAverageMayBeginOrEndWhenARunIsResumed) {
  TinyRun run;
  const auto resumed = [&](std::int64_t steps, double decay) {
    run.config.train.steps = steps;
    run.config.optimizer.ema_decay = decay;
    Trainer(run.config, run.ops, {.resume = true, .trace = {}, .matmul_peak = 1e9}).run();
    return CheckpointReader(checkpoint_path(run.config.train.output, steps)).names("ema").size();
  };
  EXPECT_EQ(resumed(2, 0), 0u);
  EXPECT_EQ(resumed(4, 0.9), 2u * 9 + 3);
  EXPECT_EQ(resumed(6, 0), 0u);
}

TEST(Trainer, EpochsSetTheStepsAndAResumedRunKeepsThem) {
  TinyRun run;
  const Config steps = run.in("steps");
  run_to_end(run, steps, 0);
  // 4000 tokens are 125 windows of 32: 0.3 passes are 38 samples, 10 batches of 4.
  run.config.train.steps = -1;
  run.config.train.epochs = 0.3;
  run.config.train.eval_every = 0.5;
  run.config.train.checkpoint_every = 0.5;
  run.config.train.log_every = 0.1;
  run.config.optimizer.warmup_steps = 0.3;
  run.config.optimizer.decay_steps = 0.4;
  for (const std::int64_t stop_after : {0, 3}) {
    const Config epochs = run.in(str("epochs", stop_after));
    const TrainerOptions options{.resume = true, .trace = {}, .matmul_peak = 1e9};
    if (stop_after > 0) {
      Trainer first(epochs, run.ops, options);
      EXPECT_EQ(first.run([&] { return first.state().step == stop_after; }).steps, 10);
    }
    Trainer second(epochs, run.ops, options);
    EXPECT_EQ(second.steps(), 10);
    EXPECT_EQ(second.run().step, 10);
    for (const std::int64_t step : {5, 10})
      expect_same_tensors(checkpoint_path(steps.train.output, step),
                          checkpoint_path(epochs.train.output, step));
    EXPECT_EQ(untimed_metrics(steps.train.output + "/metrics.jsonl"),
              untimed_metrics(epochs.train.output + "/metrics.jsonl"));
    // What is stored is what was asked for.
    const Config stored = parse_config(
        CheckpointReader(checkpoint_path(epochs.train.output, 10)).info().config, "stored");
    EXPECT_EQ(stored.train.epochs, 0.3);
    EXPECT_EQ(stored.train.steps, -1);
    EXPECT_EQ(error_of([&] { validate(stored); }), "");
  }
}

TEST(Trainer, ResumingAfterACrashIsBitExact) {
  TinyRun run;
  const Config whole = run.in("whole");
  run_to_end(run, whole, 0);
  const Config crashed = run.in("crashed");
  run_to_end(run, crashed, 0);
  // As if the program had been killed during step 9 and its last lines were lost or cut.
  fs::remove(checkpoint_path(crashed.train.output, 10));
  const std::string metrics = crashed.train.output + "/metrics.jsonl";
  const std::string text = read_file(metrics);
  fs::resize_file(metrics, text.find("{\"step\":9") + 20);
  run_to_end(run, crashed, 0);
  expect_same_tensors(checkpoint_path(whole.train.output, 10),
                      checkpoint_path(crashed.train.output, 10));
  EXPECT_EQ(untimed_metrics(whole.train.output + "/metrics.jsonl"), untimed_metrics(metrics));
}

TEST(Trainer, ADamagedNewestCheckpointIsSkipped) {
  TinyRun run;
  run.config.train.checkpoint_every = 4;
  const Config whole = run.in("whole"), damaged = run.in("damaged");
  run_to_end(run, whole, 0);
  run_to_end(run, damaged, 0);
  const fs::path newest = checkpoint_path(damaged.train.output, 10);
  fs::resize_file(newest, fs::file_size(newest) / 2);
  {
    Trainer trainer(damaged, run.ops, {.resume = true, .trace = {}, .matmul_peak = 1e9});
    EXPECT_EQ(trainer.state().step, 8);
    trainer.run();
  }
  expect_same_tensors(checkpoint_path(whole.train.output, 10), newest);
  EXPECT_EQ(untimed_metrics(whole.train.output + "/metrics.jsonl"),
            untimed_metrics(damaged.train.output + "/metrics.jsonl"));
}

TEST(Trainer, ADamagedCheckpointIsNotKeptInPlaceOfAValidOne) {
  TinyRun run;
  run.config.train.checkpoint_every = 4;
  run_to_end(run, run.config, 0);
  fs::resize_file(checkpoint_path(run.config.train.output, 10), 1000);
  run.config.train.keep_checkpoints = 1;
  Trainer trainer = run.trainer(true);
  trainer.run([&] { return trainer.state().step == 9; });
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(run.output("checkpoints")))
    names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  EXPECT_EQ(names, (std::vector<std::string>{"step-00000009.h5", "step-00000010.h5.damaged"}));
}

TEST(Trainer, CheckpointsAreMadeAndPruned) {
  TinyRun run;
  run.config.train.checkpoint_every = 2;
  run.config.train.keep_checkpoints = 2;
  run.config.train.steps = 9;
  run.trainer().run();
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(run.output("checkpoints")))
    names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  EXPECT_EQ(names, (std::vector<std::string>{"step-00000008.h5", "step-00000009.h5"}));
  const CheckpointReader reader(run.output("checkpoints/step-00000009.h5"));
  EXPECT_EQ(reader.info().step, 9);
  EXPECT_EQ(reader.info().samples, 36);
  EXPECT_EQ(reader.info().seed, run.config.train.seed);
  const Config stored = parse_config(reader.info().config, "stored");
  EXPECT_EQ(stored.model.vocab_size, testing::kVocabulary);
  EXPECT_EQ(stored, parse_config(read_file(run.output("config.toml")), "config.toml"));
}

TEST(Trainer, CountsTheTokensOfRandomLengths) {
  TinyRun run;
  run.config.train.random_length_fraction = 0.5;
  Trainer trainer = run.trainer();
  trainer.run();
  const NoiseOptions noise = noise_options(trainer.config());
  std::int64_t tokens = 0;
  for (std::int64_t step = 0; step < 10; ++step) tokens += 4 * step_length(noise, step, 32, 0.5);
  EXPECT_LT(tokens, 10 * 4 * 32);
  EXPECT_EQ(trainer.state().tokens, tokens);
  EXPECT_EQ(json_lines(run.output("metrics.jsonl")).back()["step"], 10);
  EXPECT_EQ(CheckpointReader(run.output("checkpoints/step-00000010.h5")).info().tokens, tokens);
}

// Sums of the same products in another order: f32 rounding apart, the same.
TEST(Trainer, TheMicroBatchDoesNotMatter) {
  TinyRun run;
  run.config.train.micro_batch_size = 4;
  Trainer whole = run.trainer();
  const StepResult expected = whole.step();
  const Tensor g = whole.gradients().flat();
  for (const std::int64_t micro : {1, 2}) {
    Config config = run.in(str("micro", micro));
    config.train.micro_batch_size = micro;
    Trainer trainer(config, run.ops, {.resume = false, .trace = {}, .matmul_peak = 1e9});
    const StepResult result = trainer.step();
    EXPECT_NEAR(result.loss, expected.loss, 1e-6 * expected.loss);
    EXPECT_NEAR(result.grad_norm, expected.grad_norm, 1e-5 * expected.grad_norm);
    EXPECT_EQ(result.record.tokens, expected.record.tokens);
    EXPECT_DOUBLE_EQ(result.record.flops, expected.record.flops);
    const Tensor other = trainer.gradients().flat();
    double worst = 0;
    for (std::int64_t i = 0; i < g.count(); ++i)
      worst = std::max(worst, std::fabs(double(g.as<float>()[i]) - double(other.as<float>()[i])));
    EXPECT_LE(worst, 1e-5 * expected.grad_norm) << micro;
  }
}

TEST(Trainer, AStepThatIsNotFiniteIsSkippedAndCounted) {
  TinyRun run;
  Trainer trainer = run.trainer();
  trainer.step();
  float& weight = trainer.weights().final_norm.as<float>()[3];
  const float before = weight;
  const std::vector<float> moment(trainer.updater().optimizer().first_moment().flat().as<float>(),
                                  trainer.updater().optimizer().first_moment().flat().as<float>() +
                                      trainer.updater().optimizer().first_moment().flat().count());
  weight = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(trainer.step().skipped);
  EXPECT_EQ(trainer.state().step, 2);
  EXPECT_EQ(trainer.state().bad_steps, 1);
  EXPECT_EQ(trainer.state().samples, 8);
  EXPECT_EQ(trainer.state().updates(), 1);
  EXPECT_EQ(std::memcmp(moment.data(), trainer.updater().optimizer().first_moment().flat().data,
                        moment.size() * sizeof(float)),
            0);
  weight = before;
  EXPECT_FALSE(trainer.step().skipped);
  EXPECT_EQ(trainer.state().bad_steps, 1);
  EXPECT_NE(weight, before);
}

TEST(Trainer, StopsAfterSeveralBadStepsInARow) {
  TinyRun run;
  run.config.train.steps = 50;
  run.config.train.max_bad_steps = 3;
  run.config.optimizer.learning_rate = 1e30;  // the first update leaves no finite product
  run.config.optimizer.warmup_steps = 0;
  run.config.optimizer.schedule = Schedule::constant;
  Trainer trainer = run.trainer();
  const std::string error = error_of([&] { trainer.run(); });
  EXPECT_TRUE(contains(error, "not finite in 3 steps in a row"));
  EXPECT_TRUE(contains(error, "optimizer.learning_rate"));
  EXPECT_GE(trainer.state().bad_steps, 3);
  const auto last = json_lines(run.output("metrics.jsonl")).back();
  EXPECT_EQ(last["bad_steps"], trainer.state().bad_steps);
  EXPECT_FALSE(fs::exists(run.output("checkpoints")));
}

// Of the good step before them, though it may be under way in the background when they end the run.
TEST(Trainer, BadStepsLeaveTheCheckpointBeforeThem) {
  for (const bool async : {false, true}) {
    TinyRun run;
    run.config.train.async_checkpoint = async;
    run.config.train.checkpoint_every = 1;
    run.config.train.max_bad_steps = 1;
    run.config.optimizer.learning_rate = 1e30;  // the first update leaves no finite product
    run.config.optimizer.warmup_steps = 0;
    run.config.optimizer.schedule = Schedule::constant;
    const fs::path good = checkpoint_path(run.config.train.output, 1);
    const std::string error = error_of([&] { run.trainer().run(); });
    EXPECT_TRUE(contains(error, "not finite in 1 step in a row"));
    EXPECT_TRUE(contains(error, "going on from " + good.string()));
    CheckpointReader(good).verify();
  }
}

TEST(Trainer, WeightsThatAreNotFiniteAreNotSaved) {
  TinyRun run;
  run.config.train.checkpoint_every = 1;
  run.config.train.keep_checkpoints = 1;
  run.config.train.steps = 3;
  run.trainer().run();
  const fs::path good = checkpoint_path(run.config.train.output, 3);
  run.config.train.steps = 5;
  for (const bool moment : {false, true}) {
    run.config.train.async_checkpoint = moment;
    Trainer further(run.config, run.ops, {.resume = true, .trace = {}, .matmul_peak = 1e9});
    // As an update may leave them whose gradient was finite.
    int steps = 0;
    const std::string error = error_of([&] {
      further.run([&] {
        Tensor t = moment ? further.updater().optimizer().second_moment().flat()
                          : further.weights().flat();
        if (++steps == 1) t.as<float>()[5] = std::numeric_limits<float>::infinity();
        return true;
      });
    });
    EXPECT_TRUE(contains(error, "step-00000004.h5: not saved: "));
    EXPECT_TRUE(contains(error, moment ? "second_moment/" : "model/"));
    EXPECT_TRUE(fs::exists(good));
    EXPECT_FALSE(fs::exists(checkpoint_path(run.config.train.output, 4)));
  }
}

// Saved in the background after every step, though each save takes longer than one: the same files.
TEST(Trainer, SavesInTheBackground) {
  TinyRun run;
  run.config.train.checkpoint_every = 1;
  run.config.train.keep_checkpoints = 0;
  run.config.train.steps = 6;
  // The memory for the copy is planned.
  run.config.train.async_checkpoint = true;
  {
    const Trainer trainer = run.trainer();
    const std::int64_t planned = plan_run(trainer.config(), 1).memory.staging,
                       taken = CheckpointSave::staging_plan(
                                   trainer.weights(),
                                   saved_groups(trainer.updater().optimizer(),
                                                {{0, trainer.weights().flat().count()}}))
                                   .bytes();
    EXPECT_NEAR(double(planned), double(taken), 0.02 * double(taken));
  }
  std::vector<std::string> files[2];
  for (const bool async : {false, true}) {
    run.config.train.async_checkpoint = async;
    run.config.train.output = run.folder / (async ? "background" : "between");
    EXPECT_EQ(run.trainer().run().checkpoint, checkpoint_path(run.config.train.output, 6));
    for (std::int64_t step = 1; step <= 6; ++step) {
      const h5::File file = h5::File::open(checkpoint_path(run.config.train.output, step));
      for (const char* group : {"/model", "/optimizer/second_moment"})
        for (const std::string& name : file.list(group))
          files[async].push_back(str(step, group, "/", name, " ",
                                     file.int_attribute(str(group, "/", name), "crc32c")));
      CheckpointReader(checkpoint_path(run.config.train.output, step)).verify();
    }
  }
  EXPECT_GE(files[0].size(), 6u * 2);
  EXPECT_EQ(files[0], files[1]);
}

TEST(Trainer, NothingIsSavedAfterABadStep) {
  TinyRun run;
  run.config.train.steps = 4;
  run.config.train.checkpoint_every = 1;
  run.config.train.keep_checkpoints = 2;
  run.config.optimizer.learning_rate = 1e30;  // the first update leaves no finite product
  run.config.optimizer.warmup_steps = 0;
  run.config.optimizer.schedule = Schedule::constant;
  Trainer trainer = run.trainer();
  bool asked = false;
  const std::string error = error_of([&] {
    trainer.run([&] { return asked = trainer.state().step > 1; });  // a wish to stop waits too
  });
  EXPECT_TRUE(asked);
  EXPECT_EQ(trainer.state().step, 4);
  const std::string first = checkpoint_path(run.config.train.output, 1).string();
  EXPECT_TRUE(contains(error, "not finite in the last step, 4, and 2 before it"));
  EXPECT_TRUE(contains(error, "going on from " + first));
  EXPECT_TRUE(fs::exists(first));
  EXPECT_FALSE(fs::exists(checkpoint_path(run.config.train.output, 4)));
}

// A model that only counts would reach the unigram entropy ln 16; the corpus has almost none.
TEST(Trainer, LearnsMoreThanFrequencies) {
  TinyRun run;
  run.config.model.hidden_size = 32;
  run.config.model.intermediate_size = 64;
  run.config.train.steps = 300;
  run.config.train.batch_size = 16;
  run.config.train.micro_batch_size = 16;
  run.config.train.eval_every = 0;
  run.config.train.eval_samples = 30;
  run.config.train.log_every = 50;
  run.config.train.checkpoint_every = 0;
  run.config.optimizer.warmup_steps = 20;
  run.config.optimizer.decay_steps = 100;
  for (const bool causal : {false, true}) {
    Config config = run.in(causal ? "causal" : "diffusion");
    config.model.attention = causal ? Attention::causal : Attention::bidirectional;
    config.train.objective = causal ? Objective::autoregressive : Objective::masked_diffusion;
    Trainer(config, run.ops, {.resume = false, .trace = {}, .matmul_peak = 1e9}).run();
    const auto last = json_lines(config.train.output + "/metrics.jsonl").back();
    EXPECT_LT(last["validation_bound"].get<double>(), 0.5 * std::log(double(kCycle)))
        << word_of(config.train.objective);
  }
}

// The data are a function of the step, in a stage too.
TEST(Trainer, ResumesWithinAStageBitForBit) {
  TinyRun run;
  run.config.data.sources = {{run.folder / "train.h5", 3}, {run.folder / "validation.h5", 1}};
  run.config.data.stages = {{3, {1, 1}}, {4, {0, 1}}, {8, {1, 1}}};
  run.config.data.train = DataConfig::kDefaultTrain;
  for (const Documents documents : {Documents::joined, Documents::separate}) {
    run.config.data.documents = documents;
    const Config whole = run.in(str("whole-", word_of(documents)));
    Trainer trainer(whole, run.ops, {.resume = false, .trace = {}, .matmul_peak = 1e9});
    trainer.run();
    Config parts = run.in(str("parts-", word_of(documents)));
    parts.train.checkpoint_every = 1;
    for (const std::int64_t stop : {5, 7, 10}) {
      Trainer part(parts, run.ops, {.resume = stop > 5, .trace = {}, .matmul_peak = 1e9});
      part.run([&] { return part.state().step == stop; });
      EXPECT_EQ(part.state().step, stop);
      EXPECT_EQ(stop == 10, same_bits(part.weights(), trainer.weights()));
    }
    parts.data.stages[0].weights = {2, 1};
    EXPECT_TRUE(contains(error_of<UsageError>([&] {
                           Trainer(parts, run.ops, {.resume = true, .trace = {}, .matmul_peak = 1});
                         }),
                         "differ from those of the first 10 steps"));
  }
}

TEST(Trainer, StartsFromACheckpoint) {
  TinyRun run;
  const Config first = run.in("first");
  run_to_end(run, first, 0);
  Config second = run.in("second");
  second.train.init = first.train.output;
  second.train.seed = 7;
  {
    Trainer trainer(second, run.ops, {.resume = false, .trace = {}, .matmul_peak = 1e9});
    EXPECT_EQ(trainer.state().step, 0);
    Trainer resumed(first, run.ops, {.resume = true, .trace = {}, .matmul_peak = 1e9});
    EXPECT_TRUE(same_bits(trainer.weights(), resumed.weights()));
    for (std::int64_t i = 0; i < trainer.weights().flat().count(); ++i)
      ASSERT_EQ(trainer.updater().optimizer().first_moment().flat().as<float>()[i], 0);
  }
  second.model.num_layers = 3;
  second.train.output = run.folder / "third";
  EXPECT_TRUE(contains(error_of<UsageError>([&] { Trainer trainer(second, run.ops); }),
                       "model.num_layers = 3, but train.init"));
  EXPECT_FALSE(fs::exists(run.folder / "third"));
}

TEST(Trainer, RefusesToOverwriteOrToChangeAModel) {
  TinyRun run;
  run.trainer().run();
  EXPECT_TRUE(contains(error_of<UsageError>([&] { run.trainer(); }), "add --resume"));
  run.config.model.intermediate_size = 48;
  EXPECT_TRUE(
      contains(error_of<UsageError>([&] { run.trainer(true); }),
               "model.intermediate_size = 48, but " + run.output("checkpoints/step-00000010.h5")));
  run.config.model.intermediate_size = 24;
  run.config.train.steps = 12;
  run.config.optimizer.learning_rate = 1e-3;
  EXPECT_EQ(run.trainer(true).run().step, 12);
  // Done already: nothing happens.
  EXPECT_EQ(run.trainer(true).run().checkpoint, run.output("checkpoints/step-00000012.h5"));
}

TEST(Trainer, ErrorsLeaveNoRunBehind) {
  TinyRun run;
  const auto expect = [&](const std::string& message) {
    EXPECT_TRUE(contains(error_of([&] { run.trainer(); }), message));
    EXPECT_FALSE(fs::exists(run.config.train.output));
  };
  const Config good = run.config;
  run.config.data.train = run.folder / "none.h5";
  expect("none.h5");
  run.config = good;
  write_cycle(run.folder / "short.h5", 31);
  run.config.data.train = run.folder / "short.h5";
  expect("holds 31 tokens, fewer than one sequence of 32");
  run.config = good;
  run.config.data.validation = run.folder / "short.h5";
  expect("short.h5: holds 31 tokens");
  run.config = good;
  write_cycle(run.folder / "other.h5", 1000, "", 40);
  run.config.data.validation = run.folder / "other.h5";
  run.config.model.vocab_size = 18;
  expect("other.h5");
  run.config = good;
  run.config.train.sample_every = 1;
  expect("needs a tokenizer");
  run.config = good;
  run.config.train.init = run.folder / "none";
  expect("no such checkpoint");
}

TEST(Trainer, AFullDiskEndsTheRunAndLeavesNoCheckpoint) {
  TinyRun run;
  run.config.train.checkpoint_every = 2;
  Trainer trainer = run.trainer();
  const testing::FullDisk full(20'000);
  EXPECT_TRUE(contains(error_of([&] { trainer.run(); }), "step-00000002.h5"));
  for (const auto& entry : fs::directory_iterator(run.output("checkpoints")))
    ADD_FAILURE() << entry.path();
}

TEST(Trainer, SamplesAndBitsPerByte) {
  TinyRun run;
  const std::string tokenizer = testing::byte_tokenizer();  // 256 bytes, "th", mask, end, padding
  for (const char* file : {"train.h5", "validation.h5"}) {
    TokenFileWriter writer(run.folder / file, {260, 257, 258, tokenizer});
    std::vector<std::int32_t> text;
    for (int i = 0; i < 640; ++i) text.push_back(i % 2 ? 256 : 'a');  // "ath", of two tokens
    writer.append(text);
    writer.end_document();
    writer.finish();
    writer.commit();
  }
  run.config.train.sample_every = 5;
  run.config.train.sample_length = 8;
  run.config.train.sample_prompt = "ath";
  run.trainer().run();
  double bound = 0, bits = 0;
  for (const auto& line : json_lines(run.output("metrics.jsonl")))
    if (line.contains("bits_per_byte")) {
      bound = line["validation_bound"];
      bits = line["bits_per_byte"];
    }
  EXPECT_NEAR(bits, bound * 2 / (3 * std::log(2.0)), 1e-9);  // 3 bytes per 2 tokens
  const CheckpointReader reader(run.output("checkpoints/step-00000010.h5"));
  EXPECT_EQ(reader.info().tokenizer, tokenizer);
  // Another tokenizer may not go on with these weights.
  write_cycle(run.folder / "train.h5", 4000, "{}", 260);
  EXPECT_NE(error_of([&] { run.trainer(true); }), "");
}

}  // namespace
}  // namespace lacuna
