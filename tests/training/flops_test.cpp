#include "training/flops.h"

#include <gtest/gtest.h>

#include "core/arena.h"
#include "model/weights.h"

namespace lacuna {
namespace {

ModelConfig model() {
  ModelConfig m;
  m.vocab_size = 50;
  m.num_layers = 3;
  m.hidden_size = 24;
  m.num_heads = 6;
  m.num_kv_heads = 2;
  m.intermediate_size = 40;
  return m;
}

double matrix_parameters(const ModelConfig& m) {
  const ModelTensors weights(host_memory(), m, "weights");
  double n = 0;
  for (const NamedWeight& w : weights.named())
    if (w.kind() == WeightKind::matrix) n += double(w.tensor.count());
  return n;
}

// With every token predicted: 6 per matrix weight and token, and per layer, query and key 12 C.
TEST(Flops, EveryTokenPredicted) {
  const ModelConfig m = model();
  const double N = 5 * 16;
  EXPECT_DOUBLE_EQ(training_flops(m, 5, 16, 5 * 16),
                   6 * N * matrix_parameters(m) + 12 * 3 * 24 * N * 16);
}

TEST(Flops, CausalAttentionSeesHalf) {
  ModelConfig m = model();
  m.attention = Attention::causal;
  // Queries 1 … 16 see 1 … 16 keys: 136 in all.
  EXPECT_DOUBLE_EQ(training_flops(m, 5, 16, 5 * 16),
                   6 * 80 * matrix_parameters(m) + 12 * 3 * 24 * 5 * 136);
}

// A token that is not predicted spares the head and, in the last block, all but its key and value.
TEST(Flops, WhatATokenThatIsNotPredictedSpares) {
  const ModelConfig m = model();
  const double spared = 6 * (50 * 24 + 2 * 24 * 24 + 3 * 24 * 40) + 12 * 24 * 16;
  EXPECT_DOUBLE_EQ(training_flops(m, 5, 16, 80) - training_flops(m, 5, 16, 79), spared);
}

// All but the head's products and attention; with a product done again, that one.
TEST(Flops, OfTheBlocksMatrices) {
  const ModelConfig m = model();
  const PassWork work = work_of(m, 5, 16, 80);
  const double N = 5 * 16, head = 50 * 24;
  EXPECT_DOUBLE_EQ(block_matrix_flops(m, work, {}), 6 * N * (matrix_parameters(m) - head));
  EXPECT_DOUBLE_EQ(block_matrix_flops(m, work, {.block = true}) - block_matrix_flops(m, work, {}),
                   recomputed_flops(m, work, {.block = true}) - 2 * 4 * 24 * N * 16);
}

// Of the two blocks before the last, for every token: 2 per weight, and 4 C per query and key.
TEST(Flops, WhatIsRecomputed) {
  const ModelConfig m = model();
  const PassWork work = work_of(m, 5, 16, 40);
  const double N = 5 * 16, gate_up = 2 * 24 * 40, qkv = 24 * (24 + 2 * 2 * 4);
  EXPECT_DOUBLE_EQ(recomputed_flops(m, work, {}), 0);
  EXPECT_DOUBLE_EQ(recomputed_flops(m, work, {.gate_up = true}), 2 * 2 * N * gate_up);
  EXPECT_DOUBLE_EQ(recomputed_flops(m, work, {.gate_up = true, .qkv = true}),
                   2 * 2 * N * (gate_up + qkv));
  const double block = 2 * 2 * N * (gate_up + qkv + 24 * 24) + 2 * 4 * 24 * N * 16;
  EXPECT_DOUBLE_EQ(recomputed_flops(m, work, {.block = true}), block);
  EXPECT_DOUBLE_EQ(recomputed_flops(m, work, {.gate_up = true, .qkv = true, .block = true}), block);
}

// A token passes through its own experts and the router, not through those of other tokens.
TEST(Flops, OfAMixtureOfExperts) {
  ModelConfig m = model();
  m.num_experts = 9;
  m.num_experts_per_tok = 2;
  const double block = 2 * 24 * 24 + 2 * 24 * 8 + 9 * 24 + 2 * 3 * 24 * 40;
  EXPECT_DOUBLE_EQ(forward_flops(m, 5, 16, 5 * 16),
                   2 * 80 * (3 * block + 50 * 24) + 4 * 3 * 24 * 80 * 16);
}

}  // namespace
}  // namespace lacuna
