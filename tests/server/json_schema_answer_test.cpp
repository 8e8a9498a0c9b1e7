#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/text.h"
#include "decoding/generate.h"
#include "decoding/make_strategy.h"
#include "server/api_server.h"
#include "structured/json_skeleton.h"
#include "tests/server/client.h"
#include "tests/server/served_model.h"
#include "tests/structured/random_schema.h"
#include "tokenizer/answer_text.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT
using OrderedJson = nlohmann::ordered_json;

OrderedJson format_of(const OrderedJson& schema) {
  return {{"type", "json_schema"},
          {"json_schema", {{"name", "answer"}, {"strict", true}, {"schema", schema}}}};
}

/// What `lacuna sample --json-schema` prints.
std::string alone(const LoadedModel& model, const OrderedJson& fields, std::int64_t sample = 0) {
  const Tokenizer& tokenizer = *model.source.tokenizer;
  const OrderedJson& schema = fields["response_format"]["json_schema"]["schema"];
  const std::vector<std::int32_t> prompt = tokenizer.encode(fields["prompt"].get<std::string>());
  DecodingOptions options{.temperature = fields["temperature"], .seed = fields["seed"]};
  options.strategy = parse_word<StrategyKind>(fields["strategy"].get<std::string>()).value();
  DecodingRequest request =
      request_of(SkeletonWriter(tokenizer, model.config())
                     .write(parse_json_schema(schema.dump()), fields["string_tokens"]),
                 prompt, options);
  request.sample = sample;
  Decoder decoder(*model.ops, model.config(), model.weights, {.tokens = 256, .cache = true});
  const std::vector<std::int32_t> tokens = decode(decoder, {request})[0].tokens;
  return answer_text(tokenizer, std::span(tokens).subspan(prompt.size()));
}

class JsonSchemaAnswers : public ::testing::TestWithParam<Attention> {};

TEST_P(JsonSchemaAnswers, ConformAndAreThoseOfTheirOwnRun) {
  const ServedModel model(GetParam());
  ApiServer server{ApiServerOptions{}};
  server.serve(*model, model.service());
  const char* strategies[] = {"auto", "fixed", "threshold", "margin"};
  int compared = 0;
  for (std::uint64_t seed = 0; seed < 16; ++seed) {
    RandomSchema random(seed);
    const OrderedJson schema = random.object(1);
    OrderedJson fields = {{"prompt", std::string(1 + seed, 'p')},
                          {"temperature", double(seed % 3)},
                          {"seed", seed},
                          {"strategy", strategies[seed % 4]},
                          {"string_tokens", 3 + seed % 5},
                          {"response_format", format_of(schema)},
                          {"n", 2}};
    const Answer answer = Client(server.port()).post("/v1/completions", fields.dump());
    if (answer.status == 400) {  // characters that the model does not have
      EXPECT_TRUE(contains(answer.body, "cannot write") ||
                  contains(answer.body, "context_length_exceeded"))
          << answer.body;
      continue;
    }
    const OrderedJson json = OrderedJson::parse(answer.body);
    for (int k = 0; k < 2; ++k) {
      const std::string text = json["choices"][k]["text"];
      EXPECT_EQ(text, alone(*model, fields, k)) << schema;
      EXPECT_TRUE(conforms(OrderedJson::parse(text), schema)) << text << schema;
      EXPECT_EQ(json["choices"][k]["finish_reason"], "stop");
    }
    ++compared;
    fields["stream"] = true;
    const Answer streamed = Client(server.port()).post("/v1/completions", fields.dump());
    std::string texts[2], reason;
    for (const std::string& event : events_of(streamed.body)) {
      if (event == "[DONE]") continue;
      const OrderedJson choice = OrderedJson::parse(event)["choices"][0];
      texts[choice["index"].get<int>()] += choice["text"];
      if (choice["finish_reason"].is_string()) reason = choice["finish_reason"];
    }
    for (int k = 0; k < 2; ++k) EXPECT_EQ(texts[k], json["choices"][k]["text"]);
    EXPECT_EQ(reason, "stop");
  }
  EXPECT_GE(compared, 5);
}

INSTANTIATE_TEST_SUITE_P(Models, JsonSchemaAnswers,
                         ::testing::Values(Attention::bidirectional, Attention::block_causal),
                         [](const auto& test) { return std::string(word_of(test.param)); });

