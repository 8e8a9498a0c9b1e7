#include "diffusion/row_padding.h"

#include <algorithm>
#include <numeric>

#include "diffusion/objective.h"
#include "tests/model/support.h"
#include "tests/support/oracle.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

TEST(RowBuckets, AreFewAndCloseTogetherOnADevice) {
  for (const std::int64_t most : {1, 15, 16, 17, 48, 500, 513, 4096, 16384, 16385, 100003}) {
    const RowBuckets buckets(most, Place::device);
    const std::vector<std::int64_t> sizes = buckets.sizes();
    EXPECT_LE(sizes.size(), 32u) << most;
    EXPECT_EQ(sizes.front(), most);
    EXPECT_TRUE(std::is_sorted(sizes.rbegin(), sizes.rend())) << most;
    EXPECT_EQ(buckets.unit() % 16, 0) << most;
    EXPECT_LE(buckets.unit(), std::max<std::int64_t>(16, most / 32 + 16)) << most;
    for (std::size_t i = 1; i < sizes.size(); ++i) EXPECT_EQ(sizes[i] % buckets.unit(), 0) << most;
    const std::int64_t step = std::max<std::int64_t>(1, most / 300);
    for (std::int64_t rows = 1; rows <= most; rows += step) {
      const std::int64_t padded = buckets.padded(rows);
      EXPECT_NE(std::find(sizes.begin(), sizes.end(), padded), sizes.end()) << rows;
      EXPECT_GE(padded, rows);
      EXPECT_LT(padded, rows + buckets.unit());
    }
  }
}

TEST(RowBuckets, InMainMemoryNothingIsPadded) {
  const RowBuckets buckets(1000, Place::host);
  for (const std::int64_t rows : {1, 7, 999, 1000}) EXPECT_EQ(buckets.padded(rows), rows);
  const ModelLimits limits = buckets.with_padding({1000, 3, 1000, true}, 64);
  EXPECT_EQ(limits.sequences, 3);
  EXPECT_EQ(limits.logit_rows, 1000);
}

LossBatch batch_of(std::vector<std::int32_t> offsets, std::vector<std::int32_t> rows) {
  LossBatch batch;
  batch.sequences = std::int64_t(offsets.size()) - 1;
  for (std::int32_t i = 0; i < offsets.back(); ++i) batch.tokens.push_back(1 + i % 20);
  for (const std::int32_t row : rows) {
    batch.targets.push_back(2 + row % 19);
    batch.weights.push_back(0.25 + 0.125 * (row % 3));
  }
  batch.offsets = std::move(offsets);
  batch.rows = std::move(rows);
  return batch;
}

/// Rows at the begin, the end, everywhere, and up to all of them.
std::vector<std::vector<std::int32_t>> choices(std::int32_t rows) {
  std::vector<std::vector<std::int32_t>> all = {{0}, {rows - 1}};
  if (rows > 1) all.push_back({0, rows - 1});
  for (const std::int32_t every : {1, 2, 7}) {
    all.emplace_back();
    for (std::int32_t row = 0; row < rows; row += every) all.back().push_back(row);
  }
  return all;
}

TEST(PaddedBatch, KeepsTheBatchAndAddsRowsWithoutWeight) {
  constexpr std::int64_t kMost = 96, kMaxLength = 9;
  const RowBuckets buckets(kMost, Place::device);
  ModelConfig model;
  model.max_seq_length = kMaxLength;
  PaddedBatch padded;  // used again and again
  for (const std::vector<std::int32_t>& offsets :
       std::vector<std::vector<std::int32_t>>{{0, 1}, {0, 9, 11}, {0, 5, 14, 23, 31}, {0, 9, 18}})
    for (const auto& rows : choices(offsets.back())) {
      const LossBatch batch = batch_of(offsets, rows);
      padded.fill(batch, buckets, model);
      // What the model demands of sequences, within what it was told.
      check(padded.sequences,
            buckets.with_padding({kMost, batch.sequences, kMost, true}, kMaxLength), kMaxLength);
      EXPECT_EQ(padded.sequences.rows(), buckets.padded(offsets.back()));
      EXPECT_EQ(std::int64_t(padded.tokens.size()), padded.sequences.rows());
      EXPECT_TRUE(std::equal(batch.tokens.begin(), batch.tokens.end(), padded.tokens.begin()));
      EXPECT_TRUE(std::equal(offsets.begin(), offsets.end(), padded.sequences.offsets.begin()));
      const std::size_t heads = padded.sequences.logit_rows.size();
      EXPECT_EQ(std::int64_t(heads), buckets.padded(std::int64_t(rows.size())));
      ASSERT_EQ(padded.targets.size(), heads);
      ASSERT_EQ(padded.weights.size(), heads);
      ASSERT_EQ(padded.places.size(), rows.size());
      std::vector<float> left = padded.weights;
      for (std::size_t m = 0; m < rows.size(); ++m) {
        const auto at = std::size_t(padded.places[m]);
        EXPECT_EQ(padded.sequences.logit_rows[at], rows[m]);
        EXPECT_EQ(padded.targets[at], batch.targets[m]);
        EXPECT_EQ(padded.weights[at], float(batch.weights[m]));
        left[at] = 0;
      }
      EXPECT_EQ(left, std::vector<float>(heads, 0.0f));
    }
}

/// Losses and gradients of a padded pass are those of the batch, but for the order of sums.
TEST(PaddedBatch, AddsNothingToLossAndGradients) {
  const ModelConfig config = tiny_config();
  ModelTensors weights(cpu().memory(), config, "weights"),
      gradients(cpu().memory(), config, "gradients"), padded_gradients(cpu().memory(), config, "g");
  randomise(weights, 3);
  constexpr std::int64_t kMost = 96;
  const RowBuckets buckets(kMost, Place::device);
  const ModelLimits limits{kMost, 4, kMost, true};
  ObjectiveRunner plain(cpu(), config, weights, limits);
  Model model(cpu(), config, weights, buckets.with_padding(limits, config.max_seq_length));
  Head head(cpu(), config, weights, kMost, nullptr, HeadUse::loss, buckets.unit());
  PaddedBatch padded;
  for (const auto& rows : choices(31)) {
    const LossBatch batch = batch_of({0, 5, 14, 23, 31}, rows);
    cpu().fill(gradients.flat(), 0);
    cpu().fill(padded_gradients.flat(), 0);
    plain.loss_and_gradients(batch, gradients);
    padded.fill(batch, buckets, config);
    std::vector<float> losses(padded.targets.size()), real;
    const Tensor hidden = model.forward(tensor_of(padded.tokens), padded.sequences);
    head.loss_and_gradient(tensor_of(losses), hidden, padded_gradients.head, hidden,
                           tensor_of(padded.targets), tensor_of(padded.weights));
    model.backward(padded_gradients, hidden);
    for (const std::int32_t place : padded.places) real.push_back(losses[std::size_t(place)]);
    EXPECT_LT(relative_error(tensor_of(real), tensor_of(plain.row_losses())), 1e-6);
    for (std::size_t i = 0; i < gradients.named().size(); ++i)
      EXPECT_LT(relative_error(padded_gradients.named()[i].tensor, gradients.named()[i].tensor),
                1e-5)
          << gradients.named()[i].name;
  }
}

}  // namespace
}  // namespace lacuna
