#include "model/adapter.h"

#include <set>

#include "core/block_formats.h"
#include "model/inference_weights.h"
#include "tests/model/support.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

/// A small model with adapters beside its weights, and their gradients.
struct Adapted {
  Tiny tiny;
  LoraConfig lora;
  ModelTensors adapters, gradients;

  Adapted(const ModelConfig& config, const LoraConfig& of)
      : tiny(config, {5, 3, 7}, {0, 4, 6, 7, 8, 12, 14}),
        lora(of),
        adapters(cpu().memory(), WeightLayout(config, of, {}), "weights", DType::f32),
        gradients(cpu().memory(), WeightLayout(config, of, {}), "gradients", DType::f32) {
    randomise(adapters, 5);
    cpu().axpby(adapters.flat(), 0.4f, adapters.flat(),
                0);  // no larger than what they are added to
    use(*tiny.weights);
  }
  void use(const ModelWeights& base, const Recompute& recompute = {}) {
    ModelLimits limits = tiny.limits(true);
    limits.recompute = recompute;
    tiny.model = std::make_unique<Model>(
        cpu(), tiny.config, with_adapters(base, adapters, float(lora.scale())), limits);
  }
  void backward() {
    cpu().fill(gradients.flat(), 0);
    tiny.backward(gradients);
  }
};

/// Of each adapted matrix: its place among the model's weights, and A's and B's among the
/// adapters'.
struct Place {
  std::size_t matrix, a, b;
};
std::vector<Place> places(const Adapted& x) {
  const auto find = [](const ModelTensors& tensors, const WeightSpec* spec, int block) {
    for (std::size_t i = 0; i < tensors.named().size(); ++i)
      if (tensors.named()[i].spec == spec && tensors.named()[i].block == block) return i;
    return tensors.named().size();
  };
  std::vector<Place> all;
  for (const NamedWeight& a : x.adapters.named())
    if (a.spec->role == WeightRole::lora_a) {
      const AdapterSpec& adapter = adapter_of(*a.spec);
      all.push_back({find(*x.tiny.weights, adapter.target, a.block),
                     find(x.adapters, &adapter.a, a.block), find(x.adapters, &adapter.b, a.block)});
    }
  return all;
}

struct Family {
  const char* name;
  std::vector<std::string> targets;
  bool causal = false, tied = false;
  int kv_heads = 2;
  bool qkv_bias = false, qk_norm = false;
  double alpha = 6;

  ModelConfig config() const {
    ModelConfig c = tiny_config(causal, tied, kv_heads);
    c.qkv_bias = qkv_bias;
    c.qk_norm = qk_norm;
    return c;
  }
  LoraConfig lora() const { return {.rank = 3, .alpha = alpha, .targets = targets}; }
};

class Adapters : public ::testing::TestWithParam<Family> {};

// W + s B A in place of W gives the same loss, and its gradient dW gives theirs: dB = s dW A^T, dA
// = s B^T dW.
TEST_P(Adapters, AreTheSumOfProducts) {
  Adapted x(GetParam().config(), GetParam().lora());
  const double loss = x.tiny.loss(), s = x.lora.scale();
  x.backward();
  Tiny merged(x.tiny.config, {5, 3, 7}, x.tiny.sequences.logit_rows);
  const std::vector<Place> all = places(x);
  ASSERT_EQ(all.size(), 3 * GetParam().targets.size());
  for (const Place& at : all) {
    const Tensor w = merged.weights->named()[at.matrix].tensor, a = x.adapters.named()[at.a].tensor,
                 b = x.adapters.named()[at.b].tensor;
    for (std::int64_t o = 0; o < w.rows(); ++o)
      for (std::int64_t i = 0; i < w.cols(); ++i) {
        double sum = w.as<float>()[o * w.cols() + i];
        for (std::int64_t r = 0; r < 3; ++r)
          sum += s * double(b.as<float>()[o * 3 + r]) * double(a.as<float>()[r * a.cols() + i]);
        w.as<float>()[o * w.cols() + i] = float(sum);
      }
  }
  EXPECT_NEAR(loss, merged.loss(), 1e-5 * loss);
  merged.backward();
  for (const Place& at : all) {
    const Tensor dw = merged.gradients->named()[at.matrix].tensor;
    const NamedWeight &a = x.adapters.named()[at.a], &b = x.adapters.named()[at.b];
    std::vector<double> da(std::size_t(a.tensor.count())), db(std::size_t(b.tensor.count()));
    for (std::int64_t o = 0; o < dw.rows(); ++o)
      for (std::int64_t i = 0; i < dw.cols(); ++i)
        for (std::int64_t r = 0; r < 3; ++r) {
          const double g = s * double(dw.as<float>()[o * dw.cols() + i]);
          da[std::size_t(r * dw.cols() + i)] += g * double(b.tensor.as<float>()[o * 3 + r]);
          db[std::size_t(o * 3 + r)] += g * double(a.tensor.as<float>()[r * dw.cols() + i]);
        }
    // Through three blocks in f32.
    const auto& g = x.gradients.named();
    EXPECT_LT(relative_error(g[at.a].tensor, Tensor(da.data(), a.tensor.shape)), 2e-5) << a.name;
    EXPECT_LT(relative_error(g[at.b].tensor, Tensor(db.data(), b.tensor.shape)), 2e-5) << b.name;
  }
}

