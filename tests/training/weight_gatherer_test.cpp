// Which units are gathered when, and waited for when.
#include "training/weight_gatherer.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "kernels/cpu/cpu_ops.h"
#include "training/zero_layout.h"

namespace lacuna {
namespace {

/// Rank 0 of two that hold the same. Notes gathers by the number that their elements have.
class NotingRanks final : public Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 2; }
  const std::string& name() const override { return name_; }
  std::unique_ptr<Communicator> split(int, int, const std::string&) override { fail("split"); }
  void all_reduce(Tensor, Reduce) override {}
  void all_gather(Tensor out, Tensor mine) override {
    notes += str("g", int(mine.as<float>()[0]), " ");
    const std::vector<float> values(mine.as<float>(), mine.as<float>() + mine.count());
    std::copy(values.begin(), values.end(), out.as<float>());
    std::copy(values.begin(), values.end(), out.as<float>() + mine.count());
  }
  void reduce_scatter(Tensor, Tensor, Reduce) override { fail("reduce_scatter"); }
  void broadcast(Tensor, int) override { fail("broadcast"); }
  void wait() override { notes += "w "; }
  void barrier() override {}
  CommunicationStats stats() const override { return {}; }

  /// Since the last call.
  std::string taken() { return std::exchange(notes, {}); }
  std::string notes;

 private:
  std::string name_ = "data";
};

/// A model of four blocks, whose units are 0 to 5; each element is its unit's number.
struct Gathering {
  explicit Gathering(std::int64_t stage, bool tied = false)
      : zero(stage, 2),
        layout(config(tied), {}),
        weights(ops.memory(), layout, "weights", DType::f32, {zero.flat.multiple, true},
                zero.weights),
        buckets(weights.units(), 2, std::int64_t{1} << 30),
        shard(zero.shards_weights ? OptimizerShard(ops.memory(), weights, buckets.parts(0), "shard")
                                  : OptimizerShard(weights, buckets.parts(0))),
        gatherer(ops, ranks, weights, shard, buckets, /*poison=*/true) {
    for (std::size_t u = 0; u < weights.units().size(); ++u)
      for (const WeightPiece& piece : shard.pieces_within({weights.units()[u]}))
        ops.fill(piece.values, float(u));
  }
  static ModelConfig config(bool tied) {
    ModelConfig c;
    c.vocab_size = 64;
    c.num_layers = 4;
    c.hidden_size = 32;
    c.num_heads = c.num_kv_heads = 2;
    c.intermediate_size = 32;
    c.tie_embeddings = tied;
    return c;
  }
  void gather(std::size_t unit, PassDirection direction) {
    gatherer.gather(unit, direction);
    const NamedWeight& first =
        *std::find_if(weights.named().begin(), weights.named().end(),
                      [&](const NamedWeight& w) { return w.flat == weights.units()[unit].begin; });
    EXPECT_EQ(first.tensor.as<float>()[0], float(unit));
    EXPECT_EQ(first.tensor.as<float>()[first.tensor.count() - 1], float(unit));
  }
  std::string forward() {
    gatherer.begin_pass();
    for (std::size_t unit = 0; unit < 6; ++unit) gather(unit, PassDirection::forward);
    return ranks.taken();
  }
  std::string backward() {
    for (std::size_t unit = 6; unit-- > 1;) gather(unit, PassDirection::backward);
    gatherer.waited();  // by who reduces the gradients
    return ranks.taken();
  }

  CpuOps ops{1};
  NotingRanks ranks;
  const ZeroLayout zero;
  const WeightLayout layout;
  const ModelTensors weights;
  const Buckets buckets;
  const OptimizerShard shard;
  WeightGatherer gatherer;
};

// A unit ahead. The slots keep two blocks, and of the embedding and the head the one used last.
TEST(WeightGatherer, GathersWhatNoSlotHolds) {
  Gathering g(3);
  g.gatherer.begin_step();
  EXPECT_EQ(g.forward(), "g0 w g1 w g2 w g3 w g4 w g5 w ");
  EXPECT_EQ(g.backward(), "g2 w g1 w g0 ");
  EXPECT_EQ(g.forward(), "g3 w g4 w g5 w ");
  EXPECT_EQ(g.forward(), "g0 w g1 w g2 w g3 w g4 w g5 w ");
  g.gatherer.invalidate();
  EXPECT_NE(g.weights.embedding.as<float>()[0], g.weights.embedding.as<float>()[0]);
  EXPECT_EQ(g.forward(), "g0 w g1 w g2 w g3 w g4 w g5 w ");
}

TEST(WeightGatherer, KeepsATiedHead) {
  Gathering g(3, /*tied=*/true);
  EXPECT_EQ(g.forward(), "g0 w g1 w g2 w g3 w g4 w g5 w ");
  EXPECT_EQ(g.backward(), "g2 w g1 w ");
  EXPECT_EQ(g.forward(), "g3 w g4 w ");
}

// Where each rank has all weights: in the first forward pass since they changed.
TEST(WeightGatherer, GathersWholeWeightsOnce) {
  Gathering g(1);
  EXPECT_EQ(g.forward(), "g0 w g1 w g2 w g3 w g4 w g5 w ");
  EXPECT_EQ(g.backward(), "");
  EXPECT_EQ(g.forward(), "");
  g.gatherer.invalidate();
  g.gatherer.join_forward_pass();  // in place of a pass
  EXPECT_EQ(g.forward(), "g0 w g1 w g2 w g3 w g4 w g5 w ");
  EXPECT_EQ(g.forward(), "");
}

// A bucket that two units have elements in is gathered for the first.
TEST(WeightGatherer, BucketsMayLieInTwoUnits) {
  Gathering g(1);
  const Buckets one(g.weights.units().back().end(), 2, std::int64_t{1} << 30);
  const OptimizerShard shard(g.weights, one.parts(0));
  WeightGatherer gatherer(g.ops, g.ranks, g.weights, shard, one, /*poison=*/false);
  for (std::size_t unit = 0; unit < 6; ++unit) gatherer.gather(unit, PassDirection::forward);
  EXPECT_EQ(g.ranks.taken(), "g0 w ");
}

TEST(WeightGatherer, TrialPassesGatherNothing) {
  Gathering g(3);
  g.gatherer.begin_trial_passes();
  EXPECT_EQ(g.ranks.taken(), "g0 w g1 w g2 w g3 w g4 w g5 w ");
  g.gatherer.gather(0, PassDirection::forward);
  g.gatherer.gather(1, PassDirection::forward);
  EXPECT_EQ(g.ranks.taken(), "");
  g.gatherer.end_trial_passes();
}

}  // namespace
}  // namespace lacuna
