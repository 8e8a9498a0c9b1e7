#include "training/optimizer.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <sstream>
#include <string>
#include <tuple>

#include "core/half.h"
#include "core/philox.h"
#include "kernels/cpu/cpu_ops.h"
#include "model_io/tensor_io.h"
#include "tests/support/golden.h"
#include "tests/support/support.h"
#include "tests/training/support.h"
#include "training/buckets.h"

namespace lacuna {
namespace {

using testing::Golden;
using testing::same_bits;

/// The model of scripts/golden/optimizer.py.
ModelConfig golden_model() {
  ModelConfig config;
  config.vocab_size = 10;
  config.num_layers = 2;
  config.hidden_size = 8;
  config.num_heads = 2;
  config.num_kv_heads = 1;
  config.intermediate_size = 12;
  return config;
}

OptimizerConfig golden_optimizer() {
  OptimizerConfig config;
  config.beta1 = 0.9;
  config.beta2 = 0.95;
  config.eps = 1e-8;
  config.weight_decay = 0.1;
  config.clip_norm = 1.0;
  return config;
}

/// A number for each element of the whole model, the same on every layout.
float gradient_of(std::uint64_t weight, std::int64_t row, std::int64_t col) {
  return float(
      CounterRng{11, Purpose::benchmark, weight}.normal_pair(std::uint32_t(row * 1000 + col))[0]);
}

void fill_from(const ModelTensors& tensors, const Golden& golden, const std::string& group) {
  for (const NamedWeight& w : tensors.named())
    std::memcpy(w.tensor.data, golden[group + "/" + w.name].data, std::size_t(w.tensor.bytes()));
}

/// Both sides round to f32: within 2e-6 of the tensor's scale, some steps' worth of roundings.
void expect_near(const ModelTensors& weights, const OptimizerShard& tensors, const Golden& golden,
                 const std::string& group) {
  for (const NamedWeight& w : weights.named())
    EXPECT_EQ(
        golden.has(group + "/" + w.name),
        std::any_of(tensors.pieces().begin(), tensors.pieces().end(),
                    [&](const WeightPiece& p) { return weights.named()[p.weight].name == w.name; }))
        << w.name;
  for (const WeightPiece& piece : tensors.pieces()) {
    const NamedWeight& w = weights.named()[piece.weight];
    ASSERT_EQ(piece.values.count(), w.tensor.count());
    const float* expected = golden[group + "/" + w.name].as<float>();
    float scale = 0, worst = 0;
    for (std::int64_t i = 0; i < w.tensor.count(); ++i) {
      scale = std::max(scale, std::fabs(expected[i]));
      worst = std::max(worst, std::fabs(piece.values.as<float>()[i] - expected[i]));
    }
    EXPECT_LE(worst, 2e-6f * scale) << group << "/" << w.name;
  }
}

void expect_matches_torch(const std::string& setting, const OptimizerConfig& config) {
  const Golden golden("optimizer");
  CpuOps ops(1);
  const ModelTensors weights(ops.memory(), golden_model(), "weights");
  const ModelTensors gradients(ops.memory(), golden_model(), "gradients");
  Optimizer optimizer(ops, config, weights);
  fill_from(weights, golden, "initial");
  std::istringstream rates(golden.metadata("learning_rates"));
  const int steps = std::stoi(golden.metadata("steps"));
  for (int step = 0; step < steps; ++step) {
    double rate = 0;
    rates >> rate;
    fill_from(gradients, golden, "gradient." + std::to_string(step));
    const double expected = golden["norms"].as<double>()[step];
    optimizer.measure(gradients);
    EXPECT_NEAR(optimizer.gradient_norm(), expected, 1e-6 * expected);
    optimizer.update(gradients, rate, step + 1);
  }
  expect_near(weights, optimizer.master(), golden, setting + ".weights");
  expect_near(weights, optimizer.first_moment(), golden, setting + ".first_moment");
  expect_near(weights, optimizer.second_moment(), golden, setting + ".second_moment");
}

TEST(Optimizer, MatchesTorchWhenMatricesDecay) {
  expect_matches_torch("plain", golden_optimizer());
}

// AdamW for the embedding, the head and norms; the matrices of the blocks have no second moment.
TEST(Optimizer, MatchesTorchWithMuon) {
  OptimizerConfig config = golden_optimizer();
  config.name = OptimizerName::muon;
  expect_matches_torch("muon", config);
}

TEST(Optimizer, MatchesTorchWhenAllDecays) {
  OptimizerConfig config = golden_optimizer();
  config.decay_norms = config.decay_embeddings = true;
  expect_matches_torch("all", config);
}

/// With a zero gradient the moments stay 0, and an update is decay alone: w -= lr decay w.
class Decay : public ::testing::Test {
 protected:
  /// Names of the weights that shrank, of all ones.
  std::vector<std::string> shrunk(OptimizerConfig config, bool tied) {
    ModelConfig model = golden_model();
    model.tie_embeddings = tied;
    CpuOps ops(1);
    const ModelTensors weights(ops.memory(), model, "weights");
    const ModelTensors gradients(ops.memory(), model, "gradients");
    for (const NamedWeight& w : weights.named()) ops.fill(w.tensor, 1);
    Optimizer optimizer(ops, config, weights);
    optimizer.measure(gradients);
    EXPECT_EQ(optimizer.gradient_norm(), 0);
    optimizer.update(gradients, 0.5, 1);
    std::vector<std::string> names;
    for (const NamedWeight& w : weights.named()) {
      const float value = w.tensor.as<float>()[0];
      if (value != 1) {
        EXPECT_FLOAT_EQ(value, 0.95f) << w.name;  // 1 - 0.5 * 0.1
        names.push_back(w.name);
      }
    }
    return names;
  }
  static int norms(const std::vector<std::string>& names) {
    int n = 0;
    for (const std::string& name : names)
      n += name.find("norm") != std::string::npos || name.find("ln_f") != std::string::npos;
    return n;
  }
  static bool has(const std::vector<std::string>& names, const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  }
  const std::string embedding_ = "model.transformer.wte.weight";
  const std::string head_ = "model.transformer.ff_out.weight";
};

TEST_F(Decay, MatricesAloneByDefault) {
  const auto names = shrunk(golden_optimizer(), false);
  EXPECT_EQ(names.size(), 2 * 7 + 1);  // q, k, v, out, gate, up and down of two blocks; the head
  EXPECT_EQ(norms(names), 0);
  EXPECT_FALSE(has(names, embedding_));
  EXPECT_TRUE(has(names, head_));
}

TEST_F(Decay, NormsAndEmbeddingsWhenAsked) {
  OptimizerConfig config = golden_optimizer();
  config.decay_norms = true;
  EXPECT_EQ(norms(shrunk(config, false)), 2 * 2 + 1);
  EXPECT_FALSE(has(shrunk(config, false), embedding_));
  config.decay_norms = false;
  config.decay_embeddings = true;
  EXPECT_TRUE(has(shrunk(config, false), embedding_));
  EXPECT_EQ(norms(shrunk(config, false)), 0);
}

TEST_F(Decay, ATiedHeadIsAnEmbedding) {
  OptimizerConfig config = golden_optimizer();
  EXPECT_EQ(shrunk(config, true).size(), 2 * 7);
  config.decay_embeddings = true;
  EXPECT_EQ(shrunk(config, true).size(), 2 * 7 + 1);
}

TEST(Optimizer, DoesNothingWhenTheNormIsNotFinite) {
  CpuOps ops(1);
  const ModelTensors weights(ops.memory(), golden_model(), "weights");
  const ModelTensors before(ops.memory(), golden_model(), "before");
  const ModelTensors gradients(ops.memory(), golden_model(), "gradients");
  initialise(const_cast<ModelTensors&>(weights), golden_model(), 1, ops);
  Optimizer optimizer(ops, golden_optimizer(), weights);
  ops.fill(gradients.flat(), 0.1f);
  optimizer.measure(gradients);
  EXPECT_TRUE(std::isfinite(optimizer.gradient_norm()));
  optimizer.update(gradients, 1e-2, 1);
  ops.copy(before.flat(), weights.flat());
  const std::vector<float> moment(
      optimizer.first_moment().flat().as<float>(),
      optimizer.first_moment().flat().as<float>() + optimizer.first_moment().flat().count());
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
        -std::numeric_limits<float>::infinity()}) {
    gradients.named()[3].tensor.as<float>()[5] = bad;
    optimizer.measure(gradients);
    EXPECT_FALSE(std::isfinite(optimizer.gradient_norm()));
    optimizer.update(gradients, 1e-2, 2);
    EXPECT_TRUE(same_bits(weights, before));
    EXPECT_EQ(std::memcmp(moment.data(), optimizer.first_moment().flat().data,
                          moment.size() * sizeof(float)),
              0);
  }
}

