// What a training step asks of a device: how many GEMM shapes, allocations, waits.
// Each costs a GPU time, and none may depend on what is masked. The emulator counts; on several
// ranks, one tensor-parallel group, as on one.
#include <filesystem>
#include <optional>
#include <set>

#include "core/philox.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/platform/emulated/counters.h"
#include "kernels/platform/gemm_table.h"
#include "tests/support/device.h"
#include "tests/training/parallel_support.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

/// The emulator's counters, or how far they have come since others were read.
struct Counts {
  std::int64_t launches, gemms, shapes, tuned, allocations, waits, copies, bytes;
  static Counts now() {
    const emulator::Counters& c = emulator::counters;
    return {c.launches,    c.gemms,      c.gemm_shapes, c.tuned_shapes,
            c.allocations, c.host_waits, c.copies,      c.copied_bytes};
  }
  Counts since(const Counts& o) const {
    return {launches - o.launches,       gemms - o.gemms, shapes - o.shapes, tuned - o.tuned,
            allocations - o.allocations, waits - o.waits, copies - o.copies, bytes - o.bytes};
  }
};
std::ostream& operator<<(std::ostream& out, const Counts& c) {
  return out << c.launches << " launches, " << c.gemms << " GEMMs, " << c.shapes << " new shapes, "
             << c.tuned << " tuned, " << c.allocations << " allocations, " << c.waits << " waits, "
             << c.copies << " copies of " << c.bytes << " bytes";
}

/// Texts of all lengths, prompts with responses.
void write_questions(const std::string& path, std::int64_t examples) {
  TokenFileWriter writer(path, {kVocabulary, kMask, kEnd, "", true});
  const CounterRng rng{7, Purpose::benchmark};
  for (std::int64_t i = 0; i < examples; ++i) {
    const auto number = [&](std::uint32_t n, std::uint32_t which) {
      return std::size_t(rng.below(n, std::uint32_t(2 * i) + which));
    };
    writer.append(std::vector<std::int32_t>(1 + number(16, 0), 3), false);
    writer.append(std::vector<std::int32_t>(1 + number(15, 1), 4), true);
    writer.end_document();
  }
  writer.finish();
  writer.commit();
}

class StepCounts : public ::testing::TestWithParam<Precision> {
 protected:
  StepCounts()
      : devices_(session().size()),
        ops_(DeviceOptions{.index = session().rank()}),
        grid_(testing::world({}, &ops_), session().size()),
        run_(grid_.world()) {
    config_ = run_.config;
    config_.parallel.tensor_parallel = session().size();
    config_.compute.device = DeviceKind::cuda_emulated;
    config_.compute.dtype = GetParam();
    if (GetParam() == Precision::bf16) {  // a head of 64 on each rank, as tensor cores take
      config_.model.num_heads = session().size();
      config_.model.hidden_size = 64 * session().size();
    } else {
      config_.model.hidden_size = 16;
    }
    config_.data.validation.clear();
    config_.train.steps = 100;
    config_.train.batch_size = 4;
    config_.train.micro_batch_size = 4;  // 128 rows: 8 buckets
    config_.train.random_length_fraction = 0.5;
  }
  TrainerOptions options(TaskFactory task = pretrain_task) {
    return {.resume = false, .trace = {}, .matmul_peak = 1e9, .grid = &grid_, .task = task};
  }
  /// That nothing grows after the first of these steps, which differ in what is masked. The first
  /// may wait and copy more: ranks connect their GPUs at the first collective, and tables of the
  /// tensors that one launch works on go to the device.
  void expect_constant(Trainer& trainer, int steps) {
    const Counts before = Counts::now();
    (void)trainer.step();
    ops_.synchronize();
    Counts after = Counts::now();
    const Counts first = after.since(before);
    std::optional<Counts> second;
    std::set<std::int64_t> tokens, masked;
    for (int step = 1; step < steps; ++step) {
      const StepResult result = trainer.step();
      ops_.synchronize();
      const Counts now = Counts::now(), more = now.since(after);
      after = now;
      SCOPED_TRACE(::testing::Message() << "step " << step << ": " << more);
      if (!second) second = more;
      EXPECT_EQ(more.shapes, 0);
      EXPECT_EQ(more.allocations, 0);
      EXPECT_EQ(more.tuned, 0);
      EXPECT_EQ(more.waits, 2);  // for the step's figures, and here
      EXPECT_LE(more.waits, first.waits);
      EXPECT_LE(more.copies, first.copies);
      EXPECT_EQ(more.copies, second->copies);
      EXPECT_EQ(more.launches, first.launches);
      EXPECT_EQ(more.gemms, first.gemms);
      tokens.insert(result.record.tokens);
      masked.insert(std::int64_t(result.record.flops));
    }
    // The steps were different ones.
    EXPECT_GE(tokens.size(), 3u);
    EXPECT_GE(masked.size(), std::size_t(steps) / 2);
    if (session().rank() == 0)
      std::printf("a step: %s\n", (::testing::Message() << *second).GetString().c_str());
  }

  Devices devices_;
  CudaOps ops_;
  DeviceMesh grid_;
  SharedRun run_;
  Config config_;
};
INSTANTIATE_TEST_SUITE_P(Types, StepCounts, ::testing::Values(Precision::f32, Precision::bf16),
                         [](const auto& type) { return std::string(word_of(type.param)); });

