#include <map>

#include "tests/model/support.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

// A memory plan counts whole lines of 64 bytes; with these sizes every tensor fills its lines.
constexpr std::int64_t N = 96, M = 32, S = 15, C = 64, H = 4, K = 2, D = 16, F = 112, V = 80, L = 5;

ModelConfig config() {
  ModelConfig c;
  c.vocab_size = V;
  c.num_layers = L;
  c.hidden_size = C;
  c.num_heads = H;
  c.num_kv_heads = K;
  c.intermediate_size = F;
  c.max_seq_length = 48;
  return c;
}

std::map<std::string, std::int64_t> floats_by_kind(const Plan& plan) {
  std::map<std::string, std::int64_t> sums;
  for (const Plan::Entry& e : plan.entries())
    if (!e.alias) sums[e.name.substr(0, e.name.find('/'))] += e.shape.count();
  return sums;
}

// A block keeps its input, q, k, v and what attention gave, the stream in the middle, gate and up;
// of floats per row, one for each norm and one per head. The last block keeps N rows of its input,
// q, k, v and of the first norm alone.
TEST(ModelMemory, WithTraining) {
  const ModelTensors weights(cpu().memory(), config(), "weights");
  const Model model(cpu(), config(), weights, {N, S, M, true});
  const auto kinds = floats_by_kind(model.plan());
  constexpr std::int64_t before = C + 1 + (H + 2 * K) * D, behind = H * D + H + C + 1 + 2 * F;
  EXPECT_EQ(kinds.at("activations"),
            (L - 1) * N * (before + behind) + N * before + M * behind + M * (C + 1));
  // The stream's gradient and one norm's result, of all rows and of those that get logits; one wide
  // buffer.
  EXPECT_EQ(kinds.at("scratch"), 2 * (N + M) * C + N * std::max(F, (H + 2 * K) * D));
  // A token, a position and two key intervals per row; a row, a position and intervals per logit
  // one.
  EXPECT_EQ(kinds.at("sequences"), (2 + 4) * (N + M) + 2 * (S + 1) + 48 * D);
  EXPECT_EQ(model.plan().bytes(),
            4 * (kinds.at("activations") + kinds.at("scratch") + kinds.at("sequences")));
}

TEST(ModelMemory, WithoutTrainingBlocksShareIt) {
  for (const std::int64_t layers : {std::int64_t{1}, L}) {
    ModelConfig c = config();
    c.num_layers = layers;
    const ModelTensors weights(cpu().memory(), c, "weights");
    const Model model(cpu(), c, weights, {N, S, M, false});
    const auto kinds = floats_by_kind(model.plan());
    EXPECT_EQ(kinds.at("activations"), N * (C + 1 + std::max((H + 2 * K) * D, 2 * F) + H) + M * C);
    EXPECT_EQ(kinds.at("scratch"), (N + M) * C + N * std::max(F, H * D));
  }
}

// Keys and values of every block, for so many rows; and where a pass keeps its rows.
TEST(ModelMemory, OfACache) {
  const ModelTensors weights(cpu().memory(), config(), "weights");
  const std::int64_t R = 100;
  std::int64_t cache = 0;
  const Model model(cpu(), config(), weights, {N, S, M, false, R});
  for (const Plan::Entry& e : model.plan().entries())
    if (e.name.starts_with("kv_cache/")) cache += e.shape.count();
  EXPECT_EQ(cache, config().num_layers * R * 2 * config().kv_heads() * config().head_width());
  EXPECT_TRUE(contains(error_of([&] {
                         Model(cpu(), config(), weights, {N, S, M, true, R});
                       }),
                       "in training"));
}

TEST(ModelMemory, NamesTensors) {
  const ModelTensors weights(cpu().memory(), config(), "weights");
  const Model model(cpu(), config(), weights, {N, S, M, true});
  std::vector<std::string> names;
  for (const Plan::Entry& e : model.plan().entries()) names.push_back(e.name);
  for (const char* name : {"activations/blocks.0.qkv", "activations/blocks.4.gate_up",
                           "activations/final_x", "scratch/d_x", "sequences/tokens"})
    EXPECT_NE(std::find(names.begin(), names.end(), name), names.end()) << name;
}

TEST(ModelMemory, TooMuchOfItIsAnErrorWithTheTable) {
  ModelConfig c = config();
  c.max_seq_length = std::int64_t{1} << 40;
  const ModelTensors weights(cpu().memory(), c, "weights");
  const std::string error = error_of([&] {
    Model(cpu(), c, weights, {std::int64_t{1} << 40, 1, std::int64_t{1} << 40, true});
  });
  EXPECT_TRUE(contains(error, "are needed"));
  EXPECT_TRUE(contains(error, "activations: "));
}

TEST(ModelMemory, LimitsMustMakeSense) {
  const ModelTensors weights(cpu().memory(), config(), "weights");
  const auto made = [&](ModelLimits limits) {
    return error_of([&] { Model(cpu(), config(), weights, limits); });
  };
  EXPECT_TRUE(contains(made({0, 1, 0, true}), "there must be rows"));
  EXPECT_TRUE(contains(made({4, 0, 4, true}), "0 sequences"));
  EXPECT_TRUE(contains(made({4, 1, 5, true}), "no more logit rows than rows"));
}

}  // namespace
}  // namespace lacuna
