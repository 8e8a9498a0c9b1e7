#include "server/request_options.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/check.h"
#include "core/philox.h"
#include "server/service.h"
#include "tests/support/support.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT
using Json = nlohmann::json;

ModelConfig model_of(Attention attention) {
  ModelConfig config;
  config.max_seq_length = 256;
  config.vocab_size = 8;
  config.mask_token = 1;
  config.eos_token = 2;
  config.attention = attention;
  if (attention == Attention::block_causal) config.block_size = 8;
  return config;
}

/// Some of the fields that contradict each other, by chance.
Json random_fields(std::uint64_t seed, int percent) {
  const CounterRng rng{seed, Purpose::remasking, 0};
  std::uint32_t drawn = 0;
  const auto below = [&](int n) { return int(rng.uniform53(drawn++) * n); };
  Json fields = Json::object();
  const auto maybe = [&](const char* name, const Json& value) {
    if (below(100) < percent) fields[name] = value;
  };
  const char* strategies[] = {"fixed", "threshold", "dynamic", "margin", "remdm", "wino", "edit"};
  const char* caches[] = {"none", "prefix", "dual", "vicinity"};
  maybe("max_tokens", 1 + below(200));
  maybe("steps", 1 + below(100));
  maybe("block_length", 1 + below(70));
  maybe("initial_length", 1 + below(100));
  maybe("strategy", strategies[below(7)]);
  maybe("remasking", below(2) ? "random" : "low_confidence");
  maybe("cache", caches[below(4)]);
  maybe("preset", below(2) ? "fast" : "llada");
  return fields;
}

/// What becomes of a request: "" or the field that it is refused for.
std::string refused_for(const Json& fields, const DecodingOptions& defaults,
                        const ModelConfig& model) {
  try {
    (void)plan_length(parse_completion(fields.dump(), {defaults, 1}), 5, model);
    return "";
  } catch (const ApiError& e) {
    EXPECT_EQ(e.status, 400);
    return e.param;
  }
}

// What a client may ask of a server without defaults it may ask of any; and where it may not, the
// message is the same: none names a field that the client did not send.
TEST(RequestOptions, DefaultsYieldToWhatTheClientSays) {
  int usable = 0, accepted = 0;
  for (const Attention attention : {Attention::bidirectional, Attention::block_causal}) {
    const ModelConfig model = model_of(attention);
    for (std::uint64_t seed = 0; seed < 1500; ++seed) {
      DecodingOptions defaults;
      try {
        defaults = parse_completion(random_fields(seed, 40).dump(), {{}, 1}).options;
        (void)resolved(defaults, model);
      } catch (const Error&) {
        continue;
      } catch (const ApiError&) {
        continue;
      }
      ++usable;
      const Json fields = random_fields(seed + 100000, 30);
      const std::string without_defaults = refused_for(fields, DecodingOptions{}, model);
      accepted += without_defaults.empty();
      if (without_defaults.empty()) {
        EXPECT_EQ(refused_for(fields, defaults, model), "") << fields << seed;
      } else if (const std::string with = refused_for(fields, defaults, model); !with.empty()) {
        EXPECT_EQ(with, without_defaults) << fields << seed;
      }
    }
  }
  EXPECT_GT(usable, 300);
  EXPECT_GT(accepted, 150);
}

TEST(RequestOptions, AsFewDefaultsAsPossibleYield) {
  const ModelConfig model = model_of(Attention::bidirectional);
  DecodingOptions defaults;
  defaults.initial_length = 64;
  defaults.cache = CacheKind::dual;
  const auto planned = [&](const Json& fields) {
    return plan_length(parse_completion(fields.dump(), {defaults, 1}), 5, model).options;
  };
  EXPECT_EQ(planned({{"max_tokens", 100}}).initial_length, 64);
  const DecodingOptions shorter = planned({{"max_tokens", 16}});
  EXPECT_EQ(shorter.initial_length, 0);
  EXPECT_EQ(shorter.cache, CacheKind::dual);
  const DecodingOptions stepped = planned({{"steps", 3}});
  EXPECT_EQ(stepped.initial_length, 0);
  EXPECT_EQ(stepped.steps, 3);
  EXPECT_EQ(planned({{"strategy", "wino"}}).initial_length, 0);
  EXPECT_EQ(planned({{"initial_length", 200}, {"max_tokens", 210}}).initial_length, 200);
}

// A threshold was chosen for a strategy, and what a preset decides for that preset.
TEST(RequestOptions, ParametersOfAnotherStrategyDoNotCount) {
  DecodingOptions defaults;
  defaults.strategy = StrategyKind::threshold;
  defaults.threshold = 0.7;
  const auto options = [&](const Json& fields) {
    return parse_completion(fields.dump(), {defaults, 1}).options;
  };
  EXPECT_EQ(options(Json::object()).threshold, 0.7);
  EXPECT_EQ(options({{"strategy", "threshold"}}).threshold, 0.7);
  EXPECT_EQ(options({{"strategy", "margin"}}).threshold, 0);
  EXPECT_EQ(options({{"strategy", "margin"}, {"threshold", 0.4}}).threshold, 0.4);
  EXPECT_EQ(options({{"preset", "fast"}}).strategy, StrategyKind::automatic);
  EXPECT_EQ(options({{"preset", "llada"}}).strategy, StrategyKind::threshold);
}

}  // namespace
}  // namespace lacuna
