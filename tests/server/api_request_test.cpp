#include "server/api_request.h"

#include <gtest/gtest.h>

#include "server/api_error.h"
#include "tests/support/support.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

const RequestDefaults kDefaults{.options = {}, .seed = 77};

/// The field that a completion is refused for, or "accepted".
std::string refused(const std::string& body) {
  try {
    (void)parse_completion(body, kDefaults);
  } catch (const ApiError& e) {
    EXPECT_EQ(e.status, 400);
    return e.param;
  }
  return "accepted";
}
std::string refused_chat(const std::string& more) {
  try {
    (void)parse_chat(R"({"messages": [{"role": "user", "content": "a"}])" + more + "}", kDefaults);
  } catch (const ApiError& e) {
    EXPECT_EQ(e.status, 400);
    return e.param;
  }
  return "accepted";
}

TEST(ApiRequest, ReadsWhatOpenAisClientsSend) {
  const CompletionRequest r = parse_completion(
      R"({"model": "m", "prompt": "Once", "max_tokens": 40, "temperature": 0.5, "top_p": 1.0,
          "n": 3, "stop": ["a", "b"], "seed": 9, "stream": true, "user": "me", "echo": false,
          "stream_options": {"include_usage": true}, "logit_bias": null, "presence_penalty": 0.0})",
      kDefaults);
  EXPECT_EQ(r.model, "m");
  ASSERT_EQ(r.prompts.size(), 1u);
  EXPECT_EQ(r.prompts[0].text, "Once");
  EXPECT_EQ(r.options.gen_length, 40);
  EXPECT_EQ(r.options.temperature, 0.5);
  EXPECT_EQ(r.options.seed, 9u);
  EXPECT_EQ(r.n, 3);
  EXPECT_EQ(r.stop, (std::vector<std::string>{"a", "b"}));
  EXPECT_TRUE(r.stream && r.include_usage);
  EXPECT_EQ(parse_completion("{}", kDefaults).options.seed, 77u);
}

TEST(ApiRequest, PromptsAreTextsOrIdsOrListsOfThem) {
  const auto prompts = [](const std::string& prompt) {
    return parse_completion(R"({"prompt": )" + prompt + "}", kDefaults).prompts;
  };
  EXPECT_EQ(prompts("[1, 2]")[0].ids, (std::vector<std::int32_t>{1, 2}));
  EXPECT_EQ(prompts(R"(["a", "b"])")[1].text, "b");
  EXPECT_EQ(prompts("[[1], [2, 3]]")[1].ids, (std::vector<std::int32_t>{2, 3}));
  EXPECT_EQ(prompts("[]")[0].ids, (std::vector<std::int32_t>{}));
  for (const char* wrong : {"1", "{}", "[true]", "[-1]", "[1.5]", "[1, \"a\"]", "[4294967296]"})
    EXPECT_EQ(refused(std::string(R"({"prompt": )") + wrong + "}"), "prompt") << wrong;
}

TEST(ApiRequest, EveryOptionOfDecodingIsAField) {
  const CompletionRequest r = parse_completion(
      R"({"steps": 8, "block_length": 4, "remasking": "random", "cfg_scale": 1.5,
          "preset": "fast", "strategy": "wino", "threshold": 0.5, "factor": 2, "cache": "dual",
          "entropy_bound": 0.2, "revise_threshold": 0.3, "remask_rate": 0.1, "refresh_every": 3,
          "vicinity": 0, "stop_at_end": true})",
      kDefaults);
  DecodingOptions o;
  o.steps = 8;
  o.block_length = 4;
  o.remasking = Remasking::random;
  o.cfg_scale = 1.5;
  o.preset = DecodingPreset::fast;
  o.strategy = StrategyKind::wino;
  o.threshold = 0.5;
  o.factor = 2;
  o.cache = CacheKind::dual;
  o.entropy_bound = 0.2;
  o.revise_threshold = 0.3;
  o.remask_rate = 0.1;
  o.refresh_every = 3;
  o.vicinity = 0;
  o.stop_at_end = true;
  o.seed = 77;
  EXPECT_TRUE(r.options == o);
  EXPECT_TRUE(r.given.contains("vicinity"));
  EXPECT_FALSE(r.given.contains("temperature"));
}

