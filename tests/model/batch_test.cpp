#include "tests/model/support.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

/// BLAS may sum in another order for another number of rows. Two results behind 18 products each of
/// sums of up to 36 terms, with the reasoning of GoldenModel::tolerance.
const double kOtherOrder = 4 * std::sqrt(2 * 18) * (6 + 4) * kUnit;
/// Gradients: three times as many.
const double kOtherOrderBackward = std::sqrt(3) * kOtherOrder;

class Batch : public ::testing::TestWithParam<bool> {};

TEST_P(Batch, ASequenceDoesNotDependOnItsNeighbours) {
  const ModelConfig config = tiny_config(GetParam());
  Tiny together(config, {5, 1, 9, 3}, every_row(18));
  const std::vector<float> all = elements(together.forward());
  for (std::size_t s = 0; s < 4; ++s) {
    const std::int32_t begin = together.sequences.offsets[s],
                       end = together.sequences.offsets[s + 1];
    Tiny alone(config, {end - begin}, every_row(end - begin));
    alone.tokens.assign(together.tokens.begin() + begin, together.tokens.begin() + end);
    const std::vector<float> part(all.begin() + begin * config.hidden_size,
                                  all.begin() + end * config.hidden_size);
    EXPECT_LT(relative_error(alone.forward(), tensor_of(part)), kOtherOrder) << "sequence " << s;
  }
}

TEST_P(Batch, OtherTokensElsewhereChangeNothing) {
  Tiny tiny(tiny_config(GetParam()), {5, 9, 3}, every_row(17));
  const std::vector<float> before = elements(tiny.forward());
  for (std::size_t i = 0; i < 17; ++i)
    if (i < 5 || i >= 14) tiny.tokens[i] = (tiny.tokens[i] + 1) % 29;
  const std::vector<float> after = elements(tiny.forward());
  const auto residual_mid = [&](const std::vector<float>& v) {
    return std::vector<float>(v.begin() + 5 * 24, v.begin() + 14 * 24);
  };
  EXPECT_TRUE(same_bits(tensor_of(residual_mid(after)), tensor_of(residual_mid(before))));
  EXPECT_FALSE(same_bits(tensor_of(after), tensor_of(before)));
}

TEST_P(Batch, WantedRowsAreThoseOfTheFullResult) {
  const ModelConfig config = tiny_config(GetParam());
  Tiny full(config, {5, 1, 9, 3}, every_row(18));
  const std::vector<float> all = elements(full.forward());
  // None of the second sequence.
  const std::vector<std::int32_t> logit_rows = {1, 4, 6, 7, 13, 14, 17};
  Tiny some(config, {5, 1, 9, 3}, logit_rows);
  std::vector<float> expected;
  for (std::int32_t row : logit_rows)
    expected.insert(expected.end(), all.begin() + row * 24, all.begin() + (row + 1) * 24);
  EXPECT_LT(relative_error(some.forward(), tensor_of(expected)), kOtherOrder);
}

TEST_P(Batch, GradientsOfMicroBatchesAddUp) {
  const ModelConfig config = tiny_config(GetParam());
  Tiny whole(config, {5, 1, 9, 3}, {1, 4, 6, 7, 13, 14, 17});
  whole.backward();
  Tiny parts(config, {5, 1}, {1, 4});
  ModelTensors& sum = *parts.gradients;
  const auto take = [&](Tiny& part, std::ptrdiff_t token, std::ptrdiff_t row) {
    part.tokens.assign(whole.tokens.begin() + token,
                       whole.tokens.begin() + token + std::ptrdiff_t(part.tokens.size()));
    part.targets.assign(whole.targets.begin() + row,
                        whole.targets.begin() + row + std::ptrdiff_t(part.targets.size()));
    part.row_weights.assign(
        whole.row_weights.begin() + row,
        whole.row_weights.begin() + row + std::ptrdiff_t(part.row_weights.size()));
  };
  take(parts, 0, 0);
  parts.backward();
  Tiny second(config, {9, 3}, {0, 1, 7, 8, 11});
  take(second, 6, 2);
  second.backward(sum);
  for (std::size_t i = 0; i < sum.named().size(); ++i)
    EXPECT_LT(relative_error(sum.named()[i].tensor, whole.gradients->named()[i].tensor),
              kOtherOrderBackward)
        << sum.named()[i].name;
}

TEST_P(Batch, BackwardAdds) {
  Tiny tiny(tiny_config(GetParam(), true), {5, 9, 3}, {2, 3, 9, 16});
  tiny.backward();
  const std::vector<float> once = elements(tiny.gradients->flat());
  tiny.backward();
  std::vector<float> twice(once);
  for (float& x : twice) x *= 2;
  // Adding what is there already rounds each sum differently from doubling it.
  EXPECT_LT(relative_error(tiny.gradients->flat(), tensor_of(twice)), kOtherOrder);
}

