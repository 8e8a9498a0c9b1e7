// The objective of block diffusion against what it is defined by: forward passes over one block
// each, all subsets of a block's tokens, and the objectives that it is with one block or with
// blocks of one token.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <sstream>

#include "core/tensor_of.h"
#include "diffusion/block_noise.h"
#include "diffusion/block_rows.h"
#include "diffusion/likelihood.h"
#include "diffusion/objective.h"
#include "diffusion/responses.h"
#include "tests/diffusion/golden_loss.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

constexpr std::int64_t kLength = 12;

ModelConfig block_model(std::int64_t block_size, bool causal_context = false,
                        bool logits_shift = false) {
  ModelConfig c = tiny_config();
  c.max_seq_length = kLength;
  c.mask_token = c.vocab_size - 1;
  c.attention = Attention::block_causal;
  c.block_size = block_size;
  c.causal_context = causal_context;
  c.logits_shift = logits_shift;
  c.eos_token = c.vocab_size - 2;
  return c;
}

NoiseOptions noise_for(const ModelConfig& c, MaskForm form = MaskForm::mask_count) {
  NoiseOptions options;
  options.objective = Objective::block_diffusion;
  options.mask_token = std::int32_t(c.mask_token);
  options.logits_shift = c.logits_shift;
  options.blocks.sizes = {c.block_size};
  options.blocks.form = form;
  return options;
}

std::vector<std::int32_t> some_tokens(std::int64_t count, std::uint64_t seed = 5) {
  const CounterRng rng{seed, Purpose::benchmark};
  std::vector<std::int32_t> tokens;
  for (std::int64_t i = 0; i < count; ++i)
    tokens.push_back(std::int32_t(rng.below(28, std::uint32_t(i))));
  return tokens;
}

/// A model's weights, gradients and objective.
struct Trained {
  ModelConfig config;
  ModelTensors weights, gradients;
  ObjectiveRunner runner;

  explicit Trained(const ModelConfig& c, std::int64_t rows = 200)
      : config(c),
        weights(cpu().memory(), c, "weights"),
        gradients(cpu().memory(), c, "gradients"),
        runner(cpu(), config, weights, ModelLimits{rows, rows, rows, true}) {
    randomise(weights, 3);
  }
};

void expect_same_gradients(const ModelTensors& a, const ModelTensors& b, double tolerance) {
  for (std::size_t i = 0; i < a.named().size(); ++i)
    EXPECT_LT(relative_error(a.named()[i].tensor, b.named()[i].tensor), tolerance)
        << a.named()[i].name;
}

// --- masks -----------------------------------------------------------------------------------

TEST(BlockMask, CountsAndWeights) {
  const std::vector<std::uint32_t> bits = {30, 10, 20, 10};
  const auto mask = [&](MaskPart part, double t) {
    return block_mask(MaskForm::mask_count, part, t, 1e-3, bits);
  };
  using Flags = std::vector<std::uint8_t>;
  // l = floor(4 t) + 1 of the least; ties go to the lower position.
  const BlockMask least = mask(MaskPart::alone, 0.1), half = mask(MaskPart::alone, 0.25),
                  all = mask(MaskPart::alone, 0.99);
  EXPECT_EQ(least.masked, (Flags{0, 1, 0, 0}));
  EXPECT_EQ(half.masked, (Flags{0, 1, 0, 1}));
  EXPECT_EQ(all.masked, (Flags{1, 1, 1, 1}));
  EXPECT_EQ(least.weight, 4);
  EXPECT_EQ(half.weight, 2);
  EXPECT_EQ(all.weight, 1);
  EXPECT_EQ(half.p, 0.5f);
  // Pairs: l = floor(5 t) of the least, and the others.
  const BlockMask first = mask(MaskPart::first, 0.25), second = mask(MaskPart::second, 0.25);
  EXPECT_EQ(first.masked, (Flags{0, 1, 0, 0}));
  EXPECT_EQ(second.masked, (Flags{1, 0, 1, 1}));
  EXPECT_EQ(first.weight, 5);
  EXPECT_DOUBLE_EQ(second.weight, 5.0 / 3);
  EXPECT_EQ(mask(MaskPart::first, 0.1).masked, (Flags{0, 0, 0, 0}));
  EXPECT_EQ(mask(MaskPart::second, 0.1).weight, 5.0 / 4);
}

TEST(BlockMask, RatiosAndWeights) {
  std::vector<std::uint32_t> bits;
  for (std::uint32_t i = 0; i < 4096; ++i) bits.push_back(i << 20);
  for (const double t : {0.0, 0.3, 1.0}) {
    const auto share = [&](MaskPart part, float p) {
      const BlockMask mask = block_mask(MaskForm::mask_ratio, part, t, 0.01, bits);
      EXPECT_EQ(mask.p, p);
      EXPECT_DOUBLE_EQ(mask.weight, 1 / double(p));
      return std::count(mask.masked.begin(), mask.masked.end(), 1);
    };
    const float p = mask_probability(t, 0.01);
    EXPECT_EQ(share(MaskPart::alone, p), std::ceil(p * 4096));
    const float both = block_mask(MaskForm::mask_ratio, MaskPart::first, t, 0.01, bits).p;
    EXPECT_NEAR(both, 0.01 + 0.98 * t, 1e-6);  // as far from 1 as from 0
    EXPECT_EQ(share(MaskPart::first, both) + share(MaskPart::second, 1 - both), 4096);
  }
}

