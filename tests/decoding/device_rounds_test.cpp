// What a block of decoding asks of a device; the emulator counts.
#include <gtest/gtest.h>

#include "decoding/generate.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/platform/emulated/counters.h"
#include "tests/model/support.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

struct Counts {
  std::int64_t waits, copies, queued_copies, allocations, launches, gemm_shapes;
  DecodingStats stats = {};
  /// For something else than one of the copies that wait.
  std::int64_t other_waits() const { return waits - (copies - queued_copies); }
};

class DeviceRounds : public ::testing::Test {
 protected:
  explicit DeviceRounds(Attention attention = Attention::bidirectional)
      : config_(make_config(attention)), weights_(ops_.memory(), config_, "weights") {
    ModelTensors here(cpu().memory(), config_, "weights");
    randomise(here, 5);
    ops_.copy(weights_.flat(), here.flat());
  }
  static ModelConfig make_config(Attention attention) {
    ModelConfig c = tiny_config();
    c.max_seq_length = 64;
    c.mask_token = c.vocab_size - 1;
    c.attention = attention;
    if (attention == Attention::block_causal) c.block_size = 8;
    return c;
  }
  Counts counts_of(Decoder& decoder, const DecodingOptions& options,
                   const DecodingObserver& observer = {}) {
    const emulator::Counters& c = emulator::counters;
    const Counts before{c.host_waits,  c.copies,   c.queued_copies,
                        c.allocations, c.launches, c.gemm_shapes};
    const DecodingStats stats = decoder.stats();
    generate(decoder, {{1, 2}, {3}}, options, 0, observer);
    return {c.host_waits - before.waits,
            c.copies - before.copies,
            c.queued_copies - before.queued_copies,
            c.allocations - before.allocations,
            c.launches - before.launches,
            c.gemm_shapes - before.gemm_shapes,
            decoder.stats() - stats};
  }
  Decoder decoder(bool cache) {
    return Decoder(ops_, config_, weights_,
                   {2 * 40, 2, config_.attention == Attention::bidirectional, cache});
  }

  CudaOps ops_;
  ModelConfig config_;
  ModelTensors weights_;
};

struct DeviceRoundsOfBlocks : DeviceRounds {
  DeviceRoundsOfBlocks() : DeviceRounds(Attention::block_causal) {}
};

/// Waits of a round: until its last step is done; and, unless it goes on where one before ended,
/// until the texts were placed.
constexpr std::int64_t kGoesOn = 1, kWaits = 2;
/// Launches of a round beside those of its steps: for the least counts, what is placed for all of
/// its steps, the model's rows, and the draws.
constexpr std::int64_t kUploads = 4;

TEST_F(DeviceRounds, TheHostWaitsForABlockHoweverManyStepsItTakes) {
  Decoder texts = decoder(false);
  DecodingOptions o{.gen_length = 8, .steps = 2, .cfg_scale = 1};
  counts_of(texts, o);  // what the first call alone prepares
  const Counts of_two_steps = counts_of(texts, o);
  o.steps = 8;
  const Counts of_one_block = counts_of(texts, o);
  EXPECT_EQ(of_one_block.waits, of_two_steps.waits);
  EXPECT_EQ(of_one_block.copies, of_two_steps.copies);
  EXPECT_EQ(of_one_block.allocations, 0);
  EXPECT_EQ(of_one_block.gemm_shapes, 0);
  EXPECT_EQ(of_one_block.launches - kUploads, 4 * (of_two_steps.launches - kUploads));
  EXPECT_EQ(of_one_block.other_waits(), kWaits);
  o.block_length = 4;
  const Counts of_two_blocks = counts_of(texts, o);
  EXPECT_EQ(of_two_blocks.other_waits(), 2 * kWaits);
  EXPECT_LE(of_two_blocks.copies, 2 * of_one_block.copies);
  // An observer needs each canvas.
  EXPECT_GT(counts_of(texts, o, [](const DecodingStep&) {}).waits, of_two_blocks.waits);
}

