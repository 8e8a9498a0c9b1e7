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
  std::int64_t waits, copies, allocations;
  bool operator==(const Counts&) const = default;
};
std::ostream& operator<<(std::ostream& out, const Counts& c) {
  return out << c.waits << " waits, " << c.copies << " copies, " << c.allocations << " allocations";
}

class DeviceRounds : public ::testing::Test {
 protected:
  DeviceRounds() : config_(make_config()), weights_(ops_.memory(), config_, "weights") {
    ModelTensors here(cpu().memory(), config_, "weights");
    randomise(here, 5);
    ops_.copy(weights_.flat(), here.flat());
  }
  static ModelConfig make_config() {
    ModelConfig c = tiny_config();
    c.max_seq_length = 64;
    c.mask_token = c.vocab_size - 1;
    return c;
  }
  Counts counts_of(const DecodingOptions& options, const DecodingObserver& observer = {}) {
    Decoder decoder(ops_, config_, weights_, {2 * 20, 2, true});
    const emulator::Counters& c = emulator::counters;
    const Counts before{c.host_waits, c.copies, c.allocations};
    generate(decoder, {{1, 2}, {3}}, options, 0, observer);
    return {c.host_waits - before.waits, c.copies - before.copies,
            c.allocations - before.allocations};
  }

  CudaOps ops_;
  ModelConfig config_;
  ModelTensors weights_;
};

TEST_F(DeviceRounds, TheHostWaitsForABlockHoweverManyStepsItTakes) {
  DecodingOptions o{.gen_length = 8, .steps = 2, .cfg_scale = 1};
  counts_of(o);  // what the first call alone prepares
  const Counts of_two_steps = counts_of(o);
  o.steps = 8;
  const Counts of_one_block = counts_of(o);
  EXPECT_EQ(of_one_block, of_two_steps);
  // For the canvases to be placed, and filled; besides, for each copy.
  EXPECT_EQ(of_one_block.waits - of_one_block.copies, 2);
  o.block_length = 4;
  const Counts of_two_blocks = counts_of(o);
  EXPECT_EQ(of_two_blocks.waits - of_two_blocks.copies, 4);
  EXPECT_LE(of_two_blocks.copies, 2 * of_one_block.copies);
  // An observer needs each canvas.
  EXPECT_GT(counts_of(o, [](const DecodingStep&) {}).waits, of_two_blocks.waits);
}

}  // namespace
}  // namespace lacuna
