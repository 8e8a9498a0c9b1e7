#include "training/buckets.h"

#include <gtest/gtest.h>

#include "training/optimizer_shard.h"

namespace lacuna {
namespace {

TEST(Buckets, CoverAllFromTheEnd) {
  for (const int ranks : {1, 2, 3, 8})
    for (const std::int64_t units : {1, 2, 7}) {
      const std::int64_t elements = units * Buckets::multiple(ranks);
      for (const std::int64_t size : {std::int64_t{1}, elements / 2, elements, 10 * elements}) {
        const Buckets buckets(elements, ranks, size);
        std::int64_t end = elements;
        for (const FlatRange& bucket : buckets.ranges()) {
          EXPECT_EQ(bucket.end(), end);
          end = bucket.begin;
          std::int64_t part_end = bucket.begin;
          for (int rank = 0; rank < ranks; ++rank) {
            const FlatRange part = buckets.part(bucket, rank);
            EXPECT_EQ(part.begin, part_end);
            EXPECT_EQ(part.size % 32, 0);
            part_end = part.end();
          }
          EXPECT_EQ(part_end, bucket.end());
        }
        EXPECT_EQ(end, 0);
      }
    }
}

TEST(Buckets, RefuseWhatCannotBeCut) {
  EXPECT_THROW(Buckets(32, 2, 32), Error);
  EXPECT_THROW(Buckets(32, 0, 32), Error);
}

ModelConfig small_model() {
  ModelConfig config;
  config.vocab_size = 19;
  config.num_layers = 2;
  config.hidden_size = 12;
  config.num_heads = 2;
  config.intermediate_size = 20;
  return config;
}

// However a model is cut, the owners' pieces are every element of every weight once.
void expect_every_element_once(bool units) {
  const ModelConfig config = small_model();
  constexpr int kRanks = 3;
  const ModelTensors weights(host_memory(), config, "weights", DType::f32, {},
                             {Buckets::multiple(kRanks), units});
  const Buckets buckets =
      units ? Buckets(weights.units(), kRanks, 500) : Buckets(weights.flat().count(), kRanks, 500);
  ASSERT_GT(buckets.ranges().size(), 3u);
  for (int rank = 0; rank < kRanks; ++rank) {
    const std::vector<FlatRange> parts = buckets.parts(rank);
    const OptimizerShard own(host_memory(), weights, parts, "moment"), master(weights, parts);
    EXPECT_EQ(own.flat().count() * kRanks, weights.flat().count());
    ASSERT_EQ(own.pieces().size(), master.pieces().size());
    for (std::size_t i = 0; i < own.pieces().size(); ++i) {
      const WeightPiece &a = own.pieces()[i], &b = master.pieces()[i];
      EXPECT_EQ(a.weight, b.weight);
      EXPECT_EQ(a.first, b.first);
      ASSERT_EQ(a.values.shape, b.values.shape);
      for (std::int64_t e = 0; e < a.values.count(); ++e) {
        a.values.as<float>()[e] += 1;
        b.values.as<float>()[e] += 1;
      }
    }
    for (const WeightPiece& piece : own.pieces_within(parts))
      for (std::int64_t e = 0; e < piece.values.count(); ++e)
        EXPECT_EQ(piece.values.as<float>()[e], 1);
  }
  for (const NamedWeight& w : weights.named())
    for (std::int64_t e = 0; e < w.tensor.count(); ++e) EXPECT_EQ(w.tensor.as<float>()[e], 1);
}

TEST(OptimizerShard, HaveEveryElementOnce) {
  expect_every_element_once(false);
  expect_every_element_once(true);
}

// Parts of two ranks in two buckets, found by where they lie in the model.
TEST(OptimizerShard, FindsItsElements) {
  const ModelConfig config = small_model();
  const ModelTensors weights(host_memory(), config, "weights", DType::f32, {}, {64});
  for (std::int64_t i = 0; i < weights.flat().count(); ++i)
    weights.flat().as<float>()[i] = float(i);
  const Buckets buckets(weights.flat().count(), 2, 640);
  const std::vector<FlatRange> parts = buckets.parts(1);
  const OptimizerShard own(host_memory(), weights, parts, "moment"), view(weights, parts);
  for (std::size_t i = 0; i < own.pieces().size(); ++i)
    for (std::int64_t e = 0; e < own.pieces()[i].values.count(); ++e)
      own.pieces()[i].values.as<float>()[e] = view.pieces()[i].values.as<float>()[e];
  for (std::size_t i = 0; i < own.pieces().size(); ++i) {
    const FlatRange place = own.place(i);
    EXPECT_EQ(own.elements(place).data, own.pieces()[i].values.data);
    EXPECT_EQ(view.elements(place).data, view.pieces()[i].values.data);
    EXPECT_EQ(own.elements(place).as<float>()[place.size - 1], float(place.end() - 1));
  }
  EXPECT_EQ(own.elements({parts[1].begin, 1}).count(), 1);
  EXPECT_THROW((void)own.elements({parts[0].begin, parts[0].size + 1}), Error);
  EXPECT_THROW((void)own.elements({0, 1}), Error);  // the first rank's
}

TEST(Buckets, LieWithinWhatIsCut) {
  const std::vector<FlatRange> cut = {{0, 128}, {128, 64}, {192, 320}};
  const Buckets buckets(cut, 2, 200);
  const std::vector<FlatRange> expected = {{320, 192}, {192, 128}, {128, 64}, {0, 128}};
  ASSERT_EQ(buckets.ranges().size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(buckets.ranges()[i].begin, expected[i].begin);
    EXPECT_EQ(buckets.ranges()[i].size, expected[i].size);
  }
}

}  // namespace
}  // namespace lacuna
