#include "model/weight_spec.h"

#include <gtest/gtest.h>

#include <set>

#include "core/check.h"

namespace lacuna {
namespace {

ModelConfig small() {
  ModelConfig m;
  m.vocab_size = 50;
  m.num_layers = 2;
  m.hidden_size = 24;
  m.num_heads = 6;
  m.num_kv_heads = 2;
  m.intermediate_size = 40;
  return m;
}

struct Expected {
  const char *llada, *llama, *gguf;
  Shape shape;
};

// The names of GSAI-ML/LLaDA-8B-Base's and Meta's Llama-3.1-8B's model.safetensors.index.json, and
// of llama.cpp's gguf-py/gguf/constants.py; a key or value head is four wide.
TEST(WeightSpec, NamesAndShapesOfEachFamily) {
  const std::string llada = "model.transformer.blocks.1.", llama = "model.layers.1.",
                    gguf = "blk.1.";
  const std::vector<Expected> block = {{"attn_norm", "input_layernorm", "attn_norm", {24}},
                                       {"q_proj", "self_attn.q_proj", "attn_q", {24, 24}},
                                       {"k_proj", "self_attn.k_proj", "attn_k", {8, 24}},
                                       {"v_proj", "self_attn.v_proj", "attn_v", {8, 24}},
                                       {"attn_out", "self_attn.o_proj", "attn_output", {24, 24}},
                                       {"ff_norm", "post_attention_layernorm", "ffn_norm", {24}},
                                       {"ff_proj", "mlp.gate_proj", "ffn_gate", {40, 24}},
                                       {"up_proj", "mlp.up_proj", "ffn_up", {40, 24}},
                                       {"ff_out", "mlp.down_proj", "ffn_down", {24, 40}}};
  const std::vector<ModelWeight> weights = model_weights(small());
  ASSERT_EQ(weights.size(), 1 + 2 * block.size() + 2);
  for (std::size_t i = 0; i < block.size(); ++i) {
    const ModelWeight& w = weights[1 + block.size() + i];  // of the second block
    EXPECT_EQ(w.block, 1);
    EXPECT_EQ(w.name, llada + block[i].llada + ".weight");
    EXPECT_EQ(w.spec->name(NameScheme::llama, w.block), llama + block[i].llama + ".weight");
    EXPECT_EQ(w.spec->name(NameScheme::gguf, w.block), gguf + block[i].gguf + ".weight");
    EXPECT_EQ(w.shape, block[i].shape) << w.name;
  }
  const std::vector<std::pair<std::size_t, Expected>> outside = {
      {0, {"model.transformer.wte", "model.embed_tokens", "token_embd", {50, 24}}},
      {19, {"model.transformer.ln_f", "model.norm", "output_norm", {24}}},
      {20, {"model.transformer.ff_out", "lm_head", "output", {50, 24}}}};
  for (const auto& [i, expected] : outside) {
    EXPECT_EQ(weights[i].block, -1);
    EXPECT_EQ(weights[i].name, str(expected.llada, ".weight"));
    EXPECT_EQ(weights[i].spec->name(NameScheme::llama, -1), str(expected.llama, ".weight"));
    EXPECT_EQ(weights[i].spec->name(NameScheme::gguf, -1), str(expected.gguf, ".weight"));
    EXPECT_EQ(weights[i].shape, expected.shape);
  }
  EXPECT_EQ(embedding_name(), "model.transformer.wte.weight");
}

// The names of Qwen/Qwen2.5-7B's, Qwen/Qwen3-8B's and llama.cpp's files.
TEST(WeightSpec, NamesAndShapesOfBiasesAndOfNormsOfHeads) {
  ModelConfig m = small();
  m.qkv_bias = m.qk_norm = true;
  m.head_dim = 10;
  const std::vector<Expected> expected = {
      {"q_proj.bias", "self_attn.q_proj.bias", "attn_q.bias", {60}},
      {"k_proj.bias", "self_attn.k_proj.bias", "attn_k.bias", {20}},
      {"v_proj.bias", "self_attn.v_proj.bias", "attn_v.bias", {20}},
      {"q_norm.weight", "self_attn.q_norm.weight", "attn_q_norm.weight", {10}},
      {"k_norm.weight", "self_attn.k_norm.weight", "attn_k_norm.weight", {10}}};
  const std::vector<ModelWeight> weights = model_weights(m);
  ASSERT_EQ(weights.size(), model_weights(small()).size() + 2 * expected.size());
  EXPECT_EQ(weights[2].shape, (Shape{60, 24}));   // q_proj
  EXPECT_EQ(weights[10].shape, (Shape{24, 60}));  // attn_out
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const ModelWeight& w = weights[5 + i];  // of the first block, behind v_proj
    EXPECT_EQ(w.name, str("model.transformer.blocks.0.", expected[i].llada));
    EXPECT_EQ(w.spec->name(NameScheme::llama, 0), str("model.layers.0.", expected[i].llama));
    EXPECT_EQ(w.spec->name(NameScheme::gguf, 0), str("blk.0.", expected[i].gguf));
    EXPECT_EQ(w.shape, expected[i].shape) << w.name;
    EXPECT_EQ(w.spec->kind, i < 3 ? WeightKind::bias : WeightKind::norm);
    EXPECT_FALSE(w.spec->lora);
  }
}

// The names of inclusionAI's modelling code and of llama.cpp's files, which have one tensor for all
// experts.
TEST(WeightSpec, NamesAndShapesOfAMixtureOfExperts) {
  ModelConfig m = small();
  m.num_experts = 12;
  m.num_experts_per_tok = 3;
  const std::vector<Expected> one = {
      {"experts.11.ff_proj", "mlp.experts.11.gate_proj", "ffn_gate_exps", {40, 24}},
      {"experts.11.up_proj", "mlp.experts.11.up_proj", "ffn_up_exps", {40, 24}},
      {"experts.11.ff_out", "mlp.experts.11.down_proj", "ffn_down_exps", {24, 40}}};
  const std::vector<ModelWeight> weights = model_weights(m);
  ASSERT_EQ(weights.size(), 1 + 2 * (6 + 1 + 3 * 12) + 2u);
  const ModelWeight& router = weights[7];
  EXPECT_EQ(router.name, "model.transformer.blocks.0.router.weight");
  EXPECT_EQ(router.spec->name(NameScheme::llama, 0), "model.layers.0.mlp.gate.weight");
  EXPECT_EQ(router.spec->name(NameScheme::gguf, 0), "blk.0.ffn_gate_inp.weight");
  EXPECT_EQ(router.shape, (Shape{12, 24}));
  EXPECT_EQ(router.expert, -1);
  for (std::size_t i = 0; i < one.size(); ++i) {
    const ModelWeight& w = weights[8 + 3 * 11 + i];
    EXPECT_EQ(w.expert, 11);
    EXPECT_EQ(w.name, str("model.transformer.blocks.0.", one[i].llada, ".weight"));
    EXPECT_EQ(w.spec->name(NameScheme::llama, 0, 11),
              str("model.layers.0.", one[i].llama, ".weight"));
    EXPECT_EQ(w.spec->name(NameScheme::gguf, 0), str("blk.0.", one[i].gguf, ".weight"));
    EXPECT_EQ(w.shape, one[i].shape);
    EXPECT_FALSE(w.spec->lora);
  }
}

// "7B-A1B": what inclusionAI writes of it.
TEST(WeightSpec, ParametersOfLladaMoe) {
  ModelConfig c;
  c.vocab_size = 157184;
  c.num_layers = 16;
  c.hidden_size = 2048;
  c.num_heads = 16;
  c.intermediate_size = 1024;
  c.num_experts = 64;
  c.num_experts_per_tok = 8;
  c.qk_norm = true;
  EXPECT_EQ(count_parameters(c), 7'356'880'896);
}

TEST(WeightSpec, ATiedHeadIsNotListed) {
  ModelConfig tied = small();
  tied.tie_embeddings = true;
  const std::vector<ModelWeight> weights = model_weights(tied);
  EXPECT_EQ(weights.back().name, "model.transformer.ln_f.weight");
  EXPECT_EQ(count_parameters(small()) - count_parameters(tied), 50 * 24);
}

// arXiv:2502.09992, table 5 and the index of the published files.
TEST(WeightSpec, ParametersOfLlada8b) {
  ModelConfig c;
  c.vocab_size = 126464;
  c.num_layers = 32;
  c.hidden_size = 4096;
  c.num_heads = 32;
  c.intermediate_size = 12288;
  EXPECT_EQ(count_parameters(c), 8'015'581'184);
}

// Only vectors are norms, and none of them is shared, decays by default or has adapters.
TEST(WeightSpec, KindsAgreeWithShapes) {
  std::set<std::string> targets;
  for (const ModelWeight& w : model_weights(small())) {
    const bool vector = w.shape.rank == 1;
    EXPECT_EQ(w.spec->kind == WeightKind::norm, vector) << w.name;
    EXPECT_EQ(w.spec->axis == ParallelAxis::none, vector) << w.name;
    EXPECT_EQ(w.spec->scale == InitialScale::ones, vector) << w.name;
    EXPECT_EQ(w.spec->lora, !vector && w.block >= 0) << w.name;
    EXPECT_EQ(w.spec->in_block(), w.block >= 0) << w.name;
    EXPECT_EQ(&weight_spec(w.spec->role), w.spec) << w.name;
    if (w.spec->lora) targets.insert(w.spec->llada);
  }
  EXPECT_EQ(targets, (std::set<std::string>{"q_proj", "k_proj", "v_proj", "attn_out", "ff_proj",
                                            "up_proj", "ff_out"}));
}

// Megatron's division: what reads the residual stream by outputs, what writes to it by inputs.
TEST(WeightSpec, WhatWritesToTheResidualStreamIsCutByColumns) {
  for (const ModelWeight& w : model_weights(small())) {
    if (w.block < 0 || w.shape.rank == 1) continue;
    EXPECT_EQ(w.spec->axis == ParallelAxis::columns, w.spec->scale == InitialScale::writes_residual)
        << w.name;
  }
}

}  // namespace
}  // namespace lacuna
