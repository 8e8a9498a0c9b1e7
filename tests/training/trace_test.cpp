#include "training/trace.h"

#include <algorithm>
#include <cmath>

#include "core/half.h"
#include "data/loader.h"
#include "data/sft_examples.h"
#include "formats/hdf5.h"
#include "tests/data/support.h"
#include "tests/support/support.h"
#include "tests/training/support.h"

namespace lacuna {
namespace {

using testing::contains;
using testing::error_of;
using testing::kMask;
using testing::TinyRun;

template <class T>
std::vector<T> read(const h5::File& file, const std::string& dataset) {
  std::vector<T> values(std::size_t(file.shape(dataset).count()));
  file.read(dataset, Tensor(values.data(), file.shape(dataset)));
  return values;
}

/// The trace of a run's first step.
h5::File trace_of(TinyRun& run, const Config& config, bool sft = false) {
  const std::string path = run.folder / "trace.h5";
  TrainerOptions options{.resume = false, .trace = path, .matmul_peak = 1e9};
  if (sft) options = TinyRun::sft_options(config, false, path);
  Trainer trainer(config, run.ops, options);
  trainer.step();
  EXPECT_TRUE(std::filesystem::exists(path));
  std::filesystem::remove(run.folder / "second.h5");
  std::filesystem::rename(path, run.folder / "second.h5");
  trainer.step();  // only the first step is traced
  EXPECT_FALSE(std::filesystem::exists(path));
  return h5::File::open(run.folder / "second.h5");
}

TEST(Trace, HoldsTheStep) {
  TinyRun run;
  run.config.train.random_length_fraction = 0;
  const h5::File file = trace_of(run, run.config);
  EXPECT_EQ(file.int_attribute("mask_token_id"), kMask);
  EXPECT_EQ(file.int_attribute("step"), 1);
  EXPECT_EQ(parse_config(file.string_attribute("config"), "trace").model.vocab_size,
            testing::kVocabulary);
  const Shape batch{4, 32};
  for (const char* name : {"/clean", "/masked", "/p_mask", "/weight"})
    EXPECT_EQ(file.shape(name), batch) << name;
  const auto clean = read<std::int32_t>(file, "/clean");
  const auto masked = read<std::uint8_t>(file, "/masked");
  const auto p = read<float>(file, "/p_mask");
  const auto weight = read<double>(file, "/weight");

  std::vector<std::int32_t> expected(clean.size());
  const TokenFile data(run.config.data.train);
  const Loader loader(data, 32, std::uint64_t(run.config.train.seed));
  loader.batch(0, 4, Tensor(expected.data(), batch));
  EXPECT_EQ(clean, expected);
  NoiseOptions noise{.seed = std::uint64_t(run.config.train.seed), .mask_token = kMask};
  int count = 0;
  for (std::size_t i = 0; i < clean.size(); ++i) {
    EXPECT_EQ(p[i], mask_probability(noise, std::int64_t(i / 32)));
    EXPECT_DOUBLE_EQ(weight[i], masked[i] ? 1 / (double(p[i]) * 32 * 4) : 0);
    count += masked[i];
  }
  EXPECT_GT(count, 0);
  EXPECT_LT(count, 128);
}

TEST(Trace, HoldsGradientsBeforeClippingAndTheWeightsTheyBelongTo) {
  TinyRun run;
  run.config.optimizer.clip_norm = 1e-6;
  const h5::File file = trace_of(run, run.config);
  Config other = run.in("other");
  Trainer fresh(other, run.ops, {.resume = false, .trace = {}, .matmul_peak = 1e9});
  double sum = 0;
  for (const NamedWeight& w : fresh.weights().named()) {
    const auto model = read<float>(file, "/model/" + w.name);
    EXPECT_EQ(std::memcmp(model.data(), w.tensor.data, std::size_t(w.tensor.bytes())), 0) << w.name;
    for (const float g : read<float>(file, "/gradients/" + w.name)) sum += double(g) * double(g);
  }
  EXPECT_EQ(file.list("/gradients").size(), fresh.weights().named().size());
  const double norm = read<double>(file, "/grad_norm").at(0);
  EXPECT_GT(norm, 1e-3);
  EXPECT_NEAR(norm, std::sqrt(sum), 1e-6 * norm);
  const StepResult step = fresh.step();
  EXPECT_EQ(read<double>(file, "/loss").at(0), step.loss);
  EXPECT_EQ(norm, step.grad_norm);
}

TEST(Trace, OfTheAutoregressiveObjective) {
  TinyRun run;
  run.config.train.random_length_fraction = 0;
  run.config.train.objective = Objective::autoregressive;
  run.config.model.attention = Attention::causal;
  const h5::File file = trace_of(run, run.config);
  const auto masked = read<std::uint8_t>(file, "/masked");
  const auto weight = read<double>(file, "/weight");
  for (std::size_t i = 0; i < masked.size(); ++i) {
    EXPECT_EQ(masked[i], i % 32 != 0);
    EXPECT_DOUBLE_EQ(weight[i], i % 32 != 0 ? 1.0 / (31 * 4) : 0);
  }
}

/// Fine-tuning on questions of many lengths.
struct TinySft : TinyRun {
  TinySft() {
    testing::write_questions(config.data.train, 50);
    config.data.validation.clear();
    config.data.sequence_length = 16;
    config.model.mask_token = kMask;
    config.model.eos_token = testing::kEnd;
    config.train.batch_size = 6;
    config.train.micro_batch_size = 2;
    config.sft.pad_group = 3;
  }
};

TEST(Trace, OfFineTuningHoldsTheSequencesEndToEnd) {
  TinySft run;
  const h5::File file = trace_of(run, run.config, true);
  const auto offsets = read<std::int32_t>(file, "/offsets");
  ASSERT_EQ(offsets.size(), 7u);
  EXPECT_EQ(offsets[0], 0);
  const Shape tokens{offsets[6]};
  for (const char* name : {"/clean", "/masked", "/p_mask", "/weight", "/response"})
    ASSERT_EQ(file.shape(name), tokens) << name;
  const auto clean = read<std::int32_t>(file, "/clean");
  const auto masked = read<std::uint8_t>(file, "/masked"),
             response = read<std::uint8_t>(file, "/response");
  const auto p = read<float>(file, "/p_mask");
  const auto weight = read<double>(file, "/weight");

  const TokenFile data(run.config.data.train);
  const SftExamples examples(data, 16, std::uint64_t(run.config.train.seed));
  const NoiseOptions noise{.seed = std::uint64_t(run.config.train.seed), .mask_token = kMask};
  std::int64_t padding = 0, count = 0;
  for (std::int64_t sample = 0; sample < 6; ++sample) {
    std::int64_t longest = 0;  // of the three that are padded together
    for (std::int64_t i = sample / 3 * 3; i < sample / 3 * 3 + 3; ++i)
      longest = std::max(longest, examples.length(examples.permuted(i)));
    const PromptedText example = examples.at(examples.permuted(sample));
    std::vector<std::int32_t> expected = example.tokens;
    expected.resize(std::size_t(longest), testing::kEnd);
    padding += longest - std::int64_t(example.tokens.size());
    const std::int32_t begin = offsets[std::size_t(sample)];
    ASSERT_EQ(offsets[std::size_t(sample) + 1], begin + longest);
    for (std::int64_t i = 0; i < longest; ++i) {
      const auto t = std::size_t(begin + i);
      EXPECT_EQ(clean[t], expected[std::size_t(i)]);
      EXPECT_EQ(response[t], i >= example.prompt);
      EXPECT_LE(masked[t], response[t]);
      EXPECT_EQ(p[t], mask_probability(noise, sample));
      const auto responses = double(longest - example.prompt);
      EXPECT_DOUBLE_EQ(weight[t], masked[t] ? 1 / (double(p[t]) * responses * 6) : 0);
      count += masked[t];
    }
  }
  EXPECT_GT(padding, 0);
  EXPECT_GT(count, 0);
  EXPECT_EQ(file.int_attribute("mask_token_id"), kMask);
  Config other = run.in("other");
  Trainer fresh(other, run.ops, TinyRun::sft_options(other));
  const StepResult step = fresh.step();
  EXPECT_EQ(read<double>(file, "/loss").at(0), step.loss);
  EXPECT_EQ(read<double>(file, "/grad_norm").at(0), step.grad_norm);
}

TEST(Trace, OfFineTuningACausalModel) {
  TinySft run;
  run.config.train.objective = Objective::autoregressive;
  run.config.model.attention = Attention::causal;
  const h5::File file = trace_of(run, run.config, true);
  const auto masked = read<std::uint8_t>(file, "/masked"),
             response = read<std::uint8_t>(file, "/response");
  EXPECT_EQ(masked, response);  // every prompt has a token
  double sum = 0;
  for (const double w : read<double>(file, "/weight")) sum += w;
  EXPECT_NEAR(sum, 1, 1e-12);
}

// Of a step at which B is no longer 0. scripts/check_trace.py compares the gradients.
TEST(Trace, OfAdapters) {
  TinySft run;
  Config base = run.in("base");
  base.train.steps = 2;
  Trainer(base, run.ops, TinyRun::sft_options(base)).run();
  run.config.train.init = base.train.output;
  run.config.lora.rank = 3;
  run.config.lora.alpha = 6;
  run.config.lora.targets = {"q_proj", "ff_out"};
  run.config.lora.base_dtype = BaseDtype::f16;
  run.config.train.checkpoint_every = 2;
  Trainer(run.config, run.ops, TinyRun::sft_options(run.config)).run([] { return true; });
  const std::string path = run.folder / "trace.h5";
  Trainer(run.config, run.ops, TinyRun::sft_options(run.config, true, path)).step();
  const h5::File file = h5::File::open(path);
  EXPECT_EQ(std::get<double>(file.attribute("/", "lora_scale")), 2);
  const auto names = file.list("/model");
  EXPECT_EQ(names.size(), 2u * 2 * 2);  // blocks, targets, factors
  EXPECT_EQ(file.list("/gradients"), names);
  double squares = 0;
  for (const std::string& name : names) {
    EXPECT_EQ(file.shape("/model/" + name), file.shape("/gradients/" + name));
    const auto values = read<float>(file, "/model/" + name);
    EXPECT_GT(*std::max_element(values.begin(), values.end()), 0) << name;
    for (const float g : read<float>(file, "/gradients/" + name)) squares += double(g) * double(g);
  }
  const double norm = read<double>(file, "/grad_norm").at(0);
  EXPECT_NEAR(norm, std::sqrt(squares), 1e-6 * norm);
  // The frozen weights are the base's, as they were rounded.
  const CheckpointReader reader(*newest_valid_checkpoint(base.train.output));
  EXPECT_EQ(file.list("/frozen"), reader.names("model"));
  for (const std::string& name : reader.names("model")) {
    std::vector<float> values(std::size_t(reader.shape("model", name).count()));
    reader.read("model", name, Tensor(values.data(), reader.shape("model", name)));
    if (name.find("blocks") != std::string::npos && reader.shape("model", name).rank == 2)
      for (float& x : values) x = to_float(to_f16(x));
    EXPECT_EQ(read<float>(file, "/frozen/" + name), values) << name;
  }
}

TEST(Trace, AFullDiskLeavesNothing) {
  TinyRun run;
  const std::string path = run.folder / "trace.h5";
  Trainer trainer(run.config, run.ops, {.resume = false, .trace = path, .matmul_peak = 1e9});
  const testing::FullDisk full(5000);
  EXPECT_TRUE(contains(error_of([&] { trainer.step(); }), "trace.h5"));
  for (const std::string& file : run.folder.files()) EXPECT_FALSE(contains(file, "trace")) << file;
}

}  // namespace
}  // namespace lacuna
