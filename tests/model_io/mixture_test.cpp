#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "checkpoint/gguf_export.h"
#include "checkpoint/hugging_face.h"
#include "core/input_file.h"
#include "core/philox.h"
#include "model_io/loaded_model.h"
#include "tests/model/support.h"
#include "tests/support/mixture_folder.h"
#include "tests/support/support.h"

// A mixture of experts: LLaDA-MoE.

namespace lacuna {
namespace {

using namespace testing;  // NOLINT
using Json = nlohmann::ordered_json;

constexpr std::int64_t kExperts = 5;

/// A random model in a Hugging Face folder, wide enough for q8_0.
class Mixture : public ::testing::Test {
 protected:
  Mixture() { write(2); }

  std::string path() const { return folder_ / "hf"; }
  void write(
      std::int64_t each, const std::function<void(const std::string&, const Tensor&)>& change =
                             [](const std::string&, const Tensor&) {}) {
    MixtureFolder{.experts = kExperts, .each = each, .change = change}.write(path());
  }
  LoadedModel load(const std::string& what, int threads = 1, DType dtype = DType::f32) const {
    return load_model(ModelSource(what), std::make_unique<CpuOps>(threads), dtype);
  }
  /// Of every position of these texts, which share a pass; each text's one behind the other.
  static std::vector<float> logits_of(const LoadedModel& model,
                                      const std::vector<std::vector<std::int32_t>>& texts) {
    std::vector<std::int32_t> tokens;
    Sequences sequences{{0}, {}};
    for (const auto& text : texts) {
      tokens.insert(tokens.end(), text.begin(), text.end());
      sequences.offsets.push_back(std::int32_t(tokens.size()));
    }
    const auto n = std::int64_t(tokens.size());
    sequences.logit_rows = every_row(n);
    Ops& ops = *model.ops;
    Model net(ops, model.config(), model.weights, {n, std::int64_t(texts.size()), n, false});
    Head head(ops, model.config(), model.weights, n, nullptr, HeadUse::logits);
    const Tensor logits = head.logits(net.forward(tensor_of(tokens), sequences));
    std::vector<float> wide(std::size_t(logits.count()));
    ops.copy(Tensor(wide.data(), logits.shape), logits);
    return wide;
  }
  static double distance(const std::vector<float>& a, const std::vector<float>& b) {
    return relative_error(tensor_of(a), tensor_of(b));
  }

  Folder folder_;
  const std::vector<std::int32_t> first_ = {1, 7, 39, 39, 12, 5}, second_ = {30, 39, 2, 17};
};

TEST_F(Mixture, ATextHasTheSameBitsInAnyCompanyAndWithAnyThreads) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    std::vector<float> expected = logits_of(load(path(), 1, dtype), {first_});
    const std::vector<float> second = logits_of(load(path(), 1, dtype), {second_});
    expected.insert(expected.end(), second.begin(), second.end());
    for (const int threads : {1, 2, 5})
      EXPECT_EQ(logits_of(load(path(), threads, dtype), {first_, second_}), expected);
  }
}

TEST_F(Mixture, MatricesOfExpertsStayInTheFile) {
  const LoadedModel folder = load(path());
  for (const InferenceWeights::Allocated& a : folder.base.allocated())
    EXPECT_EQ(a.weight.kind(), WeightKind::norm) << a.weight.name;
  // Gates and up projections lie in two tensors of a GGUF file, each of all experts.
  for (const MatrixFormat format : {MatrixFormat::f32, MatrixFormat::bf16, MatrixFormat::q8_0}) {
    const std::string file = folder_ / "model.gguf";
    export_gguf(path(), file, format);
    const LoadedModel gguf = load(file);
    for (const InferenceWeights::Allocated& a : gguf.base.allocated())
      EXPECT_FALSE(a.weight.spec->of_expert()) << a.weight.name;
    EXPECT_EQ(gguf.config(), folder.config());
    const auto& experts = gguf.base.views().blocks[1].experts;
    ASSERT_EQ(std::int64_t(experts.size()), kExperts);
    EXPECT_EQ(experts[3].gate_up.parts.size(), 2u);
    EXPECT_EQ(experts[3].ffn_out.format, format);
    EXPECT_EQ(gguf.base.views().blocks[1].router.format, MatrixFormat::f32);
    const double error =
        distance(logits_of(gguf, {first_, second_}), logits_of(folder, {first_, second_}));
    if (format == MatrixFormat::f32)
      EXPECT_EQ(error, 0);
    else
      EXPECT_LT(error, 0.05) << text_of(format);
  }
}