TEST_P(Adapters, GradientsOverwrite) {
  Adapted x(GetParam().config(), GetParam().lora());
  expect_overwrites(x.tiny, x.gradients);
}

TEST_P(Adapters, WhatIsComputedAgainChangesNoBit) {
  Adapted x(GetParam().config(), GetParam().lora());
  x.backward();
  const std::vector<float> expected = elements(x.gradients.flat());
  for (const Recompute& again :
       {Recompute{.gate_up = true}, Recompute{.qkv = true}, Recompute{.gate_up = true, .qkv = true},
        Recompute{.block = true}}) {
    x.use(*x.tiny.weights, again);
    x.backward();
    EXPECT_EQ(elements(x.gradients.flat()), expected);
  }
}

const std::vector<std::string> kAll = {"q_proj",  "k_proj",  "v_proj", "attn_out",
                                       "ff_proj", "up_proj", "ff_out"};
INSTANTIATE_TEST_SUITE_P(
    Models, Adapters,
    ::testing::Values(Family{"all", kAll}, Family{"two", {"q_proj", "v_proj"}},
                      Family{"keys", {"k_proj", "up_proj"}, true},
                      Family{"tied", kAll, false, true, 1},
                      Family{"biased", kAll, false, false, 4, true},
                      Family{"normed", kAll, true, false, 4, false, true},
                      Family{"unscaled", {"ff_out"}, false, false, 2, false, false, 0}),
    [](const auto& test) { return test.param.name; });

/// The weights of a model with matrices of the blocks in a format, rounded from `from`.
std::unique_ptr<InferenceWeights> held_as(MatrixFormat format, const ModelConfig& config,
                                          const ModelTensors& from) {
  std::vector<WeightStorage> storage;
  for (const ModelWeight& w : model_weights(config))
    storage.push_back({w.block >= 0 && w.shape.rank == 2 ? format : MatrixFormat::f32});
  auto held = std::make_unique<InferenceWeights>(cpu().memory(), config, DType::f32, storage);
  for (std::size_t i = 0; i < held->allocated().size(); ++i) {
    const InferenceWeights::Allocated& a = held->allocated()[i];
    const Tensor w = from.named()[i].tensor;
    round_to(a.format, w.as<float>(), w.count(), a.bytes.data);
  }
  return held;
}

ModelConfig of_blocks() {
  ModelConfig c = tiny_config();
  c.hidden_size = 256;
  c.num_heads = 4;
  c.intermediate_size = 256;
  return c;
}

// A frozen matrix of another format is one of its elements in f32: the same bits.
TEST(FrozenWeights, OfAnyFormatAreTheirElements) {
  const ModelConfig config = of_blocks();
  Adapted x(config, {.rank = 3, .alpha = 6, .targets = kAll});
  for (const MatrixFormat format :
       {MatrixFormat::bf16, MatrixFormat::f16, MatrixFormat::q8_0, MatrixFormat::q4_0,
        MatrixFormat::q4_k, MatrixFormat::q5_k, MatrixFormat::q6_k}) {
    SCOPED_TRACE(text_of(format));
    const auto held = held_as(format, config, *x.tiny.weights);
    x.use(held->views());
    const double loss = x.tiny.loss();
    x.backward();
    const std::vector<float> gradients = elements(x.gradients.flat());
    EXPECT_GT(x.tiny.model->limits().weights.dequantised, 0);
    ModelTensors same(cpu().memory(), config, "weights");
    for (std::size_t i = 0; i < held->allocated().size(); ++i) {
      const InferenceWeights::Allocated& a = held->allocated()[i];
      dequantise(a.format, a.bytes.data, same.named()[i].tensor.count(),
                 same.named()[i].tensor.as<float>());
    }
    x.use(same);
    EXPECT_EQ(x.tiny.loss(), loss);
    x.backward();
    EXPECT_EQ(elements(x.gradients.flat()), gradients);
  }
}