TEST(Optimizer, ZeroClipNormDoesNotClip) {
  CpuOps ops(1);
  OptimizerConfig config = golden_optimizer();
  config.clip_norm = 0;
  const ModelTensors weights(ops.memory(), golden_model(), "weights");
  const ModelTensors gradients(ops.memory(), golden_model(), "gradients");
  Optimizer optimizer(ops, config, weights);
  ops.fill(gradients.embedding, 100);
  optimizer.measure(gradients);
  EXPECT_NEAR(optimizer.gradient_norm(), 100 * std::sqrt(80.0), 1e-3);
  optimizer.update(gradients, 1e-2, 1);
  // m = (1 - beta1) g
  EXPECT_NEAR(optimizer.first_moment().flat().as<float>()[0], 0.1 * 100, 1e-4);
}

// bf16 moments have the same bits however the weights are divided: among data parallel ranks, or by
// rows and columns among those of a tensor parallel group.
TEST(Optimizer, Bf16MomentsDoNotDependOnTheLayout) {
  ModelConfig model = golden_model();
  model.num_kv_heads = 2;
  OptimizerConfig config = golden_optimizer();
  config.moments_dtype = Precision::bf16;
  config.clip_norm = 0;
  CpuOps ops(1);
  struct Element {
    float w, m, v;
    bool operator==(const Element&) const = default;
  };
  using Elements = std::map<std::tuple<std::size_t, std::int64_t, std::int64_t>, Element>;
  const auto trained = [&](Elements& all, TensorParallelShard share, int ranks, int rank) {
    const FlatLayout layout{Buckets::multiple(ranks)};
    ModelTensors weights(ops.memory(), model, "weights", DType::f32, share, layout),
        gradients(ops.memory(), model, "gradients", DType::f32, share, layout);
    const Buckets buckets(weights.flat().count(), ranks, 700);
    const std::vector<FlatRange> parts = buckets.parts(rank);
    Optimizer optimizer(ops, config, weights, {parts, parts, nullptr}, 21);
    for (const WeightPiece& piece : pieces_within(gradients, {{0, gradients.flat().count()}}))
      for_boxes(gradients.named()[piece.weight], piece, 1 << 20,
                [&](std::int64_t row, std::int64_t col, Tensor box) {
                  for (std::int64_t i = 0; i < box.count(); ++i)
                    box.as<float>()[i] =
                        gradient_of(piece.weight, row + i / box.cols(), col + i % box.cols());
                });
    for (int step = 1; step <= 3; ++step) {
      optimizer.measure(gradients);
      optimizer.update(gradients, 1e-2, step);
    }
    EXPECT_EQ(optimizer.first_moment().dtype(), DType::bf16);
    EXPECT_EQ(optimizer.bytes(), 2 * 2 * optimizer.first_moment().flat().count());
    for (std::size_t i = 0; i < optimizer.master().pieces().size(); ++i) {
      const WeightPiece &w = optimizer.master().pieces()[i],
                        &m = optimizer.first_moment().pieces()[i],
                        &v = optimizer.second_moment().pieces()[i];
      const NamedWeight& named = weights.named()[w.weight];
      std::int64_t at = 0;
      for_boxes(named, w, 1 << 20, [&](std::int64_t row, std::int64_t col, Tensor box) {
        for (std::int64_t e = 0; e < box.count(); ++e, ++at)
          all[{w.weight, row + e / box.cols(), col + e % box.cols()}] = {
              w.values.as<float>()[at], to_float(m.values.as<BFloat16>()[at]),
              to_float(v.values.as<BFloat16>()[at])};
      });
    }
  };
  Elements alone, divided, shared;
  trained(alone, {}, 1, 0);
  for (int rank = 0; rank < 3; ++rank) trained(divided, {}, 3, rank);
  for (int index = 0; index < 2; ++index)
    for (int rank = 0; rank < 2; ++rank) trained(shared, {index, 2}, 2, rank);
  EXPECT_TRUE(divided == alone);
  EXPECT_TRUE(shared == alone);
}

}  // namespace
}  // namespace lacuna
