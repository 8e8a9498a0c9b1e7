#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "core/tensor_of.h"
#include "model/head.h"
#include "model/model.h"
#include "tests/cuda/support.h"
#include "training/optimizer.h"

// Training steps of small models, on any backend.

namespace lacuna::testing {

inline constexpr double kLearningRate = 1e-2;

inline ModelConfig tiny(std::int64_t width, std::int64_t heads, std::int64_t kv_heads,
                        Attention attention = Attention::bidirectional) {
  ModelConfig c;
  c.vocab_size = 101;
  c.num_layers = 2;
  c.hidden_size = width;
  c.num_heads = heads;
  c.num_kv_heads = kv_heads;
  c.intermediate_size = 88;
  c.max_seq_length = 64;
  c.mask_token = 100;
  c.attention = attention;
  return c;
}

/// A tensor on the device, of elements held on the host.
template <class T>
struct Mirror {
  Mirror(Ops& ops, const std::vector<T>& values) {
    Plan plan;
    const Slot slot = plan.add("test/values", {std::int64_t(values.size())}, dtype_of<T>);
    arena = std::make_unique<Arena>(ops.memory(), plan);
    tensor = (*arena)[slot];
    ops.copy(tensor, tensor_of(values));
  }
  std::unique_ptr<Arena> arena;
  Tensor tensor;
};

inline std::vector<float> read(Ops& ops, const Tensor& t) {
  std::vector<float> values(std::size_t(t.count()));
  ops.copy(Tensor(values.data(), t.shape), t);
  ops.synchronize();
  return values;
}

struct Batch {
  Sequences sequences;
  std::vector<std::int32_t> tokens, targets;
  std::vector<float> weights;
};
/// Sequences of 17, 1 and 30 tokens, every second one masked.
inline Batch batch_of(const ModelConfig& config, std::uint64_t seed) {
  Batch b;
  b.sequences.offsets = {0, 17, 18, 48};
  b.tokens = integers(48, config.vocab_size - 1, seed);
  for (std::int32_t i = 0; i < 48; i += 2) {
    b.sequences.logit_rows.push_back(i);
    b.targets.push_back(b.tokens[std::size_t(i)]);
    b.tokens[std::size_t(i)] = std::int32_t(config.mask_token);
    b.weights.push_back(float(i % 5 + 1) / 48);
  }
  return b;
}

/// Training on one backend, in f32 or in bf16 with f32 master weights and gradients.
struct Training {
  Training(Ops& o, const ModelConfig& c, DType type, const Recompute& recompute = {},
           bool fp8 = false)
      : ops(o),
        config(c),
        weights(o.memory(), c, "weights", type),
        gradients(o.memory(), c, "gradients"),
        optimizer(o, OptimizerConfig{}, weights),
        model(o, c, weights, {48, 3, 24, true, 0, recompute, fp8}),
        head(o, c, weights, 7) {}

  /// Losses of the rows; gradients are left for inspection.
  std::vector<float> step(const Batch& b, std::int64_t number) {
    ops.fill(gradients.flat(), 0);
    const Mirror<std::int32_t> tokens(ops, b.tokens), targets(ops, b.targets);
    const Mirror<float> row_weights(ops, b.weights);
    const Mirror<float> losses(ops, std::vector<float>(b.targets.size()));
    const Tensor hidden = model.forward(tokens.tensor, b.sequences);
    head.loss_and_gradient(losses.tensor, hidden, gradients.head, hidden, targets.tensor,
                           row_weights.tensor);
    model.backward(gradients, hidden);
    optimizer.measure(gradients);
    optimizer.update(gradients, kLearningRate, number);
    norm = optimizer.gradient_norm();
    return read(ops, losses.tensor);
  }

  Ops& ops;
  const ModelConfig config;
  ModelTensors weights, gradients;
  Optimizer optimizer;
  Model model;
  Head head;
  double norm = 0;
};

}  // namespace lacuna::testing