TEST_P(StepCounts, OfPretrainingDoNotDependOnMasksAndLengths) {
  Trainer trainer(config_, ops_, options());
  expect_constant(trainer, 12);
}

TEST_P(StepCounts, OfFineTuningDoNotDependOnLengths) {
  if (grid_.world().rank() == 0) write_questions(config_.data.train, 40);
  grid_.world().barrier();
  config_.model.mask_token = kMask;
  config_.model.eos_token = kEnd;
  config_.data.sequence_length = 32;  // so many that a step's examples are one micro-batch
  Trainer trainer(config_, ops_, options(sft_task));
  expect_constant(trainer, 8);
}

TEST_P(StepCounts, OfBlockDiffusionDoNotDependOnMasksAndLengths) {
  config_.model.attention = Attention::block_causal;
  config_.model.block_size = 4;
  config_.train.objective = Objective::block_diffusion;
  config_.train.noisy_views = 2;
  config_.train.complementary_masks = true;  // so that logit rows are fewer than rows
  config_.train.random_length_fraction = 1;
  Trainer trainer(config_, ops_, options());
  expect_constant(trainer, 6);
}

// The host waits once in a step of a run: for the end of the step before, when it has queued the
// passes of this one. Whether it is asked to stop is asked when all of a step is queued.
TEST_P(StepCounts, OfARunWaitForTheStepBeforeAlone) {
  config_.train.steps = 6;
  config_.train.log_every = 1;
  config_.train.checkpoint_every = 6;
  Trainer trainer(config_, ops_, options());
  std::vector<Counts> counts;
  trainer.run([&] {
    counts.push_back(Counts::now());
    return false;
  });
  ASSERT_EQ(counts.size(), 6u);
  // In the first step ranks connect; the last is waited for too.
  for (std::size_t step = 2; step < 5; ++step) {
    const Counts more = counts[step].since(counts[step - 1]);
    EXPECT_EQ(more.waits, 1) << "step " << step << ": " << more;
  }
}

/// A run that tunes its GEMMs; `tuned` says how many shapes were timed as a trainer was made.
class Tuning : public ::testing::Test {
 protected:
  Tuning() : devices_(session().size()), world_(testing::world()), run_(*world_) {
    config_ = run_.config;
    config_.parallel.tensor_parallel = session().size();
    config_.compute.device = DeviceKind::cuda_emulated;
    config_.data.validation.clear();
    config_.train.steps = 3;  // the last one by run(), which saves
  }
  struct Result {
    std::int64_t tuned;
    std::vector<double> losses;
    std::string warnings;  // rank 0's
  };
  Result train(bool tune, bool resume) {
    CudaOps ops(DeviceOptions{.index = session().rank(), .tune_gemms = tune});
    DeviceMesh grid(testing::world({}, &ops), session().size());
    const Counts before = Counts::now();
    ::testing::internal::CaptureStderr();
    Trainer trainer(config_, ops,
                    {.resume = resume, .trace = {}, .matmul_peak = 1e9, .grid = &grid});
    Result result{Counts::now().since(before).tuned, {}, {}};
    result.warnings = ::testing::internal::GetCapturedStderr();
    EXPECT_EQ(trainer.state().step, resume ? config_.train.steps : 0);
    if (resume) return result;
    for (int step = 0; step < 2; ++step) result.losses.push_back(trainer.step().loss);
    EXPECT_EQ(Counts::now().since(before).tuned, result.tuned) << "within a step";
    trainer.run();
    grid.world().barrier();
    return result;
  }
  void write_table(const std::string& text) {
    world_->barrier();  // all have read the last one
    if (world_->rank() == 0) write_file(table(), text);
    world_->barrier();
  }
  std::string table() const { return config_.train.output + "/product_algorithms.txt"; }

  Devices devices_;
  std::unique_ptr<Communicator> world_;
  SharedRun run_;
  Config config_;
};

// What passes that choose algorithms leave behind does not reach the run: the emulator's gemms
// are computed more than once where they are tuned, its algorithm is one.
TEST_F(Tuning, ChangesNoResult) {
  const Result tuned = train(true, false);
  config_.train.output = run_.path("plain");
  const Result plain = train(false, false);
  EXPECT_GT(tuned.tuned, 0);
  EXPECT_EQ(plain.tuned, 0);
  EXPECT_EQ(tuned.losses, plain.losses);
  EXPECT_FALSE(std::filesystem::exists(table()));
}

TEST_F(Tuning, IsKeptBesideTheRun) {
  const Result first = train(true, false);
  const std::string text = read_file(table());
  EXPECT_TRUE(contains(text, "cuda-emulated"));
  const Result resumed = train(true, true);
  EXPECT_EQ(resumed.tuned, 0);
  EXPECT_FALSE(contains(resumed.warnings, "product_algorithms"));
  EXPECT_EQ(read_file(table()), text);
  for (const std::string& other :
       {std::string("nonsense"), text.substr(0, text.size() / 2),
        GemmTable("cuda, NVIDIA H100 80GB HBM3").text(), std::string("\0\xff", 2)}) {
    write_table(other);
    const Result again = train(true, true);
    EXPECT_EQ(again.tuned, first.tuned);
    EXPECT_EQ(contains(again.warnings, table() + ": is "), session().rank() == 0) << again.warnings;
    EXPECT_EQ(read_file(table()), text);  // as good as new
  }
}

}  // namespace
}  // namespace lacuna
