#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "decoding/generate.h"
#include "tests/support/oracle.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

using Tokens = std::vector<std::int32_t>;

Tokens row_of(const Tensor& t, std::int64_t row) {
  const Tensor r = t.row_range(row, 1);
  return {r.as<std::int32_t>(), r.as<std::int32_t>() + r.cols()};
}

/// The cases of scripts/golden/sampler.py.
class GoldenDecoding : public ::testing::Test {
 protected:
  GoldenDecoding() : cases_(nlohmann::json::parse(golden_.metadata("cases"))) {}

  ModelConfig config(bool causal) const {
    ModelConfig c = golden_config(golden_, causal);
    c.eos_token = std::stoll(golden_.metadata("eos_token"));
    return c;
  }
  DecodingOptions options(const nlohmann::json& c) const {
    DecodingOptions o;
    o.seed = std::stoull(golden_.metadata("seed"));
    o.temperature = c["temperature"];
    o.remasking = c["remasking"] == "random" ? Remasking::random : Remasking::low_confidence;
    o.gen_length = c["gen_length"];
    o.steps = c["steps"];
    o.block_length = c["block_length"];
    o.cfg_scale = c["cfg_scale"];
    return o;
  }

  Golden golden_{"sampler"};
  nlohmann::json cases_;
};

// Every canvas after every step is that of LLaDA's generate().
TEST_F(GoldenDecoding, CanvasesStepByStep) {
  ASSERT_GE(cases_.size(), 10u);
  const ModelConfig c = config(false);
  for (const auto& [name, expected] : cases_.items()) {
    SCOPED_TRACE(name);
    ModelTensors weights(cpu().memory(), c, "weights");
    read_weights(golden_, expected["weights"].get<std::string>() + "/", weights);
    const DecodingOptions o = options(expected);
    const Tensor canvases = golden_[name + "/canvases"];  // [steps, prompts, T]
    const std::int64_t B = canvases.shape[1], T = canvases.shape[2], P = expected["prompt_length"];
    const Tensor rows = canvases.reshaped({canvases.shape[0] * B, T});
    std::vector<Tokens> prompts;
    for (std::int64_t b = 0; b < B; ++b)
      prompts.push_back(P ? row_of(golden_[name + "/prompts"], b) : Tokens{});
    const std::int64_t steps_per_block = o.steps / (o.gen_length / o.block_length);

    std::vector<Tokens> last(static_cast<std::size_t>(B));
    for (std::int64_t b = 0; b < B; ++b) {
      last[std::size_t(b)] = prompts[std::size_t(b)];
      last[std::size_t(b)].resize(std::size_t(T), std::int32_t(c.mask_token));
    }
    std::vector<std::int64_t> seen(last.size(), 0);
    Decoder sampler(cpu(), c, weights, {B * T, B, o.cfg_scale > 0});
    const auto result = generate(sampler, prompts, o, 0, [&](const DecodingStep& step) {
      const std::int64_t at = step.block * steps_per_block + step.step;
      Tokens& before = last[std::size_t(step.id)];
      // Steps that are not reported change nothing.
      for (std::int64_t& i = seen[std::size_t(step.id)]; i < at; ++i)
        EXPECT_EQ(row_of(rows, i * B + step.id), before) << "step " << i;
      seen[std::size_t(step.id)] = at + 1;
      const Tokens after(step.tokens.begin(), step.tokens.end());
      EXPECT_EQ(after, row_of(rows, at * B + step.id)) << "step " << at;
      Tokens filled;
      for (std::int32_t i = 0; i < T; ++i)
        if (before[std::size_t(i)] != after[std::size_t(i)]) filled.push_back(i);
      EXPECT_EQ(Tokens(step.committed.begin(), step.committed.end()), filled);
      before = after;
    });
    for (std::int64_t b = 0; b < B; ++b) {
      for (std::int64_t i = seen[std::size_t(b)]; i < canvases.shape[0]; ++i)
        EXPECT_EQ(row_of(rows, i * B + b), last[std::size_t(b)]) << "step " << i;
      EXPECT_EQ(result[std::size_t(b)], last[std::size_t(b)]);
    }
  }
}

// Canvases of the same settings but other lengths, filled together without padding.
TEST_F(GoldenDecoding, CanvasesOfDifferentLengthsTogether) {
  const ModelConfig c = config(false);
  ModelTensors weights(cpu().memory(), c, "weights");
  read_weights(golden_, "plain/", weights);
  DecodingOptions o;
  o.gen_length = o.steps = o.block_length = 8;
  std::vector<Tokens> prompts = {row_of(golden_["one_token_per_step/prompts"], 0),
                                 row_of(golden_["blocks/prompts"], 1),
                                 row_of(golden_["short_prompt/prompts"], 0)};
  Decoder sampler(cpu(), c, weights, {3 * 24, 3});
  const auto together = generate(sampler, prompts, o);
  const Tensor canvases = golden_["one_token_per_step/canvases"];
  EXPECT_EQ(together[0], row_of(canvases.reshaped({canvases.shape[0], canvases.shape[2]}),
                                canvases.shape[0] - 1));
  for (std::size_t i = 0; i < prompts.size(); ++i)
    EXPECT_EQ(together[i], generate(sampler, {prompts[i]}, o)[0]) << i;
}

TEST_F(GoldenDecoding, AutoregressiveDecoding) {
  const ModelConfig c = config(true);
  ModelTensors weights(cpu().memory(), c, "weights");
  read_weights(golden_, "causal/", weights);
  DecodingOptions o;
  o.gen_length = 12;
  std::vector<Tokens> prompts, expected;
  for (const std::int64_t length : {4, 0, 7}) {
    const Tensor t = golden_[str("decode/", prompts.size())];
    const auto* ids = t.as<std::int32_t>();
    prompts.emplace_back(ids, ids + length);
    expected.emplace_back(ids, ids + t.count());
  }
  Decoder sampler(cpu(), c, weights, {11 + 3 * 12, 3});
  EXPECT_EQ(generate(sampler, prompts, o), expected);
  for (std::size_t i = 0; i < prompts.size(); ++i)
    EXPECT_EQ(generate(sampler, {prompts[i]}, o)[0], expected[i]) << i;
}

}  // namespace
}  // namespace lacuna