// The chance of a subset S, times its weight, is 1 / (|S| C(n,|S|)) for every S: what makes the
// estimate unbiased. Drawn at evenly spread levels, of which each count has an equal share.
TEST(BlockMask, EverySubsetHasItsWeight) {
  constexpr std::int64_t n = 3, draws = 60000;
  const double wanted[] = {0, 1.0 / 3, 1.0 / 6, 1.0 / 3};  // by |S|
  for (const MaskPart part : {MaskPart::alone, MaskPart::first, MaskPart::second}) {
    std::vector<double> sums(1 << n);
    std::vector<std::int64_t> counts(1 << n);
    for (std::int64_t i = 0; i < draws; ++i) {
      const CounterRng rng{9, Purpose::mask, std::uint64_t(i)};
      const std::vector<std::uint32_t> bits = {rng.bits(0), rng.bits(1), rng.bits(2)};
      const BlockMask mask =
          block_mask(MaskForm::mask_count, part, (double(i) + 0.5) / draws, 0, bits);
      const int set = mask.masked[0] | mask.masked[1] << 1 | mask.masked[2] << 2;
      ++counts[std::size_t(set)];
      if (set != 0) sums[std::size_t(set)] += mask.weight / draws;
    }
    for (int set = 1; set < 1 << n; ++set) {
      const std::int64_t size = std::popcount(unsigned(set)), of_size = size == n ? 1 : 3;
      const double share = part == MaskPart::alone ? 1.0 / n : 1.0 / (n + 1);
      EXPECT_TRUE(plausible(counts[std::size_t(set)], std::int64_t(share * draws), 1.0 / of_size))
          << set;
      const double deviation = sums[std::size_t(set)] - wanted[size];
      EXPECT_LT(std::abs(deviation), 0.01) << set;
    }
  }
}

TEST(BlockLevel, SpreadEvenly) {
  for (const double u : {0.0, 0.05, 0.4, 0.999}) {
    std::vector<int> strata(5);
    for (std::int64_t i = 0; i < 5; ++i) {
      const double level = block_level(u, i, 5);
      ASSERT_GE(level, 0);
      ASSERT_LT(level, 1);
      ++strata[std::size_t(level * 5)];
    }
    EXPECT_EQ(strata, std::vector<int>(5, 1)) << u;
    EXPECT_EQ(block_level(u, 0, 1), u);
  }
}

// --- batches ---------------------------------------------------------------------------------

TEST(BlockBatch, ComplementaryViewsMaskEachTokenOnce) {
  const ModelConfig config = block_model(4);
  std::vector<std::int32_t> tokens = some_tokens(3 * kLength);
  for (const MaskForm form : {MaskForm::mask_count, MaskForm::mask_ratio}) {
    NoiseOptions options = noise_for(config, form);
    options.blocks.views = 4;
    options.blocks.complementary = true;
    const LossBatch batch =
        make_noisy_batch(options, Tensor(tokens.data(), {3, kLength}), kLength, 7, 3);
    ASSERT_EQ(batch.sequences, 12);
    for (std::int64_t pair = 0; pair < 6; ++pair)
      for (std::int64_t i = 0; i < kLength; ++i) {
        const std::size_t a = std::size_t(2 * pair * kLength + i), b = a + kLength;
        EXPECT_EQ(batch.masked[a] + batch.masked[b], 1);
        EXPECT_NEAR(batch.p_mask[a] + batch.p_mask[b], 1, 1e-6);
      }
    // Pairs of one sequence differ.
    EXPECT_NE(std::vector(batch.masked.begin(), batch.masked.begin() + kLength),
              std::vector(batch.masked.begin() + 2 * kLength, batch.masked.begin() + 3 * kLength));
  }
}

TEST(BlockBatch, DependsOnSamplesAlone) {
  const ModelConfig config = block_model(4);
  std::vector<std::int32_t> tokens = some_tokens(4 * kLength);
  NoiseOptions options = noise_for(config);
  options.blocks.views = 2;
  options.blocks.sizes = {2, 4, 6};
  const LossBatch all =
      make_noisy_batch(options, Tensor(tokens.data(), {4, kLength}), kLength, 50, 4);
  std::vector<std::int32_t> noisy;
  std::vector<std::int64_t> sizes;
  std::vector<double> weights;
  for (std::int64_t b = 0; b < 4; ++b) {
    const LossBatch one = make_noisy_batch(
        options, Tensor(tokens.data() + b * kLength, {1, kLength}), kLength, 50 + b, 4);
    noisy.insert(noisy.end(), one.tokens.begin(), one.tokens.end());
    weights.insert(weights.end(), one.weights.begin(), one.weights.end());
    sizes.push_back(one.texts.front().block_size);
    EXPECT_EQ(all.texts[std::size_t(b)].block_size, sizes.back());
  }
  EXPECT_EQ(all.tokens, noisy);
  EXPECT_EQ(all.weights, weights);
  // Each size is drawn about equally often.
  std::vector<std::int64_t> drawn(7);
  for (std::int64_t sample = 0; sample < 3000; ++sample)
    ++drawn[std::size_t(block_size_of(options, sample))];
  for (const std::size_t size : {2, 4, 6}) EXPECT_TRUE(plausible(drawn[size], 3000, 1.0 / 3));
}

TEST(BlockBatch, CutLengthsAreWholeBlocks) {
  NoiseOptions options = noise_for(block_model(4));
  options.blocks.sizes = {4, 6};
  std::vector<int> lengths(25);
  for (std::int64_t step = 0; step < 200; ++step)
    ++lengths[std::size_t(step_length(options, step, 24, 1))];
  EXPECT_EQ(lengths[12] + lengths[24], 200);
  EXPECT_GT(lengths[12], 50);
  EXPECT_GT(lengths[24], 50);
}

// --- rows ------------------------------------------------------------------------------------

BlockMask mask_of(std::vector<std::uint8_t> flags) { return {std::move(flags), 2, 0.5f}; }

