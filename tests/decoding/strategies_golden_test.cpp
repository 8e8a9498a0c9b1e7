#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "decoding/generate.h"
#include "tests/support/oracle.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

using Tokens = std::vector<std::int32_t>;

Tokens tokens_of(const Tensor& t) {
  return {t.as<std::int32_t>(), t.as<std::int32_t>() + t.count()};
}

/// The cases of scripts/golden/strategies.py.
class GoldenStrategies : public ::testing::Test {
 protected:
  /// A text to be decoded, and its canvases after every step.
  struct Case {
    std::string name;
    DecodingRequest request;
    std::vector<Tokens> canvases;  // those of a text that grows are of several lengths
    std::int64_t end_token;
  };

  ModelConfig config(std::int64_t block_size, std::int64_t end_token) const {
    ModelConfig c = golden_config(weights_file_, false);
    c.eos_token = end_token;
    if (block_size > 0) {
      c.attention = Attention::block_causal;
      c.block_size = block_size;
    }
    return c;
  }

  /// Those of models with this size of blocks; 0: of bidirectional ones. Either texts that grow or
  /// others.
  std::vector<Case> cases(std::int64_t block_size, bool growing = false) const {
    const auto listed = nlohmann::json::parse(golden_.metadata("cases"));
    std::vector<Case> found;
    for (const auto& [name, options] : listed.items()) {
      if (options.value("block_size", 0) != block_size) continue;
      if (options.contains("initial_length") != growing) continue;
      Case c;
      c.name = name;
      c.request.tokens = tokens_of(golden_[name + "/prompt"]);
      c.request.options = options_of(options);
      c.end_token =
          options.value("end_token", std::int64_t(std::stoll(weights_file_.metadata("eos_token"))));
      const Tensor canvases = golden_[name + "/canvases"];  // [steps, T]
      for (std::int64_t step = 0; step < canvases.rows(); ++step) {
        c.canvases.push_back(tokens_of(canvases.row_range(step, 1)));
        std::erase(c.canvases.back(), -1);
      }
      found.push_back(std::move(c));
    }
    return found;
  }

  /// Decodes all cases together and compares their canvases step by step.
  void expect_canvases(const std::vector<Case>& cases, std::int64_t block_size, CacheKind cache,
                       std::int64_t refresh_every) const {
    const ModelConfig c = config(block_size, cases[0].end_token);
    ModelTensors weights(cpu().memory(), c, "weights");
    read_weights(weights_file_, "plain/", weights);
    if (cases[0].request.options.initial_length > 0)
      cpu().copy(weights.head, golden_["growing/ff_out"]);
    Decoder decoder(cpu(), c, weights,
                    {.tokens = 1000,
                     .sequences = std::int64_t(cases.size()),
                     .guidance = true,
                     .cache = cache != CacheKind::none});
    std::vector<DecodingRequest> requests;
    for (const Case& one : cases) {
      requests.push_back(one.request);
      requests.back().options.cache = cache;
      requests.back().options.refresh_every = refresh_every;
    }
    std::vector<std::vector<Tokens>> found(cases.size());
    const auto results = decode(decoder, requests, [&](const DecodingStep& step) {
      found[std::size_t(step.id)].emplace_back(step.tokens.begin(), step.tokens.end());
    });
    for (std::size_t i = 0; i < cases.size(); ++i) {
      SCOPED_TRACE(cases[i].name);
      ASSERT_EQ(found[i].size(), cases[i].canvases.size());
      for (std::size_t step = 0; step < found[i].size(); ++step)
        ASSERT_EQ(found[i][step], cases[i].canvases[step]) << "step " << step;
      // A text that ended early has no masks behind its last block.
      Tokens last = cases[i].canvases.back();
      ASSERT_LE(results[i].tokens.size(), last.size());
      last.resize(results[i].tokens.size());
      EXPECT_EQ(results[i].tokens, last);
    }
  }

 private:
  DecodingOptions options_of(const nlohmann::json& listed) const {
    DecodingOptions o;
    o.seed = std::stoull(weights_file_.metadata("seed"));
    o.strategy = parse_word<StrategyKind>(listed["strategy"].get<std::string>()).value();
    const auto take = [&](const char* key, auto& field) { field = listed.value(key, field); };
    take("gen_length", o.gen_length);
    take("block_length", o.block_length);
    take("steps", o.steps);
    take("temperature", o.temperature);
    take("cfg_scale", o.cfg_scale);
    take("threshold", o.threshold);
    take("factor", o.factor);
    take("entropy_bound", o.entropy_bound);
    take("revise_threshold", o.revise_threshold);
    take("remask_rate", o.remask_rate);
    take("initial_length", o.initial_length);
    return o;
  }

  Golden golden_{"strategies"}, weights_file_{"sampler"};
};

TEST_F(GoldenStrategies, OfABidirectionalModel) {
  const std::vector<Case> all = cases(0);
  ASSERT_GE(all.size(), 9u);
  expect_canvases(all, 0, CacheKind::none, 0);
}

TEST_F(GoldenStrategies, WithACacheThatEveryPassRefreshes) {
  for (const CacheKind cache : {CacheKind::prefix, CacheKind::dual, CacheKind::vicinity})
    expect_canvases(cases(0), 0, cache, 1);
}

TEST_F(GoldenStrategies, OfTextsThatGrow) {
  const std::vector<Case> all = cases(0, true);
  ASSERT_GE(all.size(), 2u);
  expect_canvases(all, 0, CacheKind::none, 0);
  for (const CacheKind cache : {CacheKind::prefix, CacheKind::dual, CacheKind::vicinity})
    expect_canvases(all, 0, cache, 1);
}

// The expected values recompute every row in every pass; the cache is exact.
TEST_F(GoldenStrategies, OfBlockCausalModels) {
  for (const std::int64_t block_size : {4, 5, 6}) {
    const std::vector<Case> all = cases(block_size);
    ASSERT_GE(all.size(), 1u);
    for (const CacheKind cache : {CacheKind::none, CacheKind::prefix})
      expect_canvases(all, block_size, cache, 0);
  }
}

}  // namespace
}  // namespace lacuna