/// A threshold above 1 is a token per pass: 8 passes of each of 2 blocks.
TEST_F(DeviceRounds, AStrategyThatDependsOnThemWaitsOncePerFourPasses) {
  Decoder texts = decoder(false);
  const DecodingOptions o{
      .gen_length = 16, .block_length = 8, .strategy = StrategyKind::threshold, .threshold = 1.5};
  counts_of(texts, o);
  const Counts c = counts_of(texts, o);
  EXPECT_EQ(c.stats.passes, 16);
  EXPECT_EQ(c.other_waits(), 2 * (kWaits + kGoesOn));
  EXPECT_EQ(c.stats.rows, 16 * (18 + 17));
  EXPECT_EQ(c.stats.logit_rows, 16 * 2 * 8);  // one shape for all
  EXPECT_EQ(c.allocations, 0);
  EXPECT_EQ(c.gemm_shapes, 0);
  // Of a round that goes on: the least counts there; tokens, steps, probabilities and whether all
  // were finite back.
  DecodingOptions half = o;
  half.steps = 8;  // 4 of each block
  EXPECT_EQ(c.copies - counts_of(texts, half).copies, 2 * 5);
}

/// The refresh, then 4 and 3 passes over the block.
TEST_F(DeviceRounds, WithACacheTheRefreshIsARoundOfItsOwn) {
  Decoder texts = decoder(true);
  const DecodingOptions o{.gen_length = 16,
                          .block_length = 8,
                          .strategy = StrategyKind::threshold,
                          .threshold = 1.5,
                          .cache = CacheKind::dual};
  counts_of(texts, o);
  const Counts c = counts_of(texts, o);
  EXPECT_EQ(c.stats.passes, 16);
  EXPECT_EQ(c.stats.refreshes, 2 * 2);
  EXPECT_EQ(c.other_waits(), 2 * (2 * kWaits + kGoesOn));
  EXPECT_EQ(c.stats.rows, 2 * (18 + 17) + 14 * 2 * 8);
  EXPECT_EQ(c.allocations, 0);
  EXPECT_EQ(c.gemm_shapes, 0);
  // With counts that are known: the refresh, and the rest at once.
  const DecodingOptions fixed{.gen_length = 16, .block_length = 8, .cache = CacheKind::dual};
  EXPECT_EQ(counts_of(texts, fixed).other_waits(), 2 * 2 * kWaits);
}

/// Passes that find their block full change nothing, and are counted.
TEST_F(DeviceRounds, PassesAfterABlockIsFull) {
  Decoder texts = decoder(false);
  const DecodingOptions o{.gen_length = 8, .strategy = StrategyKind::threshold, .threshold = 1e-6};
  counts_of(texts, o);
  const Counts c = counts_of(texts, o);
  EXPECT_EQ(c.stats.tokens, 2 * 8);
  EXPECT_EQ(c.stats.passes, 4);
  EXPECT_EQ(c.other_waits(), kWaits);
}

/// 8 rows per block: the prompt is in the first. Each block after that computes the one before it
/// along with its own rows, once.
TEST_F(DeviceRoundsOfBlocks, ComputeABlocksRowsAndOnceThoseBefore) {
  Decoder texts = decoder(true);
  const DecodingOptions o{.gen_length = 22, .threshold = 1.5};
  counts_of(texts, o);
  const Counts c = counts_of(texts, o);
  // A pass per row: 6 and 7 of the first block, 8 of the two others.
  EXPECT_EQ(c.stats.rows, (22 + 23) * 8 + 2 * 2 * 8);
  EXPECT_EQ(c.allocations, 0);
  EXPECT_EQ(c.gemm_shapes, 0);
  EXPECT_LE(c.other_waits(), 3 * 4 * kWaits);
}

}  // namespace
}  // namespace lacuna