TEST(BlockRows, OfATextWithThreeBlocks) {
  LossBatch batch;
  const std::vector<std::int32_t> tokens = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  add_clean_text(tokens, 4, batch);
  add_noisy_view(batch);
  mask_tokens(28, 0, mask_of({0, 0, 0, 0}), 1, batch);
  mask_tokens(28, 4, mask_of({0, 1, 0, 1}), 1, batch);
  mask_tokens(28, 8, mask_of({1, 0}), 1, batch);
  add_noisy_view(batch);
  mask_tokens(28, 0, mask_of({1, 0, 0, 0}), 1, batch);
  const BlockRows rows(batch, false);
  using Values = std::vector<std::int32_t>;
  // The second and third block of the first view, the first block of the second, and two clean
  // blocks: the third is read by no one.
  EXPECT_EQ(rows.tokens, (Values{4, 28, 6, 28, 28, 9, 28, 1, 2, 3, 0, 1, 2, 3, 4, 5, 6, 7}));
  EXPECT_EQ(rows.sequences.positions,
            (Values{4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 6, 7}));
  EXPECT_EQ(rows.sequences.offsets, (Values{0, 18}));
  EXPECT_EQ(rows.sequences.logit_rows, (Values{1, 3, 4, 6}));
  EXPECT_EQ(rows.losses, (Values{0, 1, 2, 3}));
  const auto keys = [&](std::size_t row) {
    const KeyIntervals& k = rows.sequences.keys[row];
    return Values{k.begin0, k.end0, k.begin1, k.end1};
  };
  EXPECT_EQ(keys(2), (Values{0, 4, 10, 14}));
  EXPECT_EQ(keys(5), (Values{4, 6, 10, 18}));
  EXPECT_EQ(keys(7), (Values{6, 10, 10, 10}));
  EXPECT_EQ(keys(11), (Values{10, 14, 14, 14}));
  EXPECT_EQ(keys(15), (Values{10, 18, 18, 18}));
  const BlockRows causal(batch, true);
  EXPECT_EQ(causal.sequences.keys[11].end0, 12);
  EXPECT_EQ(causal.sequences.keys[5].end1, 18);  // noisy rows are as before
}

// The first token of a block is predicted at the clean row before it, for both views; a block of
// which no other token is masked has no noisy rows.
TEST(BlockRows, WithShiftedLogits) {
  LossBatch batch;
  const std::vector<std::int32_t> tokens = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  add_clean_text(tokens, 4, batch);
  add_noisy_view(batch);
  mask_tokens(28, 1, mask_of({1, 0, 1}), 1, batch);
  mask_tokens(28, 4, mask_of({1, 0, 1, 0}), 1, batch);
  mask_tokens(28, 8, mask_of({1, 0}), 1, batch);
  add_noisy_view(batch);
  mask_tokens(28, 4, mask_of({1, 0, 0, 0}), 1, batch);
  batch.clean_rows = {1, 3};
  batch.clean_weights = {0.5, 0.25};
  const BlockRows rows(batch, false, true);
  using Values = std::vector<std::int32_t>;
  EXPECT_EQ(rows.tokens, (Values{0, 28, 2, 28, 28, 5, 28, 7, 0, 1, 2, 3, 4, 5, 6, 7}));
  EXPECT_EQ(rows.sequences.logit_rows, (Values{0, 2, 5, 9, 11, 15}));
  EXPECT_EQ(batch.targets, (Values{1, 3, 4, 6, 8, 4}));
  EXPECT_EQ(rows.losses, (Values{0, 1, 4, 2, 5, 4, 3, 4}));
  ModelConfig config = block_model(4, false, true);
  for (const Place place : {Place::host, Place::device}) {
    PaddedBatch padded;
    padded.fill(batch, RowBuckets(32, place), config);
    const auto shared = std::size_t(padded.places[2]);
    EXPECT_EQ(padded.targets[shared], 4);
    EXPECT_EQ(padded.weights[shared], 4.25f);
    EXPECT_EQ(padded.places[5], padded.places[2]);
    EXPECT_EQ(padded.places[7], padded.places[2]);
  }
  LossBatch first;
  add_clean_text(tokens, 4, first);
  add_noisy_view(first);
  mask_tokens(28, 0, mask_of({1, 0}), 1, first);
  EXPECT_TRUE(contains(error_of([&] { BlockRows(first, false, true); }), "first token is masked"));
}

// Noisy rows T B + T (T - B) / 2 pairs, clean ones (T - B) T / 2: T^2 of them, where a dense mask
// would have 4 T^2.
TEST(BlockRows, AttendedPairs) {
  for (const std::int64_t size : {1, 2, 3, 4, 6, 12}) {
    const ModelConfig config = block_model(size);
    std::vector<std::int32_t> tokens = some_tokens(kLength);
    const LossBatch batch =
        make_noisy_batch(noise_for(config), Tensor(tokens.data(), {1, kLength}), kLength, 0, 1);
    const BlockRows rows(batch, false);
    EXPECT_EQ(std::int64_t(rows.tokens.size()), 2 * kLength - size);
    EXPECT_EQ(rows.attended_pairs(), kLength * kLength);
    check(rows.sequences, {2 * kLength, 1, kLength, true}, kLength);
  }
}

// --- against forward passes over single blocks --------------------------------------------------

/// The loss by its definition, and its gradient: for each block and view a pass over the clean
/// tokens before it and the noisy block, at the end of the sequence.
double loss_block_by_block(Trained& t, const LossBatch& batch) {
  double loss = 0;
  std::size_t m = 0;
  std::int64_t first = 0;
  for (std::size_t i = 0; i < batch.texts.size(); ++i) {
    const auto& text = batch.texts[i];
    const std::int64_t end =
        i + 1 < batch.texts.size() ? batch.texts[i + 1].first : std::int64_t(batch.clean.size());
    const std::int64_t length = end - text.first;
    for (std::int64_t view = 0; view < text.views; ++view, first += length)
      for (std::int64_t begin = 0; begin < length; begin += text.block_size) {
        const std::int64_t block_end = std::min(length, begin + text.block_size);
        LossBatch one;
        one.tokens.assign(batch.clean.begin() + text.first,
                          batch.clean.begin() + text.first + begin);
        one.tokens.insert(one.tokens.end(), batch.tokens.begin() + first + begin,
                          batch.tokens.begin() + first + block_end);
        one.sequences = 1;
        one.length = block_end;
        for (; m < batch.rows.size() && batch.rows[m] < first + block_end; ++m) {
          one.rows.push_back(std::int32_t(batch.rows[m] - first - t.config.logits_shift));
          one.targets.push_back(batch.targets[m]);
          one.weights.push_back(batch.weights[m]);
        }
        loss += t.runner.loss_and_gradients(one, t.gradients);
      }
  }
  return loss;
}

class BlockObjective : public ::testing::TestWithParam<std::tuple<int, bool, bool>> {};

