#include "training/trace.h"

#include <cmath>

#include "checkpoint/hdf5.h"
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
h5::File trace_of(TinyRun& run, const Config& config) {
  const std::string path = run.folder / "trace.h5";
  Trainer trainer(config, run.ops, {.resume = false, .trace = path, .matmul_peak = 1e9});
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