TEST_P(Batch, BackwardOverwrites) {
  ModelConfig plain = tiny_config(GetParam()), tied = tiny_config(GetParam(), true),
              all = tiny_config(GetParam());
  all.qkv_bias = all.qk_norm = true;
  for (const ModelConfig& config : {plain, tied, all})
    for (const std::vector<std::int32_t>& rows :
         {std::vector<std::int32_t>{2, 6, 7, 12}, every_row(13), std::vector<std::int32_t>{}}) {
      Tiny tiny(config, {5, 8}, rows);
      expect_overwrites(tiny, *tiny.gradients);
    }
}

TEST_P(Batch, RunsAreTheSameBitForBit) {
  const ModelConfig config = tiny_config(GetParam());
  Tiny one(config, {5, 1, 9, 3}, {1, 4, 6, 7, 13, 14, 17});
  one.backward();
  Tiny other(config, {5, 1, 9, 3}, {1, 4, 6, 7, 13, 14, 17});
  other.forward();
  other.backward();
  EXPECT_TRUE(same_bits(one.gradients->flat(), other.gradients->flat()));
}

TEST_P(Batch, ASmallerBatchAfterALargerOne) {
  const ModelConfig config = tiny_config(GetParam());
  Tiny small(config, {4, 2}, {1, 5});
  small.backward();
  Tiny large(config, {5, 1, 9, 3}, every_row(18));
  large.backward();
  cpu().fill(large.gradients->flat(), 0);
  large.sequences = small.sequences;
  large.tokens = small.tokens;
  large.targets = small.targets;
  large.row_weights = small.row_weights;
  large.backward();
  EXPECT_TRUE(same_bits(large.gradients->flat(), small.gradients->flat()));
}

TEST_P(Batch, NoWantedRows) {
  for (const bool training : {true, false}) {
    Tiny tiny(tiny_config(GetParam()), {5, 3}, {}, training);
    EXPECT_EQ(tiny.forward().rows(), 0);
    EXPECT_EQ(tiny.loss(), 0);
    if (!training) continue;
    tiny.backward();
    for (const float g : elements(tiny.gradients->flat())) ASSERT_EQ(g, 0);
  }
}

INSTANTIATE_TEST_SUITE_P(FullAndCausal, Batch, ::testing::Bool(),
                         [](const auto& test) { return test.param ? "causal" : "full"; });

TEST(Causal, NoTokenSeesALaterOne) {
  Tiny tiny(tiny_config(true), {8, 6}, every_row(14));
  const std::vector<float> before = elements(tiny.forward());
  tiny.tokens[5] = (tiny.tokens[5] + 1) % 29;
  const std::vector<float> after = elements(tiny.forward());
  const auto rows = [](const std::vector<float>& v, int from, int to) {
    return std::vector<float>(v.begin() + from * 24, v.begin() + to * 24);
  };
  EXPECT_TRUE(same_bits(tensor_of(rows(after, 0, 5)), tensor_of(rows(before, 0, 5))));
  for (int row = 5; row < 8; ++row)
    EXPECT_FALSE(
        same_bits(tensor_of(rows(after, row, row + 1)), tensor_of(rows(before, row, row + 1))));
  EXPECT_TRUE(same_bits(tensor_of(rows(after, 8, 14)), tensor_of(rows(before, 8, 14))));
}

TEST(Model, RefusesBackwardWithoutForward) {
  Tiny tiny(tiny_config(), {5, 3}, {2, 6});
  const std::vector<float> gradient(48, 1.0f);
  const Tensor d_hidden = tensor_of(gradient).reshaped({2, 24});
  const auto backward = [&](Tiny& t) {
    return error_of([&] { t.model->backward(*t.gradients, d_hidden); });
  };
  EXPECT_TRUE(contains(backward(tiny), "without a forward pass"));
  tiny.forward();
  EXPECT_EQ(backward(tiny), "");
  EXPECT_TRUE(contains(backward(tiny), "each allows one"));
  Tiny inference(tiny_config(), {5, 3}, {2, 6}, false);
  inference.forward();
  EXPECT_TRUE(contains(backward(inference), "without training"));
}

TEST(Model, RefusesWeightsOfAnotherModel) {
  const ModelTensors weights(cpu().memory(), tiny_config(), "weights");
  const auto made = [&](auto&& change) {
    ModelConfig config = tiny_config();
    change(config);
    return error_of([&] { Model(cpu(), config, weights, {8, 1, 8, false}); });
  };
  EXPECT_EQ(made([](ModelConfig&) {}), "");
  EXPECT_TRUE(contains(made([](ModelConfig& c) { c.num_layers = 2; }), "the config says 2 blocks"));
  EXPECT_TRUE(contains(made([](ModelConfig& c) { c.vocab_size = 30; }), "[30,24]"));
  EXPECT_TRUE(contains(made([](ModelConfig& c) { c.num_heads = 8; }), "even head width"));
}

TEST(Model, NamesATokenOutsideTheVocabulary) {
  Tiny tiny(tiny_config(), {5, 3}, {2, 6});
  tiny.tokens[4] = 29;
  EXPECT_TRUE(contains(error_of([&] { tiny.forward(); }), "29"));
}

}  // namespace
}  // namespace lacuna