TEST_P(BlockObjective, IsThatOfSingleBlocks) {
  const auto [size, causal_context, logits_shift] = GetParam();
  const ModelConfig config = block_model(size, causal_context, logits_shift);
  std::vector<std::int32_t> tokens = some_tokens(2 * kLength);
  NoiseOptions options = noise_for(config, MaskForm::mask_ratio);
  options.blocks.views = 2;
  const LossBatch batch =
      make_noisy_batch(options, Tensor(tokens.data(), {2, kLength}), kLength, 3, 2);
  Trained together(config), apart(config);
  const double loss = together.runner.loss_and_gradients(batch, together.gradients);
  const double expected = loss_block_by_block(apart, batch);
  EXPECT_NEAR(loss, expected, 1e-5 * expected);
  EXPECT_EQ(together.runner.loss(batch), loss);
  expect_same_gradients(together.gradients, apart.gradients, 2e-5);
}

INSTANTIATE_TEST_SUITE_P(Sizes, BlockObjective,
                         ::testing::Combine(::testing::Values(1, 2, 3, 4, 12), ::testing::Bool(),
                                            ::testing::Bool()));

// With shifted logits a block of one token is predicted by the clean row before it: no noisy row,
// and the objective is the autoregressive one.
TEST(BlockDiffusion, ShiftedBlocksOfOneTokenAreAutoregressive) {
  const ModelConfig config = block_model(1, false, true);
  ModelConfig causal_config = config;
  causal_config.attention = Attention::causal;
  causal_config.block_size = 0;
  causal_config.logits_shift = false;
  NoiseOptions options = noise_for(config), next = options;
  options.blocks.views = 2;
  next.objective = Objective::autoregressive;
  std::vector<std::int32_t> tokens = some_tokens(2 * kLength);
  const Tensor clean(tokens.data(), {2, kLength});
  const LossBatch batch = make_noisy_batch(options, clean, kLength, 0, 2);
  const BlockRows rows(batch, false, true);
  EXPECT_EQ(rows.tokens.size(), std::size_t(2 * (kLength - 1)));
  EXPECT_EQ(rows.sequences.logit_rows.size(), std::size_t(2 * (kLength - 1)));
  EXPECT_EQ(rows.losses.size(), batch.rows.size());
  Trained blocks(config), causal(causal_config);
  const double expected = causal.runner.loss_and_gradients(
      make_noisy_batch(next, clean, kLength, 0, 2), causal.gradients);
  EXPECT_NEAR(blocks.runner.loss_and_gradients(batch, blocks.gradients), expected, 1e-5 * expected);
  expect_same_gradients(blocks.gradients, causal.gradients, 2e-5);
}

// With blocks of one token every token is masked, and predicted from those before it and the mask:
// T passes of a causal model.
TEST(BlockDiffusion, BlocksOfOneTokenAreAutoregressive) {
  const ModelConfig config = block_model(1);
  Trained blocks(config);
  std::vector<std::int32_t> tokens = some_tokens(kLength);
  const LossBatch batch =
      make_noisy_batch(noise_for(config), Tensor(tokens.data(), {1, kLength}), kLength, 0, 1);
  EXPECT_EQ(std::int64_t(batch.rows.size()), kLength);

  ModelConfig causal_config = config;
  causal_config.attention = Attention::causal;
  causal_config.block_size = 0;
  Trained causal(causal_config);
  double expected = 0;
  for (std::int64_t i = 0; i < kLength; ++i) {
    LossBatch one;
    one.sequences = 1;
    one.length = i + 1;
    one.tokens.assign(tokens.begin(), tokens.begin() + i);
    one.tokens.push_back(std::int32_t(config.mask_token));
    one.rows = {std::int32_t(i)};
    one.targets = {tokens[std::size_t(i)]};
    one.weights = {1.0 / double(kLength)};
    expected += causal.runner.loss_and_gradients(one, causal.gradients);
  }
  EXPECT_NEAR(blocks.runner.loss_and_gradients(batch, blocks.gradients), expected, 1e-5 * expected);
  expect_same_gradients(blocks.gradients, causal.gradients, 2e-5);
  // And the score of a text is that, in one pass, whatever the number of samples.
  LikelihoodEstimator estimator(cpu(), config, blocks.weights, 40);
  const Likelihood score = estimator.score({{tokens, 0}}, {.samples = 100}).front();
  EXPECT_EQ(score.samples, 1);
  EXPECT_EQ(score.standard_error, 0);
  EXPECT_NEAR(score.nats / double(kLength), expected, 1e-5 * expected);
}

// One block is LLaDA's objective, bit for bit: the same masks, the same rows, no clean ones.
TEST(BlockDiffusion, OneBlockIsMaskedDiffusion) {
  const ModelConfig config = block_model(kLength);
  ModelConfig whole_config = config;
  whole_config.attention = Attention::bidirectional;
  whole_config.block_size = 0;
  std::vector<std::int32_t> tokens = some_tokens(3 * kLength);
  const Tensor clean(tokens.data(), {3, kLength});
  NoiseOptions options = noise_for(config, MaskForm::mask_ratio), masked = options;
  masked.objective = Objective::masked_diffusion;
  const LossBatch a = make_noisy_batch(options, clean, kLength, 11, 3),
                  b = make_noisy_batch(masked, clean, kLength, 11, 3);
  EXPECT_EQ(a.tokens, b.tokens);
  EXPECT_EQ(a.masked, b.masked);
  EXPECT_EQ(a.rows, b.rows);
  Trained blocks(config), whole(whole_config);
  EXPECT_NEAR(blocks.runner.loss(a), whole.runner.loss(b), 1e-12);
  EXPECT_EQ(blocks.runner.row_losses(), whole.runner.row_losses());
  // Weights are rounded to f32 in the backward pass.
  blocks.runner.loss_and_gradients(a, blocks.gradients);
  whole.runner.loss_and_gradients(b, whole.gradients);
  expect_same_gradients(blocks.gradients, whole.gradients, 1e-6);
}

