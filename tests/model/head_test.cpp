#include "model/head.h"

#include "tests/model/support.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

class Heads : public ::testing::TestWithParam<std::int64_t> {
 protected:
  static constexpr std::int64_t M = 11, C = 24, V = 29;
  Heads() : config_(tiny_config()), weights_(cpu().memory(), config_, "weights") {
    randomise(weights_, 3);
    const CounterRng rng{4, Purpose::benchmark};
    for (std::uint32_t i = 0; i < M * C; ++i) hidden_.push_back(float(rng.normal_pair(i)[0]));
    for (std::uint32_t m = 0; m < M; ++m) {
      targets_.push_back(std::int32_t(rng.below(V, 5000 + m)));
      row_weights_.push_back(rng.uniform(30000 + m));
    }
  }
  Tensor hidden() { return tensor_of(hidden_).reshaped({M, C}); }

  ModelConfig config_;
  ModelTensors weights_;
  std::vector<float> hidden_, row_weights_;
  std::vector<std::int32_t> targets_;
};

// In f64, from the definition.
TEST_P(Heads, LossAndGradient) {
  std::vector<double> losses(M), d_hidden(M * C), d_head(V * C);
  const float* w = weights_.head.as<float>();
  for (std::int64_t m = 0; m < M; ++m) {
    std::vector<double> logits(V);
    double sum = 0;
    for (std::int64_t v = 0; v < V; ++v) {
      for (std::int64_t c = 0; c < C; ++c)
        logits[std::size_t(v)] += double(hidden_[std::size_t(m * C + c)]) * double(w[v * C + c]);
      sum += std::exp(logits[std::size_t(v)]);
    }
    const auto target = std::size_t(targets_[std::size_t(m)]);
    losses[std::size_t(m)] = std::log(sum) - logits[target];
    for (std::int64_t v = 0; v < V; ++v) {
      const double p = std::exp(logits[std::size_t(v)]) / sum;
      const double d =
          double(row_weights_[std::size_t(m)]) * (p - (std::size_t(v) == target ? 1 : 0));
      for (std::int64_t c = 0; c < C; ++c) {
        d_hidden[std::size_t(m * C + c)] += d * double(w[v * C + c]);
        d_head[std::size_t(v * C + c)] += d * double(hidden_[std::size_t(m * C + c)]);
      }
    }
  }
  Head head(cpu(), config_, weights_, GetParam());
  std::vector<float> found(M), only_loss(M), found_d_head(V * C, 0.0f), apart(M * C);
  head.loss(tensor_of(only_loss), hidden(), tensor_of(targets_));
  head.loss_and_gradient(tensor_of(found), tensor_of(apart).reshaped({M, C}),
                         tensor_of(found_d_head).reshaped({V, C}), hidden(), tensor_of(targets_),
                         tensor_of(row_weights_));
  // Two products in a row, of sums of at most 29 terms.
  const double tolerance = 4 * 2 * (std::sqrt(29.0) + 4) * kUnit;
  EXPECT_LT(relative_error(tensor_of(found), tensor_of(losses)), tolerance);
  EXPECT_LT(relative_error(tensor_of(only_loss), tensor_of(losses)), tolerance);
  EXPECT_LT(relative_error(tensor_of(apart), tensor_of(d_hidden)), tolerance);
  EXPECT_LT(relative_error(tensor_of(found_d_head), tensor_of(d_head)), tolerance);

  // Gradients of the hidden states in their own memory; those of the head are added up.
  head.loss_and_gradient(tensor_of(found), hidden(), tensor_of(found_d_head).reshaped({V, C}),
                         hidden(), tensor_of(targets_), tensor_of(row_weights_));
  EXPECT_TRUE(same_bits(tensor_of(hidden_), tensor_of(apart)));
  for (double& d : d_head) d *= 2;
  EXPECT_LT(relative_error(tensor_of(found_d_head), tensor_of(d_head)), tolerance);
}

TEST_P(Heads, NoRows) {
  Head head(cpu(), config_, weights_, GetParam());
  std::vector<float> none, d_head(V * C, 0.5f);
  const Tensor empty(static_cast<float*>(nullptr), {0, C});
  const std::vector<std::int32_t> no_targets;
  head.loss_and_gradient(tensor_of(none), empty, tensor_of(d_head).reshaped({V, C}), empty,
                         tensor_of(no_targets), tensor_of(none));
  for (const float d : d_head) EXPECT_EQ(d, 0.5f);
}

INSTANTIATE_TEST_SUITE_P(Chunks, Heads, ::testing::Values(1, 3, 4, 11, 64));