TEST_F(Mixture, ACheckpointOfItHasTheSameLogits) {
  import_hugging_face(path(), folder_ / "model.h5");
  EXPECT_EQ(logits_of(load(folder_ / "model.h5"), {first_}), logits_of(load(path()), {first_}));
}

// The router's products decide, so that rows of zeros make ties, which the first experts win.
TEST_F(Mixture, ExpertsThatNoRowChoosesCountForNothing) {
  const auto router_of_zeros = [](const std::string& name, const Tensor& out) {
    if (name.ends_with("mlp.gate.weight")) std::memset(out.data, 0, std::size_t(out.bytes()));
  };
  write(2, router_of_zeros);
  const std::vector<float> expected = logits_of(load(path()), {first_, second_});
  write(2, [&](const std::string& name, const Tensor& out) {
    router_of_zeros(name, out);
    for (const char* other : {"experts.2.", "experts.3.", "experts.4."})
      if (name.find(other) != std::string::npos)
        for (std::int64_t i = 0; i < out.count(); ++i) out.as<float>()[i] = NAN;
  });
  EXPECT_EQ(logits_of(load(path()), {first_, second_}), expected);
}

// Of equal weights, so that what remains is a fifth of the sum of five equal experts.
TEST_F(Mixture, AllOfThemWithOneMatrixAreThatMatrix) {
  const auto alike = [&](const std::string& name, const Tensor& out) {
    const std::size_t at = name.find("experts.");
    if (name.ends_with("mlp.gate.weight")) std::memset(out.data, 0, std::size_t(out.bytes()));
    if (at == std::string::npos) return;
    CounterRng rng{4, Purpose::initial_weights,
                   std::hash<std::string>()(name.substr(at + 10)) % 1000};
    for (std::int64_t j = 0; j < out.count(); ++j)
      out.as<float>()[j] = rng.uniform(std::uint32_t(j)) - 0.5f;
  };
  write(kExperts, alike);
  const std::vector<float> all = logits_of(load(path()), {first_});
  write(1, [&](const std::string& name, const Tensor& out) {
    alike(name, out);
    if (name.find("down_proj") != std::string::npos)  // its one weight is 1 / 5
      for (std::int64_t j = 0; j < out.count(); ++j) out.as<float>()[j] *= 5;
  });
  EXPECT_LT(distance(logits_of(load(path()), {first_}), all), 1e-6);
}

// A text whose numbers are lost takes no other with it.
TEST_F(Mixture, WhatIsNoNumberStaysInItsText) {
  const std::vector<float> second = logits_of(load(path()), {second_});
  write(2, [](const std::string& name, const Tensor& out) {
    if (name == "model.embed_tokens.weight") out.as<float>()[7 * out.cols()] = NAN;
  });
  const std::vector<float> both = logits_of(load(path()), {first_, second_});
  EXPECT_TRUE(std::isnan(both.front()));
  EXPECT_EQ(std::vector<float>(both.end() - std::ptrdiff_t(second.size()), both.end()), second);
}

TEST_F(Mixture, OneExpert) {
  MixtureFolder{.experts = 1, .each = 1}.write(path());
  export_gguf(path(), folder_ / "model.gguf", MatrixFormat::f32);
  EXPECT_EQ(logits_of(load(folder_ / "model.gguf"), {first_}), logits_of(load(path()), {first_}));
}