// The gradient of n views on one clean stream is the sum of theirs alone.
TEST(BlockDiffusion, ViewsShareTheCleanStream) {
  const ModelConfig config = block_model(3);
  std::vector<std::int32_t> tokens = some_tokens(kLength);
  NoiseOptions options = noise_for(config);
  options.blocks.views = 4;
  options.blocks.complementary = true;
  const LossBatch batch =
      make_noisy_batch(options, Tensor(tokens.data(), {1, kLength}), kLength, 0, 1);
  Trained together(config), apart(config);
  const double loss = together.runner.loss_and_gradients(batch, together.gradients);
  EXPECT_LE(std::int64_t(BlockRows(batch, false).tokens.size()), 5 * kLength);
  double sum = 0;
  std::size_t m = 0;
  for (std::int64_t view = 0; view < 4; ++view) {
    LossBatch one;
    add_clean_text(tokens, 3, one);
    add_noisy_view(one);
    std::copy_n(batch.tokens.begin() + view * kLength, kLength, one.tokens.begin());
    for (; m < batch.rows.size() && batch.rows[m] < (view + 1) * kLength; ++m) {
      one.rows.push_back(std::int32_t(batch.rows[m] - view * kLength));
      one.targets.push_back(batch.targets[m]);
      one.weights.push_back(batch.weights[m]);
    }
    sum += apart.runner.loss_and_gradients(one, apart.gradients);
  }
  EXPECT_NEAR(loss, sum, 1e-5 * sum);
  expect_same_gradients(together.gradients, apart.gradients, 2e-5);
}

// The loss on the clean tokens is that of a causal model with the same weights.
TEST(BlockDiffusion, AutoregressiveLossOfTheCleanStream) {
  const ModelConfig config = block_model(4, true);
  std::vector<std::int32_t> tokens = some_tokens(2 * kLength);
  const Tensor clean(tokens.data(), {2, kLength});
  NoiseOptions options = noise_for(config), with = options;
  with.blocks.autoregressive_weight = 0.7;
  const LossBatch plain = make_noisy_batch(options, clean, kLength, 0, 2),
                  both = make_noisy_batch(with, clean, kLength, 0, 2);
  EXPECT_EQ(plain.tokens, both.tokens);

  ModelConfig causal_config = config;
  causal_config.attention = Attention::causal;
  causal_config.block_size = 0;
  causal_config.causal_context = false;
  NoiseOptions next = options;
  next.objective = Objective::autoregressive;
  LossBatch following = make_noisy_batch(next, clean, kLength, 0, 2);
  for (double& w : following.weights) w = 0.7 / double(2 * kLength);
  Trained sum(config), blocks(config), causal(causal_config);
  const double expected = blocks.runner.loss_and_gradients(plain, blocks.gradients) +
                          causal.runner.loss_and_gradients(following, blocks.gradients);
  EXPECT_NEAR(sum.runner.loss_and_gradients(both, sum.gradients), expected, 1e-5 * expected);
  expect_same_gradients(sum.gradients, blocks.gradients, 2e-5);
  // Rows of the clean stream have losses after those of the noisy one.
  ASSERT_EQ(sum.runner.row_losses().size(), both.rows.size() + both.clean_rows.size());
  EXPECT_NEAR(double(sum.runner.row_losses()[both.rows.size()]),
              double(causal.runner.row_losses()[0]), 1e-4);
}

// --- against PyTorch --------------------------------------------------------------------------

/// A case of scripts/golden/block_diffusion.py.
class GoldenBlocks : public GoldenLoss {
 protected:
  GoldenBlocks() : GoldenLoss("block_diffusion_") {
    config_.attention = Attention::block_causal;
    config_.block_size = number("block_size");
    config_.max_seq_length = 60;
    config_.causal_context = number("causal_context") != 0;
    config_.logits_shift = golden_.metadata("logits_shift") == "1";
    options_.logits_shift = config_.logits_shift;
    options_.objective = Objective::block_diffusion;
    std::istringstream sizes(golden_.metadata("sizes"));
    for (std::int64_t size; sizes >> size;) options_.blocks.sizes.push_back(size);
    options_.blocks.form = number("ratios") ? MaskForm::mask_ratio : MaskForm::mask_count;
    options_.blocks.views = number("views");
    options_.blocks.complementary = number("complementary") != 0;
    options_.blocks.autoregressive_weight = std::stod(golden_.metadata("autoregressive_weight"));
  }
  LossBatch batch(std::int64_t first, std::int64_t count) {
    return make_noisy_batch(options_, golden_["clean"].row_range(first, count), number("length"),
                            number("first_sample") + first, number("sequences_in_step"));
  }
};

TEST_P(GoldenBlocks, MasksLossAndGradients) {
  const std::int64_t sequences = golden_["clean"].rows();
  ObjectiveRunner runner(
      cpu(), config_, weights_,
      block_limits(options_.blocks, sequences * number("length"), sequences, true));
  const LossBatch all = batch(0, sequences);
  ASSERT_NO_FATAL_FAILURE(expect_masked(all));
  EXPECT_NEAR(runner.loss_and_gradients(all, gradients_), loss(), loss() * tolerance(forward()));
  expect_gradients();
  // One sequence at a time.
  cpu().fill(gradients_.flat(), 0);
  double sum = 0;
  for (std::int64_t b = 0; b < sequences; ++b)
    sum += runner.loss_and_gradients(batch(b, 1), gradients_);
  EXPECT_NEAR(sum, loss(), loss() * tolerance(forward()));
  expect_gradients();
}

INSTANTIATE_TEST_SUITE_P(Cases, GoldenBlocks,
                         ::testing::Values("counts", "pairs_of_counts", "pairs_of_ratios",
                                           "shifted_counts", "shifted_pairs"));

// --- against all masks -------------------------------------------------------------------------

