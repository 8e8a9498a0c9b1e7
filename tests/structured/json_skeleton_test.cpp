#include "structured/json_skeleton.h"

#include <gtest/gtest.h>

#include "core/json.h"
#include "decoding/generate.h"
#include "decoding/make_strategy.h"
#include "tests/app/byte_tokenizer.h"
#include "tests/structured/random_schema.h"
#include "tests/structured/untrained_model.h"
#include "tokenizer/answer_text.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

DecodingOptions random_options(RandomSchema& random, Attention attention) {
  DecodingOptions o;
  const StrategyKind strategies[] = {StrategyKind::automatic, StrategyKind::fixed,
                                     StrategyKind::threshold, StrategyKind::dynamic,
                                     StrategyKind::factor,    StrategyKind::entropy,
                                     StrategyKind::margin};
  o.strategy = strategies[random.below(7)];
  o.steps = random.below(3) ? 0 : 1 + random.below(6);
  o.temperature = random.below(3) * 1.5;
  o.threshold = random.below(2) ? 0.01 : 0;  // many tokens at once
  o.seed = std::uint64_t(random.below(1000));
  if (o.strategy <= StrategyKind::fixed && random.below(2)) {
    o.strategy = StrategyKind::fixed;
    o.remasking = Remasking::random;
  }
  if (attention == Attention::bidirectional) {
    if (random.below(3) == 0) o.preset = DecodingPreset::fast;
    if (random.below(3) == 0) o.cache = CacheKind::prefix;
    o.cfg_scale = random.below(3) == 0 ? 1.5 : 0;
  }
  if (o.preset == DecodingPreset::fast && o.remasking == Remasking::random)
    o.remasking = Remasking::low_confidence;
  return o;
}

class JsonSkeletons : public ::testing::TestWithParam<std::tuple<Attention, bool>> {};

// Whatever an untrained model says: the answer is JSON and conforms to the schema.
TEST_P(JsonSkeletons, AnswersConformToTheirSchema) {
  const auto [attention, shift] = GetParam();
  const Tokenizer& tokenizer = trained();
  const UntrainedModel model(tokenizer, attention, shift);
  const SkeletonWriter writer(tokenizer, model.config);
  Decoder decoder(cpu(), model.config, *model.weights,
                  {.tokens = 1300, .sequences = 4, .guidance = true, .cache = true});
  std::int64_t shorter = 0, steps = 0;
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    RandomSchema random(seed);
    const SchemaText schema = seed % 4 ? random.object(2) : random.make(1);
    const JsonSkeleton skeleton =
        writer.write(parse_json_schema(schema.dump()), 1 + random.below(12));
    const std::vector<std::int32_t> prompt =
        tokenizer.encode(std::string(std::size_t(1 + random.below(9)), 'a'));
    if (prompt.size() + skeleton.tokens.size() > 600) continue;
    std::vector<DecodingRequest> requests;
    for (int sample = 0; sample < 2; ++sample) {
      requests.push_back(request_of(skeleton, prompt, random_options(random, attention)));
      requests.back().sample = sample;
    }
    const std::int64_t before = decoder.stats().steps;
    for (const DecodingResult& result : decode(decoder, requests)) {
      const std::span<const std::int32_t> answer = std::span(result.tokens).subspan(prompt.size());
      ASSERT_EQ(answer.size(), skeleton.tokens.size());
      for (std::size_t i = 0; i < answer.size(); ++i) {
        ASSERT_NE(answer[i], model.config.mask_token);
        ASSERT_TRUE(skeleton.tokens[i] == model.config.mask_token ||
                    answer[i] == skeleton.tokens[i]);
        shorter += answer[i] == skeleton.filler;
      }
      const std::string text = answer_text(tokenizer, answer);
      SchemaText value;
      ASSERT_NO_THROW(value = parse_json<SchemaText>(text, "the answer")) << text << schema;
      EXPECT_TRUE(conforms(value, schema)) << text << schema;
    }
    steps += decoder.stats().steps - before;
  }
  EXPECT_GT(shorter, 100);
  EXPECT_GT(steps, 100);
}

INSTANTIATE_TEST_SUITE_P(Models, JsonSkeletons,
                         ::testing::Combine(::testing::Values(Attention::bidirectional,
                                                              Attention::block_causal),
                                            ::testing::Bool()),
                         [](const auto& test) {
                           return std::string(word_of(std::get<0>(test.param))) +
                                  (std::get<1>(test.param) ? "_shifted" : "");
                         });