TEST(ApiRequest, WhatIsNotSupportedIsRefusedByName) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"top_p": 0.9})", "top_p"},
      {R"({"frequency_penalty": 0.5})", "frequency_penalty"},
      {R"({"presence_penalty": -1})", "presence_penalty"},
      {R"({"logit_bias": {"50256": -100}})", "logit_bias"},
      {R"({"logprobs": 5})", "logprobs"},
      {R"({"echo": true})", "echo"},
      {R"({"suffix": "x"})", "suffix"},
      {R"({"best_of": 4})", "best_of"},
      {R"({"max_tokens": 0})", "max_tokens"},
      {R"({"max_tokens": 1.5})", "max_tokens"},
      {R"({"max_tokens": 5, "max_completion_tokens": 6})", "max_tokens"},
      {R"({"temperature": -1})", "temperature"},
      {R"({"temperature": "hot"})", "temperature"},
      {R"({"seed": -1})", "seed"},
      {R"({"seed": 18446744073709551615})", "seed"},
      {R"({"n": 0})", "n"},
      {R"({"n": 100000})", "n"},
      {R"({"stop": ["a", "b", "c", "d", "e"]})", "stop"},
      {R"({"stop": ""})", "stop"},
      {R"({"stop": 1})", "stop"},
      {R"({"stream": "yes"})", "stream"},
      {R"({"stream_options": {"include_usage": true}})", "stream_options"},
      {R"({"stream": true, "stream_options": {"x": 1}})", "stream_options.x"},
      {R"({"strategy": "fastest"})", "strategy"},
      {R"({"remask_rate": 2})", "remask_rate"},
      {R"({"min_p": 0.1})", "min_p"},
      {R"({"gen_length": 3})", "gen_length"}};
  for (const auto& [body, param] : cases) EXPECT_EQ(refused(body), param) << body;
  for (const char* body : {"", "[]", "{", "{\"a\":1,\"a\":2}", "\xff"})
    EXPECT_EQ(refused(body), "") << body;
}

TEST(ApiRequest, ChatsAreDialogues) {
  const ChatRequest r = parse_chat(
      R"({"messages": [{"role": "developer", "content": "s"}, {"role": "user", "content":
          [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
          {"role": "assistant", "content": "c", "refusal": null}, {"role": "user", "content": "d"}],
          "tools": [], "response_format": {"type": "text"}})",
      kDefaults);
  ASSERT_EQ(r.messages.size(), 4u);
  EXPECT_EQ(r.messages[0].role, "system");
  EXPECT_EQ(r.messages[1].content, "ab");
  EXPECT_EQ(refused_chat(R"(, "tools": [{"type": "function"}])"), "tools");
  EXPECT_EQ(refused_chat(R"(, "logprobs": true)"), "logprobs");
  EXPECT_EQ(refused_chat(R"(, "modalities": ["audio"])"), "modalities");
  EXPECT_EQ(refused_chat(R"(, "prompt": "x")"), "prompt");
  const auto messages = [](const std::string& list) {
    try {
      (void)parse_chat("{\"messages\": " + list + "}", kDefaults);
    } catch (const ApiError& e) {
      return e.param;
    }
    return std::string("accepted");
  };
  EXPECT_EQ(messages("[]"), "messages");
  EXPECT_EQ(messages("null"), "messages");
  EXPECT_EQ(messages(R"([{"role": "tool", "content": "a"}])"), "messages[0].role");
  EXPECT_EQ(messages(R"([{"role": "user"}])"), "messages[0].content");
  EXPECT_EQ(messages(R"([{"role": "user", "content": [{"type": "image_url"}]}])"),
            "messages[0].content");
  EXPECT_EQ(
      messages(R"([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])"),
      "messages");
}

// What is streamed or filled has a fixed length.
TEST(ApiRequest, CanvasesAndGapsDoNotGrow) {
  const char* texts[] = {R"("prompt": "a")", R"("messages": [{"role": "user", "content": "a"}])",
                         R"("text": "a{gap:2}")", R"("canvas": [1, null])"};
  RequestDefaults growing = kDefaults;  // of a server that was started with --initial-length
  growing.options.initial_length = 16;
  const auto canvas = [&](const char* text, const std::string& more) {
    return parse_canvas(str("{", text, more, "}"), growing).options.initial_length;
  };
  const auto infill = [&](const char* text, const std::string& more) {
    return parse_infill(str("{", text, more, "}"), growing).options.initial_length;
  };
  const auto refusal = [](const auto& parse, const char* text, const char* value) {
    try {
      (void)parse(text, str(", \"initial_length\": ", value));
    } catch (const ApiError& e) {
      EXPECT_EQ(e.status, 400);
      EXPECT_EQ(e.param, "initial_length");
      return e.code;
    }
    return std::string("accepted");
  };
  for (const char* text : texts) {
    for (const char* value : {"4", "1000000", "-1", "\"4\""})
      EXPECT_EQ(refusal(canvas, text, value), "unsupported_parameter") << text << value;
    for (const char* nothing : {"", R"(, "initial_length": 0)", R"(, "initial_length": null)"})
      EXPECT_EQ(canvas(text, nothing), 0) << text << nothing;
  }
  for (const char* text : {R"("text": "a{gap}")", R"("prefix": "a", "length": 4)"}) {
    EXPECT_EQ(refusal(infill, text, "4"), "unsupported_parameter") << text;
    EXPECT_EQ(infill(text, ""), 0) << text;
  }
  EXPECT_EQ(parse_completion(R"({"initial_length": 4})", kDefaults).options.initial_length, 4);
}

}  // namespace
}  // namespace lacuna