TEST(HeadLogits, TwoBuffers) {
  Tiny tiny(tiny_config(), {5, 3}, {2, 6, 7});
  const Tensor hidden = tiny.forward();
  Head head(cpu(), tiny.config, *tiny.weights, 3, nullptr, HeadUse::logits);
  const Tensor first = head.logits(hidden), second = head.second_logits(hidden);
  EXPECT_NE(first.data, second.data);
  EXPECT_EQ(first.shape, (Shape{3, 29}));
  EXPECT_TRUE(same_bits(first, second));
  Head small(cpu(), tiny.config, *tiny.weights, 2, nullptr, HeadUse::logits);
  EXPECT_TRUE(contains(error_of([&] { small.logits(hidden); }), "logits of 3 rows"));
  EXPECT_TRUE(contains(error_of([&] { Head(cpu(), tiny.config, *tiny.weights, 0); }), "0 rows"));
}

TEST(HeadLogits, AHeadIsMadeForOneUse) {
  Tiny tiny(tiny_config(), {5, 3}, {2, 6, 7});
  const Tensor hidden = tiny.forward();
  std::vector<float> losses(3);
  const std::vector<std::int32_t> targets(3);
  Head for_loss(cpu(), tiny.config, *tiny.weights, 3),
      for_logits(cpu(), tiny.config, *tiny.weights, 3, nullptr, HeadUse::logits);
  EXPECT_TRUE(contains(error_of([&] { for_loss.logits(hidden); }), "made for a loss"));
  EXPECT_TRUE(
      contains(error_of([&] { for_logits.loss(tensor_of(losses), hidden, tensor_of(targets)); }),
               "made for whole logits"));
}

// LLaDA's vocabulary over 4 ranks is 31,616 ids and a column for the others', others are of unequal
// numbers; 64 elements are a multiple of 16 bytes in every type.
TEST(HeadLogits, RowsBeginAtMultiplesOf64Elements) {
  ModelConfig config = tiny_config(false, false, 4);
  for (const std::int64_t vocab : {29, 64, 65, 126464})
    for (const int ranks : {1, 2, 4})
      for (int rank = 0; rank < ranks; ++rank) {
        config.vocab_size = vocab;
        const Plan plan = Head::plan(config, 5, DType::bf16, {rank, ranks});
        const std::int64_t stride = plan.entries().front().shape[1],
                           columns = ShardDims(config, {rank, ranks}).ids + (ranks > 1);
        EXPECT_EQ(stride % 64, 0) << vocab << ' ' << ranks;
        EXPECT_GE(stride, columns) << vocab << ' ' << ranks;
        EXPECT_LT(stride, columns + 64) << vocab << ' ' << ranks;
        const Plan gathered = VocabParallelLogits::plan(config, 5, DType::bf16, ranks);
        EXPECT_EQ(gathered.entries().front().shape.count() % (5 * ranks * 64), 0);
      }
}

// Few shapes of products: whatever M, pieces are multiples of the unit that divides it, and at most
// as long as a chunk.
TEST(HeadLogits, PiecesAreWholeUnits) {
  class Recorder final : public CpuOps {
   public:
    Recorder() : CpuOps(1) {}
    void cross_entropy_forward(Tensor loss, Tensor logits, Tensor targets) override {
      pieces.push_back(logits.rows());
      CpuOps::cross_entropy_forward(loss, logits, targets);
    }
    std::vector<std::int64_t> pieces;
  } ops;
  const ModelConfig config = tiny_config();
  ModelTensors weights(ops.memory(), config, "weights");
  const auto pieces_of = [&](std::int64_t rows, std::int64_t chunk, std::int64_t unit) {
    std::vector<float> losses(std::size_t(rows), 0.0f),
        hidden(std::size_t(rows * config.hidden_size), 0.0f);
    const std::vector<std::int32_t> targets(std::size_t(rows), 0);
    ops.pieces.clear();
    Head(ops, config, weights, chunk, nullptr, HeadUse::loss, unit)
        .loss(tensor_of(losses), tensor_of(hidden).reshaped({rows, config.hidden_size}),
              tensor_of(targets));
    return ops.pieces;
  };
  using Pieces = std::vector<std::int64_t>;
  EXPECT_EQ(pieces_of(48, 48, 16), (Pieces{48}));
  EXPECT_EQ(pieces_of(48, 47, 16), (Pieces{16, 32}));
  EXPECT_EQ(pieces_of(80, 35, 16), (Pieces{16, 32, 32}));
  EXPECT_EQ(pieces_of(80, 10, 16), (Pieces(8, 10)));   // no unit fits a chunk
  EXPECT_EQ(pieces_of(90, 48, 16), (Pieces{48, 42}));  // the last piece ends with the rows
  EXPECT_EQ(pieces_of(11, 4, 1), (Pieces{3, 4, 4}));
}

TEST(HeadChunks, AreAFewMegabytes) {
  ModelConfig config;
  config.vocab_size = 4096;
  EXPECT_EQ(head_chunk_rows(config), 4096);
  config.vocab_size = 126464;
  EXPECT_EQ(head_chunk_rows(config), 132);
  config.vocab_size = 10'000'000;
  EXPECT_EQ(head_chunk_rows(config), 32);
}

}  // namespace
}  // namespace lacuna