/// The bound of a text with every subset of a block's tokens masked in turn, the same in all
/// blocks: 2^B - 1 passes. Sum over S of 1 / (|S| C(B,|S|)) times the cross-entropies in S.
double exact_bound(Trained& t, const PromptedText& text) {
  const std::int64_t size = t.config.block_size, length = std::int64_t(text.tokens.size());
  double bound = 0;
  for (std::uint32_t set = 1; set < 1u << size; ++set) {
    LossBatch batch;
    add_clean_text(text.tokens, size, batch);
    add_noisy_view(batch);
    for (std::int64_t block = text.prompt / size; block * size < length; ++block) {
      const std::int64_t begin = std::max(block * size, text.prompt),
                         end = std::min((block + 1) * size, length), n = end - begin;
      if (set >> n != 0) continue;  // a subset of more tokens than there are
      BlockMask mask;
      for (std::int64_t i = 0; i < n; ++i) mask.masked.push_back(set >> i & 1);
      const std::int64_t l = std::popcount(set);
      mask.weight =
          std::exp(std::lgamma(l + 1) + std::lgamma(n - l + 1) - std::lgamma(n + 1)) / double(l);
      mask_tokens(std::int32_t(t.config.mask_token), begin, mask, 1, batch);
    }
    bound += t.runner.loss(batch);
  }
  return bound;
}

/// The same with shifted logits, from the canvases of sampling: finished blocks, and one with every
/// subset of its tokens masked in turn.
double bound_of_canvases(Trained& t, const PromptedText& text) {
  const std::int64_t size = t.config.block_size, length = std::int64_t(text.tokens.size());
  double bound = 0;
  for (std::int64_t begin = text.prompt; begin < length;) {
    const std::int64_t end = std::min(length, (begin / size + 1) * size), n = end - begin;
    for (std::uint32_t set = 1; set < 1u << n; ++set) {
      LossBatch canvas;
      canvas.sequences = 1;
      canvas.length = end;
      canvas.tokens.assign(text.tokens.begin(), text.tokens.begin() + end);
      const BlockMask mask = block_subset(set, n);
      for (std::int64_t i = 0; i < n; ++i) {
        if (!mask.masked[std::size_t(i)]) continue;
        canvas.rows.push_back(std::int32_t(begin + i - 1));
        canvas.targets.push_back(text.tokens[std::size_t(begin + i)]);
        canvas.weights.push_back(mask.weight);
        canvas.tokens[std::size_t(begin + i)] = std::int32_t(t.config.mask_token);
      }
      bound += t.runner.loss(canvas);
    }
    begin = end;
  }
  return bound;
}

/// p(tokens from `at` on | those before) of a sampler that fills blocks one token at a time, each
/// open position equally likely: a sum over all orders.
double probability(Trained& t, std::vector<std::int32_t> canvas, std::vector<std::int64_t> open,
                   const std::vector<std::int32_t>& tokens) {
  const std::int64_t size = t.config.block_size;
  if (open.empty()) {
    const auto begin = std::int64_t(canvas.size());
    if (begin == std::int64_t(tokens.size())) return 1;
    for (std::int64_t i = begin;
         i < std::min<std::int64_t>(begin + size, std::int64_t(tokens.size())); ++i) {
      canvas.push_back(std::int32_t(t.config.mask_token));
      open.push_back(i);
    }
  }
  LossBatch pass;
  pass.sequences = 1;
  pass.length = std::int64_t(canvas.size());
  pass.tokens = canvas;
  for (const std::int64_t i : open) {
    pass.rows.push_back(std::int32_t(i - 1));
    pass.targets.push_back(tokens[std::size_t(i)]);
    pass.weights.push_back(1);
  }
  t.runner.loss(pass);
  const std::vector<float> losses = t.runner.row_losses();
  double sum = 0;
  for (std::size_t i = 0; i < open.size(); ++i) {
    std::vector<std::int32_t> next = canvas;
    std::vector<std::int64_t> left = open;
    next[std::size_t(open[i])] = tokens[std::size_t(open[i])];
    left.erase(left.begin() + std::ptrdiff_t(i));
    sum += std::exp(-double(losses[i])) * probability(t, next, left, tokens);
  }
  return sum / double(open.size());
}

// All texts of four tokens of a tiny vocabulary in blocks of two, the first token given: what the
// sampler writes is a distribution, and a score is a bound on it for every text.
TEST(BlockDiffusion, ShiftedScoresBoundTheSamplersDistribution) {
  ModelConfig config = block_model(2, false, true);
  config.vocab_size = 5;
  config.mask_token = 4;
  config.eos_token = 3;
  Trained t(config);
  LikelihoodEstimator estimator(cpu(), config, t.weights, 64);
  double sum = 0, gap = 0;
  for (std::int32_t code = 0; code < 125; ++code) {
    const std::vector<std::int32_t> tokens = {2, code % 5, code / 5 % 5, code / 25};
    const std::int32_t mask = std::int32_t(config.mask_token);
    const double p = probability(t, {2, mask}, {1}, tokens);
    const Likelihood score = estimator.score({{tokens, 1}}, {}).front();
    EXPECT_EQ(score.standard_error, 0);
    EXPECT_GE(score.nats, -std::log(p) - 1e-5) << code;
    EXPECT_NEAR(score.nats, bound_of_canvases(t, {tokens, 1}), 1e-4) << code;
    sum += p;
    gap = std::max(gap, score.nats + std::log(p));
  }
  EXPECT_NEAR(sum, 1, 1e-5);
  EXPECT_GT(gap, 1e-3);  // the orders differ
}

/// Mean and standard error.
struct Estimate {
  double mean, error;
};
Estimate mean_of(const std::vector<double>& x) {
  double sum = 0, square = 0;
  for (const double v : x) sum += v, square += v * v;
  const auto n = double(x.size());
  const double mean = sum / n;
  return {mean, std::sqrt((square / n - mean * mean) / (n - 1))};
}

class TrainingBound : public ::testing::TestWithParam<bool> {};