// Beside others an answer is what it is alone.
TEST(JsonSkeleton, AnAnswerDoesNotDependOnThoseBesideIt) {
  const Tokenizer& tokenizer = trained();
  const UntrainedModel model(tokenizer, Attention::bidirectional, false);
  const SkeletonWriter writer(tokenizer, model.config);
  Decoder decoder(cpu(), model.config, *model.weights, {.tokens = 1300, .sequences = 8});
  std::vector<DecodingRequest> requests;
  for (std::uint64_t i = 0; i < 6; ++i) {
    RandomSchema random(100 + i);
    const DecodingOptions options{.gen_length = 20, .temperature = 1, .seed = i};
    if (i % 3 == 2)
      requests.push_back({.tokens = {1, 2, 3}, .options = options});
    else
      requests.push_back(
          request_of(writer.write(parse_json_schema(random.object(1).dump()), 6), {4, 5}, options));
  }
  const std::vector<DecodingResult> together = decode(decoder, requests);
  for (std::size_t i = 0; i < requests.size(); ++i)
    EXPECT_EQ(decode(decoder, {requests[i]})[0].tokens, together[i].tokens) << i;
}

TEST(JsonSkeleton, KeysAndPunctuationAreThereFromTheBeginning) {
  const Tokenizer tokenizer = Tokenizer::from_json(byte_tokenizer_json(), "bytes");
  ModelConfig config = tiny_config();
  config.vocab_size = 258;
  config.max_seq_length = 200;
  config.mask_token = kByteMask;
  config.eos_token = kByteEnd;
  const SkeletonWriter writer(tokenizer, config);
  const auto shape = [&](const std::string& schema) {
    std::string text;
    for (const std::int32_t id : writer.write(parse_json_schema(schema), 4).tokens)
      text += id == kByteMask ? '_' : char(id);
    return text;
  };
  EXPECT_EQ(shape(R"({"type": "object", "properties": {"a": {"type": "string"},
      "b": {"type": "object", "properties": {}}, "c": {"type": "boolean"},
      "d": {"type": "array", "minItems": 2, "maxItems": 2, "items": {"const": [1]}},
      "e": {"type": "string", "maxLength": 2}, "f": {"type": "string", "minLength": 6},
      "g": {"type": "null"}}})"),
            R"({"a": "____", "b": {}, "c": _____, "d": [[1], [1]], "e": "__", "f": "______", )"
            R"("g": null})");
  EXPECT_EQ(shape(R"({"type": "integer"})"), "__________");
  const auto refused = [&](const std::string& schema) {
    return error_of([&] { (void)writer.write(parse_json_schema(schema), 4); });
  };
  EXPECT_TRUE(contains(refused(R"({"type": "string", "minLength": 300})"), "more than 200 tokens"));
  EXPECT_TRUE(contains(refused(R"({"const": ")" + std::string(300, 'a') + "\"}"), "more than 200"));
  const Tokenizer shifted =
      Tokenizer::from_json(byte_tokenizer_json([](int byte) { return byte + 2; }, 0, 1), "bytes");
  config.vocab_size = '0' + 2;  // the model has no digits
  config.mask_token = 0;
  config.eos_token = 1;
  const SkeletonWriter without(shifted, config);
  EXPECT_TRUE(contains(
      error_of([&] { (void)without.write(parse_json_schema(R"({"type": "integer"})"), 4); }),
      "cannot write"));
}

// What a step computes for a slot is bounded by its tokens times the characters that are counted.
TEST(JsonSkeleton, StringsThatAreTooLongAreRefused) {
  const Tokenizer& tokenizer = trained();
  const UntrainedModel model(tokenizer, Attention::bidirectional, false);
  const SkeletonWriter writer(tokenizer, model.config);
  const auto refused = [&](std::int64_t tokens, std::int64_t most) {
    const std::string schema = str(R"({"type": "string", "maxLength": )", most, "}");
    return error_of([&] { (void)writer.write(parse_json_schema(schema), tokens); });
  };
  EXPECT_TRUE(contains(refused(4096, 8000), "a string of 4,096 tokens")) << refused(4096, 8000);
  EXPECT_TRUE(contains(refused(4096, 4096), "more than 640 tokens")) << refused(4096, 4096);
  EXPECT_EQ(refused(16, 1 << 20), "");  // no 16 tokens have as many characters
}

TEST(JsonSkeleton, NeedsADiffusionModelWithAnEndToken) {
  const Tokenizer& tokenizer = trained();
  const UntrainedModel causal(tokenizer, Attention::causal, false);
  EXPECT_THROW(SkeletonWriter(tokenizer, causal.config), UsageError);
  const UntrainedModel model(tokenizer, Attention::bidirectional, false);
  const SkeletonWriter writer(tokenizer, model.config);
  Decoder decoder(cpu(), model.config, *model.weights, {.tokens = 600});
  const JsonSkeleton skeleton = writer.write(parse_json_schema(R"({"type": "boolean"})"), 4);
  for (const StrategyKind strategy : {StrategyKind::wino, StrategyKind::remdm, StrategyKind::edit})
    EXPECT_TRUE(
        contains(error_of([&] { decoder.add(request_of(skeleton, {1}, {.strategy = strategy})); }),
                 std::string("strategy ") + word_of(strategy)));
}

}  // namespace
}  // namespace lacuna
