#pragma once
#include <cmath>
#include <cstring>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "core/philox.h"
#include "core/tensor_of.h"
#include "kernels/cpu/cpu_ops.h"
#include "model/head.h"
#include "model/model.h"
#include "tests/support/support.h"

namespace lacuna::testing {

inline constexpr double kUnit = 0x1p-24;  // the largest relative error of one f32 rounding

inline Ops& cpu() {
  static CpuOps ops(2);
  return ops;
}

/// A backend that reads weights in f32 alone.
class F32Ops final : public CpuOps {
 public:
  F32Ops() : CpuOps(1) {}
  bool reads(MatrixFormat format, DType dtype) const override {
    return format == MatrixFormat::f32 && dtype == DType::f32;
  }
};

/// ||a - b|| / ||b|| over all elements, in f64. a f32; b f32 or f64.
inline double relative_error(const Tensor& a, const Tensor& b) {
  CHECK(a.count() == b.count(), a, " against ", b);
  double difference = 0, size = 0;
  for (std::int64_t i = 0; i < a.count(); ++i) {
    const double x = double(a.as<float>()[i]);
    const double y = b.dtype == DType::f64 ? b.as<double>()[i] : double(b.as<float>()[i]);
    difference += (x - y) * (x - y);
    size += y * y;
  }
  return std::sqrt(difference / size);
}
inline double norm(const Tensor& t) {
  double sum = 0;
  for (std::int64_t i = 0; i < t.count(); ++i)
    sum += double(t.as<float>()[i]) * double(t.as<float>()[i]);
  return std::sqrt(sum);
}
inline ::testing::AssertionResult same_bits(const Tensor& a, const Tensor& b) {
  if (a.count() != b.count()) return ::testing::AssertionFailure() << a << " against " << b;
  for (std::int64_t i = 0; i < a.count(); ++i)
    if (std::memcmp(a.as<float>() + i, b.as<float>() + i, sizeof(float)) != 0)
      return ::testing::AssertionFailure() << "element " << i << " of " << a << ": "
                                           << a.as<float>()[i] << " and " << b.as<float>()[i];
  return ::testing::AssertionSuccess();
}

/// A copy of the elements.
inline std::vector<float> elements(const Tensor& t) {
  return {t.as<float>(), t.as<float>() + t.count()};
}

/// Drawn as PyTorch's in scripts/golden/model.py: large enough that nothing is nearly linear.
inline void randomise(ModelTensors& weights, std::uint64_t seed) {
  for (std::size_t i = 0; i < weights.named().size(); ++i) {
    const NamedWeight& w = weights.named()[i];
    const CounterRng rng{seed, Purpose::benchmark, i};
    const double scale =
        w.kind() == WeightKind::norm ? 0.3 : 1.5 / std::sqrt(double(w.tensor.cols()));
    for (std::int64_t e = 0; e < w.tensor.count(); ++e)
      w.tensor.as<float>()[e] = float(scale * rng.normal_pair(std::uint32_t(e))[0] +
                                      (w.kind() == WeightKind::norm ? 1 : 0));
  }
}

/// A small model with all it needs, and a batch: ids, targets and row weights drawn from `seed`.
struct Tiny {
  ModelConfig config;
  std::unique_ptr<ModelTensors> weights, gradients;
  Sequences sequences;
  std::vector<std::int32_t> tokens, targets;
  std::vector<float> row_weights;
  std::unique_ptr<Model> model;
  std::unique_ptr<Head> head;

  Tiny(const ModelConfig& c, const std::vector<int>& lengths, std::vector<std::int32_t> rows,
       bool training = true, std::uint64_t seed = 1)
      : config(c) {
    weights = std::make_unique<ModelTensors>(cpu().memory(), c, "weights");
    gradients = std::make_unique<ModelTensors>(cpu().memory(), c, "gradients");
    randomise(*weights, seed);
    sequences.offsets = {0};
    for (int length : lengths) sequences.offsets.push_back(sequences.offsets.back() + length);
    sequences.logit_rows = std::move(rows);
    const CounterRng rng{seed, Purpose::benchmark, 1u << 20};
    for (std::int64_t i = 0; i < sequences.rows(); ++i)
      tokens.push_back(std::int32_t(rng.below(std::uint64_t(c.vocab_size), std::uint32_t(i))));
    for (std::uint32_t i = 0; i < sequences.logit_rows.size(); ++i) {
      targets.push_back(std::int32_t(rng.below(std::uint64_t(c.vocab_size), 1000 + i)));
      row_weights.push_back(0.1f + rng.uniform(8000 + i));
    }
    model = std::make_unique<Model>(cpu(), config, *weights, limits(training));
    head = std::make_unique<Head>(cpu(), config, *weights, 3);  // so that the rows take several
  }
  ModelLimits limits(bool training) const {
    return {sequences.rows(), sequences.count(), std::int64_t(sequences.logit_rows.size()),
            training};
  }

  Tensor forward() { return model->forward(tensor_of(tokens), sequences); }
  /// sum_m row_weights[m] CE[m], in f64 over losses in f32.
  double loss() {
    std::vector<float> losses(targets.size());
    head->loss(tensor_of(losses), forward(), tensor_of(targets));
    double sum = 0;
    for (std::size_t m = 0; m < losses.size(); ++m)
      sum += double(row_weights[m]) * double(losses[m]);
    return sum;
  }
  /// Adds to `sum`, or overwrites it.
  void backward(ModelTensors& sum, GradMode mode = GradMode::accumulate) {
    std::vector<float> losses(targets.size());
    const Tensor hidden = forward();
    head->loss_and_gradient(tensor_of(losses), hidden, sum.head, hidden, tensor_of(targets),
                            tensor_of(row_weights), mode);
    model->backward(sum, hidden, {}, mode);
  }
  void backward() { backward(*gradients); }
};

/// That gradients which overwrite NaN are those which are added to 0, bit for bit.
inline void expect_overwrites(Tiny& tiny, ModelTensors& gradients) {
  cpu().fill(gradients.flat(), 0);
  tiny.backward(gradients);
  const std::vector<float> expected = elements(gradients.flat());
  for (const NamedWeight& w : gradients.named()) cpu().fill(w.tensor, NAN);  // not the gaps
  tiny.backward(gradients, GradMode::overwrite);
  std::vector<float> found = elements(gradients.flat());
  for (float& x : found) x += 0.0f;  // -0, which 0 + -0 is not, counts as 0
  EXPECT_EQ(found, expected);
}

inline ModelConfig tiny_config(bool causal = false, bool tied = false, int kv_heads = 2) {
  ModelConfig c;
  c.vocab_size = 29;
  c.num_layers = 3;
  c.hidden_size = 24;
  c.num_heads = 4;
  c.num_kv_heads = kv_heads;
  c.intermediate_size = 36;
  c.max_seq_length = 16;
  c.tie_embeddings = tied;
  c.attention = causal ? Attention::causal : Attention::bidirectional;
  return c;
}

inline std::vector<std::int32_t> every_row(std::int64_t n) {
  std::vector<std::int32_t> rows(static_cast<std::size_t>(n));
  std::iota(rows.begin(), rows.end(), 0);
  return rows;
}

}  // namespace lacuna::testing