TEST_P(TrainingBound, IsEstimated) {
  const bool logits_shift = GetParam();
  const ModelConfig config = block_model(4, false, logits_shift);
  Trained t(config, 400);
  std::vector<std::int32_t> tokens = some_tokens(kLength);
  const double exact =
      logits_shift ? bound_of_canvases(t, {tokens, 1}) : exact_bound(t, {tokens, 0});
  const double predicted = double(kLength - logits_shift);
  double single_error = 0;
  for (const MaskForm form : {MaskForm::mask_count, MaskForm::mask_ratio})
    for (const auto& [views, complementary] : {std::pair{1, false}, {3, false}, {2, true}}) {
      NoiseOptions options = noise_for(config, form);
      options.min_mask_probability = 0;
      options.blocks.views = views;
      options.blocks.complementary = complementary;
      std::vector<double> losses;
      for (std::int64_t sample = 0; sample < 600; ++sample)
        losses.push_back(predicted *
                         t.runner.loss(make_noisy_batch(
                             options, Tensor(tokens.data(), {1, kLength}), kLength, sample, 1)));
      const Estimate e = mean_of(losses);
      EXPECT_LT(std::abs(e.mean - exact), 4 * e.error)
          << word_of(form) << ", " << views << " views: " << e.mean << " +- " << e.error << " for "
          << exact;
      EXPECT_LT(e.error, 0.04 * exact);
      if (views == 1 && form == MaskForm::mask_count) single_error = e.error;
      if (views > 1 && form == MaskForm::mask_count) {
        EXPECT_LT(e.error, single_error);
      }
    }
}

INSTANTIATE_TEST_SUITE_P(Shift, TrainingBound, ::testing::Bool());

// With no more subsets than samples all are computed, and there is no error.
TEST(BlockDiffusion, ScoresAreExactWhereAllSubsetsAreFew) {
  const ModelConfig config = block_model(4);
  Trained t(config);
  const std::vector<PromptedText> texts = {
      {some_tokens(11), 2}, {some_tokens(9, 6), 4}, {some_tokens(7, 7), 5}, {some_tokens(4, 8), 3}};
  const std::int64_t subsets[] = {15, 15, 3, 1};
  for (const std::int64_t rows : {100, 12}) {
    LikelihoodEstimator estimator(cpu(), config, t.weights, rows);
    const std::vector<Likelihood> scores = estimator.score(texts, {.samples = 15});
    for (std::size_t i = 0; i < texts.size(); ++i) {
      EXPECT_EQ(scores[i].samples, subsets[i]) << i;
      EXPECT_EQ(scores[i].standard_error, 0) << i;
      const double exact = exact_bound(t, texts[i]);
      EXPECT_NEAR(scores[i].nats, exact, 1e-5 * exact) << i;
    }
    const Likelihood estimate = estimator.score({texts[0]}, {.samples = 14}).front();
    EXPECT_EQ(estimate.samples, 14);
    EXPECT_GT(estimate.standard_error, 0);
  }
}

// With shifted logits too; without a prompt the first token follows the end token.
TEST(BlockDiffusion, ShiftedScoresAreTheBound) {
  const ModelConfig config = block_model(4, false, true);
  Trained t(config);
  const std::vector<PromptedText> texts = {
      {some_tokens(11), 2}, {some_tokens(9, 6), 4}, {some_tokens(7, 7), 5}, {some_tokens(6, 8), 0}};
  std::vector<PromptedText> given = texts;
  given[3].tokens.insert(given[3].tokens.begin(), std::int32_t(config.eos_token));
  given[3].prompt = 1;
  for (const std::int64_t rows : {100, 12}) {
    LikelihoodEstimator estimator(cpu(), config, t.weights, rows);
    const std::vector<Likelihood> scores = estimator.score(texts, {.samples = 15}),
                                  rough = estimator.score(texts, {.samples = 12});
    for (std::size_t i = 0; i < texts.size(); ++i) {
      const double exact = bound_of_canvases(t, given[i]);
      EXPECT_NEAR(scores[i].nats, exact, 1e-5 * exact) << i;
      EXPECT_EQ(scores[i].standard_error, 0) << i;
      EXPECT_EQ(scores[i].tokens, texts[i].response()) << i;
      EXPECT_LT(std::abs(rough[i].nats - exact), 5 * rough[i].standard_error + 1e-4) << i;
    }
  }
}

// A prompt that ends within a block, and a last block that is not whole.
TEST(BlockDiffusion, ScoresEstimateTheExactBound) {
  const ModelConfig config = block_model(6);
  Trained t(config);
  const std::vector<PromptedText> texts = {{some_tokens(11), 2},
                                           {some_tokens(9, 6), 4},
                                           {some_tokens(12, 7), 0},
                                           {some_tokens(4, 8), 3}};
  LikelihoodEstimator estimator(cpu(), config, t.weights, 100);
  for (const bool stratified : {true, false}) {
    const LikelihoodOptions options{.samples = 30, .stratified = stratified};
    const std::vector<Likelihood> scores = estimator.score(texts, options);
    for (std::size_t i = 0; i < texts.size(); ++i) {
      const double exact = exact_bound(t, texts[i]);
      EXPECT_LT(std::abs(scores[i].nats - exact), 4 * scores[i].standard_error + 1e-4) << i;
      EXPECT_EQ(scores[i].tokens, texts[i].response());
    }
    EXPECT_EQ(scores[3].samples, 1);  // a single token
    EXPECT_GT(scores[0].standard_error, 0);
    EXPECT_LT(scores[0].standard_error, 0.1 * scores[0].nats);
    // Neither other texts nor the rows of a pass change a result.
    LikelihoodEstimator small(cpu(), config, t.weights, 12);
    EXPECT_NEAR(small.score({texts[1]}, options, 1).front().nats, scores[1].nats,
                1e-5 * scores[1].nats);
  }
  const LikelihoodOptions ratios{.form = MaskForm::mask_ratio, .samples = 2000};
  const Likelihood score = estimator.score({texts[0]}, ratios).front();
  EXPECT_LT(std::abs(score.nats - exact_bound(t, texts[0])), 4 * score.standard_error);
}

// --- responses ---------------------------------------------------------------------------------