TEST(FrozenWeights, SomeRowsAtATime) {
  const std::int64_t rows = 10, cols = 64;
  const CounterRng rng{3, Purpose::benchmark, 0};
  std::vector<float> w(rows * cols), x(2 * cols), dy(2 * rows), y(2 * rows), dx(2 * cols);
  std::uint32_t drawn = 0;
  for (std::vector<float>* values : {&w, &x, &dy})
    for (float& value : *values) value = float(rng.normal_pair(drawn++)[0]);
  std::vector<std::uint8_t> blocks(std::size_t(rows * bytes_of_row(MatrixFormat::q8_0, cols)));
  quantise(MatrixFormat::q8_0, w.data(), rows * cols, blocks.data());
  dequantise(MatrixFormat::q8_0, blocks.data(), rows * cols, w.data());
  const Matrix stored(blocks.data(), rows, cols, MatrixFormat::q8_0);
  std::vector<float> room(3 * cols + 5);  // of three rows
  const auto matrix = [](std::vector<float>& v, std::int64_t n) {
    return Tensor(v.data(), {std::int64_t(v.size()) / n, n});
  };
  linear_forward(cpu(), matrix(y, rows), matrix(x, cols), stored, tensor_of(room));
  linear_backward_input(cpu(), matrix(dx, cols), matrix(dy, rows), stored, tensor_of(room));
  for (std::size_t n = 0; n < 2; ++n) {
    for (std::size_t o = 0; o < rows; ++o) {
      double sum = 0;
      for (std::size_t i = 0; i < cols; ++i) sum += double(x[n * cols + i]) * w[o * cols + i];
      EXPECT_NEAR(y[n * rows + o], sum, 1e-4);
    }
    for (std::size_t i = 0; i < cols; ++i) {
      double sum = 0;
      for (std::size_t o = 0; o < rows; ++o) sum += double(dy[n * rows + o]) * w[o * cols + i];
      EXPECT_NEAR(dx[n * cols + i], sum, 1e-4);
    }
  }
  EXPECT_EQ(dequantised_elements({24576, 4096}), 16384 * 4096);
  EXPECT_EQ(dequantised_elements({3, 4096}), 3 * 4096);
  EXPECT_EQ(dequantised_elements({3, std::int64_t{1} << 27}), std::int64_t{1} << 27);
}

TEST(AdapterTensors, AreDividedAsTheirMatricesAre) {
  const ModelConfig config = tiny_config();
  const LoraConfig lora{.rank = 3, .targets = kAll};
  const ModelTensors half(cpu().memory(), WeightLayout(config, lora, {1, 2}), "weights",
                          DType::f32);
  std::set<std::string> whole;
  for (const NamedWeight& w : half.named()) {
    const AdapterSpec& adapter = adapter_of(*w.spec);
    const bool is_a = w.spec->role == WeightRole::lora_a,
               outputs = adapter.target->axis == ParallelAxis::rows;
    const Shape target = adapter.target->shape(config);
    EXPECT_EQ(w.whole, is_a ? (Shape{3, target[1]}) : (Shape{target[0], 3})) << w.name;
    const std::string name = adapter.target->name(NameScheme::llada, w.block);
    EXPECT_EQ(w.name, name.substr(0, name.size() - 6) + (is_a ? "lora_A.weight" : "lora_B.weight"));
    EXPECT_EQ(w.replicated(), is_a == outputs) << w.name;
    EXPECT_EQ(w.tensor.count(), w.whole.count() / (w.replicated() ? 1 : 2)) << w.name;
    EXPECT_EQ(w.row + w.col, w.replicated() ? 0 : (is_a ? w.whole[1] : w.whole[0]) / 2) << w.name;
    EXPECT_EQ(w.kind(), WeightKind::matrix);
  }
  const Adapter& qkv = half.blocks[1].adapters.qkv;
  ASSERT_EQ(qkv.parts.size(), 3u);
  EXPECT_EQ(qkv.a.shape, (Shape{9, 24}));
  EXPECT_EQ(qkv.parts[0].row, 0);
  EXPECT_EQ(qkv.parts[1].row, 12);  // this rank's: two query heads of 6, then a key head
  EXPECT_EQ(qkv.parts[2].row, 18);
  const Adapter keys = qkv.row_range(12, 12);
  ASSERT_EQ(keys.parts.size(), 2u);
  EXPECT_EQ(keys.a.data, qkv.a.row_range(3, 6).data);
  EXPECT_EQ(keys.a.shape, (Shape{6, 24}));
  EXPECT_EQ(keys.parts[1].row, 6);
  EXPECT_TRUE(half.are_adapters());
  EXPECT_EQ(half.units().size(), 3u);
  EXPECT_EQ(half.block_unit(0).begin, 0);
  EXPECT_EQ(half.units().back().end(), half.flat().count());
}

}  // namespace
}  // namespace lacuna
