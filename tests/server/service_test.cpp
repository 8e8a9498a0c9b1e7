#include "server/service.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "kernels/cpu/cpu_ops.h"
#include "server/api_server.h"
#include "tests/server/client.h"
#include "tests/server/served_model.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT
using Json = nlohmann::json;

/// The model of `served` with another config.
template <class Change>
LoadedModel changed(const ServedModel& served, Change&& change) {
  ModelSource source(served->source.reader.path());
  change(source.config);
  return {std::move(source), std::make_unique<CpuOps>(1), DType::f32};
}

/// The field that a request is refused for, with status 400 and before any part of the answer.
std::string refused(const ApiServer& server, const std::string& path, const std::string& body) {
  const Answer answer = Client(server.port()).post(path, body);
  EXPECT_EQ(answer.status, 400) << path << body << answer.body;
  const Json json = Json::parse(answer.body, nullptr, false);
  if (json.is_discarded() || !json.contains("error")) return "no error";
  return json["error"]["param"].is_string() ? std::string(json["error"]["param"]) : "";
}

// Where a model predicts the next token and has no end token, nothing predicts the first one.
TEST(Service, AModelThatPredictsTheNextTokenNeedsAPromptOrAnEndToken) {
  for (const Attention attention :
       {Attention::causal, Attention::bidirectional, Attention::block_causal}) {
    const ServedModel served(attention);
    const LoadedModel model = changed(served, [&](ModelConfig& config) {
      config.logits_shift = attention != Attention::causal;
      config.eos_token = -1;
    });
    ApiServer server{ApiServerOptions{}};
    server.serve(model, served.service());
    for (const char* body :
         {R"({"max_tokens": 4})", R"({"prompt": "", "max_tokens": 4, "stream": true})",
          R"({"prompt": ["a", []], "max_tokens": 4})", R"({"choices": ["a", "b"]})"})
      EXPECT_EQ(refused(server, "/v1/completions", body), "prompt") << body;
    EXPECT_EQ(refused(server, "/v1/canvas", R"({"prompt": "", "max_tokens": 4})"), "prompt");
    EXPECT_EQ(refused(server, "/v1/score", R"({"text": "ab"})"), "prompt");
    const Answer prompted =
        Client(server.port()).post("/v1/completions", R"({"prompt": "a", "max_tokens": 4})");
    EXPECT_EQ(prompted.status, 200) << prompted.body;
  }
}

TEST(Service, AFirstTokenThatNothingPredictsIsNotFilled) {
  const ServedModel served(Attention::bidirectional);
  const LoadedModel model =
      changed(served, [](ModelConfig& config) { config.logits_shift = true; });
  ApiServer server{ApiServerOptions{}};
  server.serve(model, served.service());
  EXPECT_EQ(refused(server, "/v1/canvas", R"({"canvas": [null, 1]})"), "");
  EXPECT_EQ(refused(server, "/v1/canvas", R"({"text": "{gap:2}a"})"), "");
  EXPECT_EQ(refused(server, "/v1/infill", R"({"suffix": "a", "length": 2})"), "");
  EXPECT_EQ(refused(server, "/v1/completions",
                    str("{\"prompt\": [", kServedMask, "], \"max_tokens\": 4, \"stream\": true}")),
            "");
  EXPECT_EQ(Client(server.port()).post("/v1/canvas", R"({"canvas": [1, null]})").status, 200);
}

// The end token that stands for a prompt is one of the tokens that a model takes.
TEST(Service, ATextWithoutAPromptIsScoredAfterAnEndToken) {
  const ServedModel served(Attention::causal);
  ApiServer server{ApiServerOptions{}};
  server.serve(*served, served.service());
  const auto text = [](std::size_t n) { return R"({"text": ")" + std::string(n, 'a') + "\"}"; };
  EXPECT_EQ(refused(server, "/v1/score", text(256)), "text");
  EXPECT_EQ(Client(server.port()).post("/v1/score", text(255)).status, 200);
}

// Keys and values of the beginning of a prompt are kept; the answer is the same.
TEST(Service, PromptsThatBeginAlikeAreComputedOnce) {
  for (const Attention attention : {Attention::causal, Attention::block_causal}) {
    const ServedModel served(attention);
    ApiServer server{ApiServerOptions{}}, without{ApiServerOptions{}};
    ServiceOptions none = served.service();
    none.engine.prefixes = 0;
    server.serve(*served, served.service());
    without.serve(*served, none);
    const auto ask = [](const ApiServer& of, const std::string& more) {
      return object_of(Client(of.port()).post(
          "/v1/completions", R"({"max_tokens": 12, "temperature": 1, "seed": 5, "prompt": ")" +
                                 std::string(50, 'a') + more + "\"}"));
    };
    const auto cached = [](const Json& json) {
      return json["usage"]["prompt_tokens_details"]["cached_tokens"].get<int>();
    };
    EXPECT_EQ(cached(ask(server, "")), 0);
    const Json again = ask(server, "bc");
    EXPECT_GE(cached(again), 48);
    EXPECT_LE(cached(again), 50);
    const Json expected = ask(without, "bc");
    EXPECT_EQ(cached(expected), 0);
    EXPECT_EQ(again["choices"], expected["choices"]);
    const std::string metrics = Client(server.port()).get("/metrics").body;
    EXPECT_TRUE(
        contains(metrics, str("\nlacuna_cached_prompt_tokens_total ", cached(again), "\n")));
  }
}

}  // namespace
}  // namespace lacuna