TEST(BlockResponses, PromptsAreCleanAndTheirBlocksLeftOut) {
  const ModelConfig config = block_model(4);
  NoiseOptions options = noise_for(config);
  options.blocks.views = 2;
  const std::vector<std::int32_t> text = some_tokens(9);
  std::vector<ResponseExample> examples = {{{text, 6}, 3, 40}, {{some_tokens(5, 9), 1}, 0, 41}};
  const LossBatch batch = make_response_batch(options, examples, 27, 2);
  using Values = std::vector<std::int32_t>;
  EXPECT_EQ(batch.offsets, (Values{0, 12, 24, 29, 34}));
  EXPECT_EQ(batch.samples, (std::vector<std::int64_t>{40, 40, 41, 41}));
  ASSERT_EQ(batch.response.size(), 34u);
  for (std::size_t row = 0; row < 34; ++row) {
    const bool second = row >= 24;
    const std::size_t i = second ? (row - 24) % 5 : row % 12;
    const bool response = second ? i >= 1 : i >= 6;
    EXPECT_EQ(batch.response[row], response) << row;
    if (!response) {
      EXPECT_EQ(batch.masked[row], 0);
      EXPECT_EQ(batch.p_mask[row], 0);
    }
    if (!second && i >= 9) {
      EXPECT_EQ(batch.clean[i], 27);
    }
  }
  // weight p_mask A examples views = 1 for every masked token, as there is one count per block.
  for (std::size_t m = 0; m < batch.rows.size(); ++m) {
    const auto row = std::size_t(batch.rows[m]);
    EXPECT_NEAR(batch.weights[m] * double(batch.p_mask[row]) * (row < 24 ? 6 : 4) * 2 * 2, 1, 1e-6);
  }
  // Blocks 1 and 2 of the first, and their clean context; of the second all but its last block.
  const BlockRows rows(batch, false);
  EXPECT_EQ(rows.sequences.offsets, (Values{0, 2 * 8 + 8, 24 + 2 * 5 + 4}));
  // The objective is the sum of single blocks here too.
  Trained together(config), apart(config);
  const double loss = together.runner.loss_and_gradients(batch, together.gradients),
               expected = loss_block_by_block(apart, batch);
  EXPECT_NEAR(loss, expected, 1e-5 * expected);
  expect_same_gradients(together.gradients, apart.gradients, 2e-5);
}

// A prompt that ends within a block or with one, and no prompt.
TEST(BlockResponses, WithShiftedLogitsAreThoseOfSingleBlocks) {
  const ModelConfig config = block_model(4, false, true);
  NoiseOptions options = noise_for(config);
  options.blocks.views = 2;
  options.blocks.complementary = true;
  const std::vector<ResponseExample> examples = {{{some_tokens(11), 5}, 1, 3},
                                                 {{some_tokens(9, 6), 4}, 0, 4},
                                                 {{some_tokens(10, 7), 0}, 0, 5}};
  const LossBatch batch = make_response_batch(options, examples, std::int32_t(config.eos_token), 3);
  EXPECT_EQ(batch.shift, 0);
  Trained together(config), apart(config);
  const double loss = together.runner.loss_and_gradients(batch, together.gradients);
  const double expected = loss_block_by_block(apart, batch);
  EXPECT_NEAR(loss, expected, 1e-5 * expected);
  expect_same_gradients(together.gradients, apart.gradients, 2e-5);
}

TEST(BlockResponses, OneBlockIsThatOfMaskedDiffusion) {
  const ModelConfig config = block_model(12);
  NoiseOptions options = noise_for(config, MaskForm::mask_ratio), masked = options;
  masked.objective = Objective::masked_diffusion;
  std::vector<ResponseExample> examples = {{{some_tokens(9), 6}, 3, 40},
                                           {{some_tokens(5, 9), 1}, 0, 41}};
  const LossBatch a = make_response_batch(options, examples, 27, 2),
                  b = make_response_batch(masked, examples, 27, 2);
  EXPECT_EQ(a.tokens, b.tokens);
  EXPECT_EQ(a.offsets, b.offsets);
  EXPECT_EQ(a.rows, b.rows);
  for (std::size_t m = 0; m < a.rows.size(); ++m) EXPECT_DOUBLE_EQ(a.weights[m], b.weights[m]);
}

// --- padding -----------------------------------------------------------------------------------

TEST(PaddedBatch, OfBlockDiffusion) {
  const ModelConfig config = block_model(4, true);
  std::vector<std::int32_t> tokens = some_tokens(2 * kLength);
  NoiseOptions options = noise_for(config);
  options.blocks.autoregressive_weight = 1;
  const LossBatch batch =
      make_noisy_batch(options, Tensor(tokens.data(), {2, kLength}), kLength, 0, 2);
  const BlockRows rows(batch, true);
  const RowBuckets buckets(96, Place::device);
  PaddedBatch padded;
  padded.fill(batch, buckets, config);
  const ModelLimits limits = buckets.with_padding({96, 2, 96, true}, config.max_seq_length);
  check(padded.sequences, limits, config.max_seq_length);
  EXPECT_EQ(padded.sequences.rows(), buckets.padded(std::int64_t(rows.tokens.size())));
  ASSERT_EQ(padded.places.size(), rows.losses.size());
  // The loss by hand from a padded pass.
  Trained plain(config);
  const double expected = plain.runner.loss(batch);
  Model model(cpu(), config, plain.weights, limits);
  Head head(cpu(), config, plain.weights, 8);
  std::vector<float> losses(padded.targets.size());
  head.loss(tensor_of(losses), model.forward(tensor_of(padded.tokens), padded.sequences),
            tensor_of(padded.targets));
  double loss = 0;
  for (std::size_t i = 0; i < losses.size(); ++i)
    loss += double(padded.weights[i]) * double(losses[i]);
  EXPECT_NEAR(loss, expected, 1e-5 * expected);
  EXPECT_TRUE(contains(error_of([&] { padded.fill(batch, RowBuckets(40, Place::device), config); }),
                       "rows where at most 40 were announced"));
}

TEST(BlockDiffusion, NeedsAMaskTokenAndASize) {
  NoiseOptions options = noise_for(block_model(4));
  std::vector<std::int32_t> tokens = some_tokens(4);
  const auto made = [&] {
    return error_of([&] { make_noisy_batch(options, Tensor(tokens.data(), {1, 4}), 4, 0, 1); });
  };
  options.mask_token = -1;
  EXPECT_EQ(made(), "the block_diffusion objective needs model.mask_token, which is -1");
  options.mask_token = 28;
  options.blocks.sizes = {};
  EXPECT_EQ(made(), "block diffusion without a block size");
}

}  // namespace
}  // namespace lacuna
