// Checkpoints of many ranks: one file, whatever wrote it and whatever reads it.
#include <gtest/gtest.h>

#include <cstring>
#include <map>

#include "checkpoint/checkpoint.h"
#include "tests/training/parallel_support.h"
#include "training/rank_process_group.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

/// What a file holds: every dataset's bytes and checksum, every attribute of "/".
std::map<std::string, std::string> contents(const std::string& path) {
  std::map<std::string, std::string> all;
  const h5::File file = h5::File::open(path);
  for (const std::string& name : file.attribute_names()) {
    const h5::Attribute value = file.attribute("/", name);
    if (const auto* text = std::get_if<std::string>(&value)) all["@" + name] = *text;
    if (const auto* number = std::get_if<std::int64_t>(&value)) all["@" + name] = str(*number);
  }
  for (const char* group : {"/model", "/optimizer/first_moment", "/optimizer/second_moment"})
    for (const std::string& name : file.list(group)) {
      const std::string dataset = str(group, "/", name);
      const Shape shape = file.shape(dataset);
      std::string bytes(std::size_t(shape.count() * size_of(file.dtype(dataset))), '\0');
      file.read(dataset, Tensor(static_cast<void*>(bytes.data()), shape, file.dtype(dataset)));
      all[dataset] = str(shape, " ", file.int_attribute(dataset, "crc32c"), " ") + bytes;
    }
  return all;
}

class ManyRankCheckpoints : public ::testing::Test {
 protected:
  /// A run of one rank, stopped after three steps; of rank 0, for all to see.
  Config saved_by_one_rank() {
    Config config = run_.in("origin", {});
    config.train.steps = 3;
    config.train.batch_size = config.train.micro_batch_size = 12;
    if (world_->rank() == 0)
      Trainer(config, run_.ops, {.resume = false, .trace = {}, .matmul_peak = 1e9}).run();
    world_->barrier();
    config.train.steps = 10;
    return config;
  }

  void hold_what_one_ranks_file_holds();

  std::unique_ptr<Communicator> world_ = testing::world();
  SharedRun run_{*world_};
  int number_ = 0;
};

TEST_F(ManyRankCheckpoints, HoldWhatOneRanksFileHolds) { hold_what_one_ranks_file_holds(); }
TEST_F(ManyRankCheckpoints, HoldBf16Moments) {
  run_.config.optimizer.moments_dtype = Precision::bf16;
  hold_what_one_ranks_file_holds();
}
TEST_F(ManyRankCheckpoints, HoldMuonsMomentumAndTheAverage) {
  run_.config.optimizer.name = OptimizerName::muon;
  run_.config.optimizer.ema_decay = 0.9;
  hold_what_one_ranks_file_holds();
}

void ManyRankCheckpoints::hold_what_one_ranks_file_holds() {
  const Config config = saved_by_one_rank();
  const std::string origin = config.train.output + "/checkpoints/step-00000003.h5";
  const auto expected = contents(origin);
  for (const Layout& layout : layouts(world_->size())) {
    if (layout.micro_batch != 1) continue;
    SCOPED_TRACE(str(layout));
    Config here = config;
    here.parallel.tensor_parallel = layout.tensor;
    here.parallel.zero_stage = layout.zero;
    here.parallel.sequence_parallel = layout.sequence_parallel;
    DeviceMesh grid(testing::world(), layout.tensor);
    Trainer trainer(here, run_.ops, on(grid, /*resume=*/true));
    ASSERT_EQ(trainer.state().step, 3);
    RankProcessGroup team(grid.world());
    // The second one is written while training goes on: a step later it is of the third step still.
    const auto groups = saved_groups(trainer.updater().optimizer(), parts(trainer, grid));
    const Arena memory(host_memory(), CheckpointSave::staging_plan(trainer.weights(), groups));
    for (const Arena* staging : {static_cast<const Arena*>(nullptr), &memory}) {
      const std::string copy = run_.path(str("copy-", number_++, ".h5"));
      CheckpointSave saving(copy, checkpoint_info(trainer.state(), trainer.config(), "", {}),
                            trainer.weights(), groups, team, run_.ops, staging);
      if (staging) trainer.step();
      EXPECT_FALSE(std::filesystem::exists(copy));
      saving.finish();
      auto found = contents(copy);
      EXPECT_EQ(parse_config(found["@config"], copy), trainer.config());
      for (const char* differs : {"@config", "@attributes_crc32c"})
        found[differs] = expected.at(differs);
      EXPECT_TRUE(found == expected);  // too long to print
      CheckpointReader(copy).verify();
    }
  }
}