TEST(JsonSchemaAnswer, OfAChatIsItsContent) {
  ServiceOptions service = bidirectional_model().service();
  service.defaults.strategy = StrategyKind::wino;  // which yields
  service.defaults.initial_length = 0;
  ApiServer server{ApiServerOptions{}};
  server.serve(*bidirectional_model(), service);
  const OrderedJson schema = {{"type", "object"},
                              {"properties",
                               {{"name", {{"type", "string"}}},
                                {"age", {{"type", "integer"}, {"minimum", 0}, {"maximum", 120}}}}},
                              {"required", OrderedJson::array({"name", "age"})}};
  const OrderedJson json =
      object_of(Client(server.port())
                    .post("/v1/chat/completions",
                          OrderedJson{{"messages", {{{"role", "user"}, {"content", "Who?"}}}},
                                      {"temperature", 1},
                                      {"seed", 4},
                                      {"response_format", format_of(schema)}}
                              .dump()));
  const std::string text = json["choices"][0]["message"]["content"];
  const OrderedJson value = OrderedJson::parse(text);
  EXPECT_TRUE(conforms(value, schema)) << text;
  EXPECT_EQ(json["timings"]["canvas_tokens"].get<int>(),
            int(std::string(R"({"name": "", "age": })").size()) + 16 + 3);
  EXPECT_EQ(json["usage"]["completion_tokens"].get<std::size_t>(), text.size());
}

TEST(JsonSchemaAnswer, WhatIsNotSupportedIsRefusedByName) {
  ApiServer server{ApiServerOptions{}};
  server.serve(*bidirectional_model(), bidirectional_model().service());
  const auto refused = [&](const OrderedJson& more,
                           const OrderedJson& schema = {{"type", "boolean"}}) {
    OrderedJson fields = {{"prompt", "a"}, {"response_format", format_of(schema)}};
    fields.update(more);
    const Answer answer = Client(server.port()).post("/v1/completions", fields.dump());
    EXPECT_EQ(answer.status, 400) << fields << answer.body;
    const OrderedJson error = OrderedJson::parse(answer.body)["error"];
    return error["param"].is_string() ? error["param"].get<std::string>() : "";
  };
  EXPECT_EQ(refused({{"response_format", {{"type", "json_object"}}}}), "response_format");
  EXPECT_EQ(refused({{"response_format", {{"type", "grammar"}}}}), "response_format");
  EXPECT_EQ(refused({{"response_format", {{"type", "json_schema"}}}}),
            "response_format.json_schema");
  EXPECT_EQ(refused(OrderedJson::object(), {{"anyOf", OrderedJson::array()}}), "response_format");
  EXPECT_EQ(refused(OrderedJson::object(), {{"type", "string"}, {"minLength", 900}}),
            "response_format");
  EXPECT_EQ(refused(OrderedJson::object(), {{"const", "\u00e9"}}), "response_format");
  EXPECT_EQ(refused({{"stop", "a"}}), "stop");
  EXPECT_EQ(refused({{"choices", {"a", "b"}}}), "choices");
  EXPECT_EQ(refused({{"block_length", 4}}), "block_length");
  EXPECT_EQ(refused({{"strategy", "wino"}}), "strategy");
  EXPECT_EQ(refused({{"max_tokens", 3}}), "max_tokens");
  EXPECT_EQ(refused({{"string_tokens", 0}}), "string_tokens");
  EXPECT_EQ(refused({{"prompt", std::string(253, 'a')}}), "messages");
  const Answer plain =
      Client(server.port()).post("/v1/completions", R"({"prompt": "a", "string_tokens": 4})");
  EXPECT_EQ(plain.status, 400);
  const ServedModel causal(Attention::causal);
  ApiServer other{ApiServerOptions{}};
  other.serve(*causal, causal.service());
  const Answer answer =
      Client(other.port())
          .post("/v1/completions",
                OrderedJson{{"prompt", "a"}, {"response_format", format_of({{"type", "boolean"}})}}
                    .dump());
  EXPECT_EQ(answer.status, 400);
  EXPECT_EQ(OrderedJson::parse(answer.body)["error"]["param"], "response_format");
}

}  // namespace
}  // namespace lacuna
