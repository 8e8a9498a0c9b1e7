#include "diffusion/separate_documents.h"

#include <cmath>

#include "diffusion/objective.h"
#include "tests/model/support.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

struct Case {
  const char* name;
  bool causal, logits_shift;
};
std::ostream& operator<<(std::ostream& out, const Case& c) { return out << c.name; }

class SeparateDocuments : public ::testing::TestWithParam<Case> {
 protected:
  SeparateDocuments() : config_(tiny_config(GetParam().causal)) {
    config_.mask_token = config_.vocab_size - 1;
    config_.logits_shift = GetParam().logits_shift;
    options_.objective =
        GetParam().causal ? Objective::autoregressive : Objective::masked_diffusion;
    options_.logits_shift = GetParam().logits_shift;
    options_.mask_token = std::int32_t(config_.mask_token);
    const CounterRng rng{5, Purpose::benchmark};
    for (std::uint32_t i = 0; i < 24; ++i)
      tokens_.push_back(std::int32_t(rng.below(std::uint64_t(config_.vocab_size - 1), i)));
  }
  LossBatch rows() {
    return make_noisy_batch(options_, Tensor(tokens_.data(), {2, 12}), 12, 3, 2, p());
  }
  std::vector<float> p() const {
    return GetParam().causal ? std::vector<float>() : std::vector<float>{0.5f, 0.75f};
  }

  ModelConfig config_;
  NoiseOptions options_;
  std::vector<std::int32_t> tokens_;
};

TEST_P(SeparateDocuments, ARowsGradientIsTheSumOfItsDocuments) {
  LossBatch batch = rows();
  const std::vector<RowDocuments> documents = {{{5}, 12}, {{1, 9}, 12}};
  EXPECT_EQ(separate_documents(options_, documents, 3, batch),
            (std::vector<std::int64_t>{0, 0, 1, 1, 1}));
  EXPECT_EQ(batch.offsets, (std::vector<std::int32_t>{0, 5, 12, 13, 21, 24}));
  EXPECT_EQ(batch.samples, (std::vector<std::int64_t>{3, 3, 4, 4, 4}));
  ModelTensors weights(cpu().memory(), config_, "weights");
  ModelTensors together(cpu().memory(), config_, "gradients");
  ModelTensors alone(cpu().memory(), config_, "gradients");
  randomise(weights, 1);
  ObjectiveRunner runner(cpu(), config_, weights, ModelLimits{24, 24, 24, true});
  const double loss = runner.loss_and_gradients(batch, together);
  double sum = 0;
  for (std::size_t d = 0; d + 1 < batch.offsets.size(); ++d) {
    const std::int32_t begin = batch.offsets[d], end = batch.offsets[d + 1];
    LossBatch one;
    one.sequences = 1;
    one.length = end - begin;
    one.shift = batch.shift;
    one.tokens.assign(batch.tokens.begin() + begin, batch.tokens.begin() + end);
    one.masked.assign(batch.masked.begin() + begin, batch.masked.begin() + end);
    one.p = {batch.p[d]};
    for (std::size_t m = 0; m < batch.rows.size(); ++m) {
      if (batch.rows[m] < begin || batch.rows[m] >= end) continue;
      EXPECT_LT(batch.rows[m] + batch.shift, end) << "predicts another document's token";
      one.rows.push_back(batch.rows[m] - begin);
      one.targets.push_back(batch.targets[m]);
      one.weights.push_back(batch.weights[m]);
    }
    sum += runner.loss_and_gradients(one, alone);
  }
  EXPECT_NEAR(loss, sum, 1e-6 * sum);
  EXPECT_LT(relative_error(together.flat(), alone.flat()), 1e-5);
}

TEST_P(SeparateDocuments, WeightsAreAMeanOverWhatIsPredicted) {
  LossBatch batch = rows();
  const std::vector<RowDocuments> documents = {{{5}, 12}, {{1, 9}, 10}};
  separate_documents(options_, documents, 0, batch);
  EXPECT_EQ(batch.offsets, (std::vector<std::int32_t>{0, 5, 12, 13, 21, 22}));
  const double given = batch.shift;
  for (std::size_t m = 0; m < batch.rows.size(); ++m) {
    const bool first = batch.rows[m] < 12;
    const double n = first ? 12 - 2 * given : 10 - 3 * given;
    const double ratio = GetParam().causal ? 1 : first ? 0.5 : 0.75;
    EXPECT_NEAR(batch.weights[m], 1 / (n * ratio * 2), 1e-12) << m;
    // What is predicted is the text's.
    const std::int32_t token = batch.rows[m] + std::int32_t(batch.shift);
    EXPECT_EQ(batch.targets[m], tokens_[std::size_t(token)]);
    EXPECT_EQ(batch.masked[std::size_t(token)], 1);
  }
  if (batch.shift > 0)
    for (const std::int32_t start : {0, 5, 12, 13, 21}) {
      EXPECT_EQ(batch.masked[std::size_t(start)], 0);
      EXPECT_EQ(batch.tokens[std::size_t(start)], tokens_[std::size_t(start)]);
    }
}

TEST_P(SeparateDocuments, OneDocumentIsTheRowItself) {
  const LossBatch joined = rows();
  LossBatch batch = joined;
  separate_documents(options_, std::vector<RowDocuments>(2, {{}, 12}), 0, batch);
  EXPECT_EQ(batch.tokens, joined.tokens);
  EXPECT_EQ(batch.rows, joined.rows);
  EXPECT_EQ(batch.weights, joined.weights);
  EXPECT_EQ(batch.offsets, (std::vector<std::int32_t>{0, 12, 24}));
}

TEST_P(SeparateDocuments, ViewsHaveTheSameDocuments) {
  if (GetParam().causal) GTEST_SKIP() << "has no noisy views";
  options_.blocks.views = 2;
  LossBatch batch = make_noisy_batch(options_, Tensor(tokens_.data(), {2, 12}), 12, 3, 2);
  ASSERT_EQ(batch.sequences, 4);
  separate_documents(options_, std::vector<RowDocuments>{{{5}, 12}, {{}, 12}}, 3, batch);
  EXPECT_EQ(batch.offsets, (std::vector<std::int32_t>{0, 5, 12, 17, 24, 36, 48}));
  EXPECT_EQ(batch.samples, (std::vector<std::int64_t>{3, 3, 3, 3, 4, 4}));
  EXPECT_EQ(batch.views, 2);
}

TEST_P(SeparateDocuments, AShortenedStepCutsThem) {
  LossBatch batch = make_noisy_batch(options_, Tensor(tokens_.data(), {2, 12}), 4, 3, 2, p());
  separate_documents(options_, std::vector<RowDocuments>{{{5}, 12}, {{1, 9}, 12}}, 0, batch);
  EXPECT_EQ(batch.offsets, (std::vector<std::int32_t>{0, 4, 5, 8}));
}

INSTANTIATE_TEST_SUITE_P(Objectives, SeparateDocuments,
                         ::testing::Values(Case{"diffusion", false, false},
                                           Case{"shifted", false, true},
                                           Case{"autoregressive", true, false}));

}  // namespace
}  // namespace lacuna