/// The losses of the next `steps` steps of a run that ranks 0 to `ranks` - 1 resume from a copy of
/// its folder, in which whatever it writes stays.
std::vector<double> resumed(Communicator& world, const SharedRun& run, const Config& config,
                            const std::string& name, int ranks, const Layout& layout, int steps) {
  Config here = config;
  here.train.output = run.path(name);
  here.parallel.tensor_parallel = layout.tensor;
  here.parallel.zero_stage = layout.zero;
  here.train.micro_batch_size = layout.micro_batch;
  if (world.rank() == 0) {
    std::filesystem::create_directories(here.train.output);
    std::filesystem::copy(config.train.output + "/checkpoints", here.train.output + "/checkpoints");
  }
  world.barrier();
  std::vector<double> losses;
  auto group = world.split(world.rank() < ranks ? 0 : 1, world.rank(), "world");
  if (world.rank() < ranks) {
    CpuOps ops(1);
    DeviceMesh grid(std::move(group), layout.tensor);
    Trainer trainer(here, ops, on(grid, /*resume=*/true));
    EXPECT_EQ(trainer.state().samples, trainer.state().step * config.train.batch_size);
    for (int i = 0; i < steps; ++i) losses.push_back(trainer.step().loss);
  }
  world.barrier();
  return losses;
}

// Saved by all ranks, as a grid with sharded weights where there are four; resumed by fewer, by
// three, and by other grids.
TEST_F(ManyRankCheckpoints, AnyLayoutGoesOn) {
  const int n = world_->size();
  const Layout saving{n == 4 ? 2 : 1, 3, 3};
  Config config = run_.in("origin", saving);
  config.train.batch_size = 12;
  config.train.steps = 3;
  std::vector<double> expected;
  {
    DeviceMesh grid(testing::world(), saving.tensor);
    Trainer trainer(config, run_.ops, on(grid));
    trainer.run();
  }
  config.train.steps = 10;
  {
    DeviceMesh grid(testing::world(), saving.tensor);
    Trainer trainer(config, run_.ops, on(grid, /*resume=*/true));
    for (int i = 0; i < 3; ++i) expected.push_back(trainer.step().loss);
  }
  struct Resuming {
    int ranks;
    Layout layout;
  };
  for (const Resuming& r : {Resuming{1, {1, 0, 2}}, Resuming{2, {1, 3, 3}}, Resuming{2, {2, 0, 3}},
                            Resuming{3, {1, 1, 2}}, Resuming{4, {4, 0, 3}}, Resuming{4, {1, 2, 3}},
                            Resuming{4, {2, 3, 3}}}) {
    if (r.ranks > n) continue;
    SCOPED_TRACE(str(r.ranks, " ranks, ", r.layout));
    const auto losses = resumed(*world_, run_, config, str("resumed-", number_++), r.ranks,
                                r.layout, int(expected.size()));
    if (world_->rank() >= r.ranks) continue;
    ASSERT_EQ(losses.size(), expected.size());
    for (std::size_t i = 0; i < losses.size(); ++i)
      EXPECT_NEAR(losses[i], expected[i], 1e-4 * expected[i]);
    if (r.ranks == n && r.layout.tensor == saving.tensor && r.layout.zero == saving.zero &&
        r.layout.micro_batch == saving.micro_batch) {
      EXPECT_EQ(losses, expected);  // the same layout: bit for bit
    }
  }
}

TEST_F(ManyRankCheckpoints, InitialiseOtherRuns) {
  const Config origin = saved_by_one_rank();
  const ModelTensors whole(
      host_memory(),
      [&] {
        ModelConfig m = origin.model;
        m.vocab_size = kVocabulary + 1;
        return m;
      }(),
      "weights");
  const std::string path = origin.train.output + "/checkpoints/step-00000003.h5";
  read_pieces(CheckpointReader(path), "model", whole, everything(whole), run_.ops);
  for (const Layout& layout : layouts(world_->size())) {
    if (layout.micro_batch != 1) continue;
    SCOPED_TRACE(str(layout));
    Config config = run_.in(str("initialised-", number_++), layout);
    config.train.init = path;
    DeviceMesh grid(testing::world(), layout.tensor);
    const Trainer trainer(config, run_.ops, on(grid));
    EXPECT_EQ(relative_difference(held_weights(trainer), trainer.weights(), whole), 0);
  }
}