TEST_F(Mixture, GgufKeysThatItsTensorsContradict) {
  export_gguf(path(), folder_ / "model.gguf", MatrixFormat::f32);
  const std::string bytes = read_file(folder_ / "model.gguf");
  const auto mistake_with = [&](const std::string& key, char value) {
    std::string changed = bytes;
    const std::size_t at = changed.find(key);
    CHECK(at != std::string::npos, key);
    changed[at + key.size() + 4] = value;  // behind the type, u32
    write_file(folder_ / "model.gguf", changed);
    return error_of([&] { ModelSource(folder_ / "model.gguf"); });
  };
  EXPECT_TRUE(contains(mistake_with("llada-moe.expert_count", 4),
                       "tensor 'blk.0.ffn_gate_inp.weight' has shape [5,32]; the file's keys make "
                       "it [4,32]"));
  EXPECT_TRUE(contains(mistake_with("llada-moe.expert_feed_forward_length", 16),
                       "tensor 'blk.0.ffn_gate_exps.weight' has shape [5,32,32]; the file's keys "
                       "make it [5,16,32]"));
  EXPECT_TRUE(contains(mistake_with("llada-moe.expert_used_count", 6),
                       "model.num_experts_per_tok = 6 must be at most model.num_experts = 5"));
}

TEST_F(Mixture, WhatItIsNotFor) {
  const ModelSource source(path());
  EXPECT_TRUE(contains(error_of([&] { check_trainable(source.config); }),
                       "training and LoRA of a mixture of experts are not supported"));
  EXPECT_EQ(error_of([&] {
              ShardDims(source.config, {0, 2});
            }),
            "parallel.tensor_parallel = 2 is not supported for a model with model.num_experts = 5: "
            "its experts are not divided");
}

TEST_F(Mixture, KeysThatThisProgramDoesNotCompute) {
  const Json config = Json::parse(read_file(path() + "/config.json"));
  const auto mistake = [&](const char* key, const Json& value) {
    Json changed = config;
    changed[key] = value;
    return error_of([&] { model_config_from_hugging_face(changed.dump(), "config.json"); });
  };
  EXPECT_EQ(mistake("shared_expert_intermediate_size", 64),
            "config.json: shared_expert_intermediate_size = 64 is not supported; this program's "
            "model has shared_expert_intermediate_size = null");
  for (const auto& [key, value] : {std::pair<const char*, Json>{"qk_layernorm", false},
                                   {"moe_router_enable_expert_bias", true},
                                   {"moe_router_score_function", "sigmoid"},
                                   {"routed_scaling_factor", 2.5},
                                   {"clip_qkv", 8.0}})
    EXPECT_TRUE(
        mistake(key, value)
            .starts_with(str("config.json: ", key, " = ", value.dump(), " is not supported")))
        << mistake(key, value);
  EXPECT_EQ(
      mistake("moe_layer_freq", {1, 0}),
      "config.json: moe_layer_freq has 0; this program's model has experts in every layer, 1");
  EXPECT_EQ(mistake("moe_layer_freq", 2), "config.json: moe_layer_freq = 2 is not a list");
  EXPECT_EQ(mistake("num_experts", 0), "config.json: num_experts = 0 must be at least 1");
  EXPECT_EQ(mistake("num_experts_per_tok", 6),
            "config.json: model.num_experts_per_tok = 6 must be at most model.num_experts = 5");
  EXPECT_EQ(mistake("num_experts_per_tok", 0),
            "config.json: model.num_experts_per_tok = 0 must be at least 1");
  EXPECT_EQ(
      mistake("num_hidden_layers", 60000),
      "config.json: model.num_experts = 5 times model.num_layers = 60000 must be at most 262144");
  EXPECT_TRUE(contains(mistake("num_experts", 5000), "num_experts = 5000 must be at most 4096"));
  // Its own code does not divide by the sum, whatever the file says.
  EXPECT_EQ(mistake("norm_topk_prob", true), "");
}

}  // namespace
}  // namespace lacuna