/// The bytes of a dataset.
std::string bytes_of(const h5::File& file, const std::string& name) {
  const Shape shape = file.shape(name);
  std::string bytes(std::size_t(shape.count() * size_of(file.dtype(name))), '\0');
  file.read(name, Tensor(static_cast<void*>(bytes.data()), shape, file.dtype(name)));
  return bytes;
}

/// The same batch, and gradients that differ in the rounding of sums.
void expect_same_step(const h5::File& trace, const h5::File& expected,
                      const std::vector<std::string>& batch) {
  for (const std::string& name : batch) {
    ASSERT_EQ(trace.shape(name), expected.shape(name)) << name;
    EXPECT_EQ(bytes_of(trace, name), bytes_of(expected, name)) << name;
  }
  for (const std::string& name : expected.list("/gradients")) {
    const Shape shape = expected.shape("/gradients/" + name);
    std::vector<float> a(std::size_t(shape.count())), b = a;
    expected.read("/gradients/" + name, Tensor(a.data(), shape));
    trace.read("/gradients/" + name, Tensor(b.data(), shape));
    double difference = 0, size = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
      difference += double(a[i] - b[i]) * double(a[i] - b[i]);
      size += double(a[i]) * double(a[i]);
    }
    EXPECT_LE(std::sqrt(difference / size), 1e-5) << name;
  }
}

enum class Noise { masks, views, blocks };
class Traces : public ManyRankCheckpoints, public ::testing::WithParamInterface<Noise> {};

TEST_P(Traces, AreWholeToo) {
  const bool blocks = GetParam() == Noise::blocks;
  if (GetParam() == Noise::views) {
    run_.config.train.noisy_views = 2;
    run_.config.train.complementary_masks = run_.config.train.stratified_mask_ratios = true;
  }
  if (blocks) {
    run_.config.model.attention = Attention::block_causal;
    run_.config.model.block_size = 4;
    run_.config.train.objective = Objective::block_diffusion;
    run_.config.train.noisy_views = 2;
  }
  for (const bool sft : {false, true}) {
    std::vector<std::string> batch = {"/clean", "/masked", "/p_mask", "/weight"};
    if (blocks) batch.insert(batch.end(), {"/block_size", "/next_weight"});
    if (sft) {
      batch.insert(batch.end(), {"/response", "/offsets"});
      run_.config.data.train = run_.path("questions.h5");
      run_.config.data.validation.clear();
      run_.config.data.sequence_length = 16;
      run_.config.model.eos_token = kEnd;
      run_.config.model.mask_token = kMask;
      if (world_->rank() == 0) write_questions(run_.config.data.train, 50);
      world_->barrier();
    }
    const std::string name = str(sft ? "sft-" : "pretrain-", "alone-", world_->rank());
    const TaskFactory task = sft ? sft_task : pretrain_task;
    TrainerOptions options{
        .resume = false, .trace = run_.path(name + ".h5"), .matmul_peak = 1e9, .task = task};
    Trainer(run_.in(name, {}), run_.ops, options).step();
    const h5::File expected = h5::File::open(options.trace);
    for (const Layout& layout : layouts(world_->size())) {
      if (layout.micro_batch != 1) continue;
      SCOPED_TRACE(str(layout));
      DeviceMesh grid(testing::world(), layout.tensor);
      options = on(grid);
      options.task = task;
      options.trace = run_.path(str("trace-", number_, ".h5"));
      Trainer(run_.in(str("traced-", number_++), layout), run_.ops, options).step();
      expect_same_step(h5::File::open(options.trace), expected, batch);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Objectives, Traces,
                         ::testing::Values(Noise::masks, Noise::views, Noise::blocks),
                         [](const auto& p) {
                           return p.param == Noise::masks   ? "Masks"
                                  : p.param == Noise::views ? "Views"
                                                            : "Blocks";
                         });

}  // namespace
}  // namespace lacuna
