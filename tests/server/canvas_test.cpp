#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "decoding/generate.h"
#include "diffusion/likelihood.h"
#include "evaluation/encode_text.h"
#include "evaluation/gap_text.h"
#include "server/api_server.h"
#include "tests/server/client.h"
#include "tests/server/served_model.h"
#include "tokenizer/answer_text.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT
using Json = nlohmann::json;

class Canvases : public ::testing::Test {
 protected:
  Canvases() { server_.serve(*bidirectional_model(), bidirectional_model().service()); }
  Answer post(const std::string& path, const std::string& body) {
    return Client(server_.port()).post(path, body);
  }
  Json object(const std::string& path, const std::string& body) {
    return object_of(post(path, body));
  }
  std::string refused(const std::string& path, const std::string& body) {
    const Answer answer = post(path, body);
    EXPECT_EQ(answer.status, 400) << body << answer.body;
    const Json error = Json::parse(answer.body)["error"];
    return error["param"].is_string() ? std::string(error["param"]) : "";
  }
  ApiServer server_{ApiServerOptions{}};
};

/// What a client makes of a canvas stream: the tokens in the end. -1: masked.
std::vector<std::int32_t> replayed(const std::vector<std::string>& events) {
  std::vector<std::int32_t> canvas;
  const Json begin = Json::parse(events.front());
  for (const Json& token : begin["tokens"])
    canvas.push_back(token.is_null() ? -1 : token.get<std::int32_t>());
  EXPECT_EQ(begin["pieces"].size(), canvas.size());
  for (std::size_t i = 1; i + 1 < events.size(); ++i) {
    const Json step = Json::parse(events[i]);
    EXPECT_EQ(step["n"], i);
    for (const Json& token : step["committed"]) {
      const auto at = token[0].get<std::size_t>();
      if (at >= canvas.size()) canvas.resize(at + 1, -1);
      canvas[at] = token[1];
      EXPECT_GT(token[3], -1e-9);
      EXPECT_LE(token[3], 1.0);
    }
    for (const Json& at : step["revoked"]) canvas[at.get<std::size_t>()] = -1;
    EXPECT_EQ(step["masked"], std::count(canvas.begin(), canvas.end(), -1)) << events[i];
  }
  return canvas;
}

std::vector<std::int32_t> filled(const DecodingRequest& request) {
  Decoder decoder(*bidirectional_model()->ops, bidirectional_model()->config(),
                  bidirectional_model()->weights, {1024, 8});
  return decode(decoder, {request}).front().tokens;
}

TEST_F(Canvases, StreamEveryStepOfAnAnswer) {
  for (const char* strategy : {"fixed", "threshold", "wino"}) {
    const std::string fields =
        str(R"({"prompt": "abc", "max_tokens": 32, "temperature": 0.5, "seed": 8, "strategy": ")",
            strategy, "\"}");
    const std::vector<std::string> events = events_of(post("/v1/canvas", fields).body);
    ASSERT_GE(events.size(), 3u);
    const Json end = Json::parse(events.back());
    const Json whole = object("/v1/completions", fields);
    EXPECT_EQ(end["text"], whole["choices"][0]["text"]);
    EXPECT_EQ(end["finish_reason"], whole["choices"][0]["finish_reason"]);
    EXPECT_EQ(end["usage"], whole["usage"]);
    const std::vector<std::int32_t> canvas = replayed(events);
    EXPECT_EQ(canvas.size(), 35u);
    const std::span<const std::int32_t> answer = std::span(canvas).subspan(3);
    if (whole["choices"][0]["finish_reason"] == "stop") continue;
    EXPECT_EQ(end["text"], answer_text(*bidirectional_model()->source.tokenizer, answer));
  }
}

TEST_F(Canvases, FillWhatIsMaskedAndKeepWhatIsGiven) {
  std::vector<std::int32_t> given = {1, 2, kServedMask, 4, kServedMask, kServedMask, 7};
  const std::string body =
      R"({"canvas": [1, 2, null, 4, null, null, 7], "seed": 5, "temperature": 1})";
  const std::vector<std::int32_t> canvas = replayed(events_of(post("/v1/canvas", body).body));
  DecodingRequest request{.tokens = given, .options = {}, .infill = true};
  request.options.seed = 5;
  request.options.temperature = 1;
  EXPECT_EQ(canvas, filled(request));
  for (std::size_t i = 0; i < given.size(); ++i)
    EXPECT_TRUE(given[i] == kServedMask || canvas[i] == given[i]) << i;
  const std::vector<std::string> gaps =
      events_of(post("/v1/canvas", R"({"text": "ab{gap:3}c", "seed": 1})").body);
  EXPECT_EQ(replayed(gaps).size(), 6u);
  EXPECT_TRUE(Json::parse(gaps.back())["text"].get<std::string>().starts_with("ab"));
}

TEST_F(Canvases, RefuseWhatTheyAreNot) {
  const std::string path = "/v1/canvas";
  EXPECT_EQ(refused(path, "{}"), "prompt");
  EXPECT_EQ(refused(path, R"({"prompt": "a", "text": "{gap:2}"})"), "prompt");
  EXPECT_EQ(refused(path, R"({"canvas": []})"), "canvas");
  EXPECT_EQ(refused(path, R"({"canvas": [1, "x"]})"), "canvas");
  EXPECT_EQ(refused(path, R"({"canvas": [98]})"), "canvas");
  EXPECT_EQ(refused(path, R"({"text": "a{gap}"})"), "text");
  EXPECT_EQ(refused(path, R"({"text": "a{gap:500}"})"), "text");
  EXPECT_EQ(refused(path, R"({"text": "a{gap:5}", "max_tokens": 3})"), "max_tokens");
  EXPECT_EQ(refused(path, R"({"prompt": "a", "n": 2})"), "n");
  EXPECT_EQ(refused(path, R"({"prompt": "a", "stop": "x"})"), "stop");
}

TEST_F(Canvases, GapsAreFilledAsLacunaSampleDoes) {
  const auto expected = [&](const std::string& text) {
    GapText gaps = parse_gaps(text, *bidirectional_model()->source.tokenizer, 256, "x");
    Decoder decoder(*bidirectional_model()->ops, bidirectional_model()->config(),
                    bidirectional_model()->weights, {1024, 8});
    choose_lengths(gaps, decoder, kServedMask);
    DecodingRequest request{.tokens = with_masks(gaps, kServedMask), .options = {}, .infill = true};
    request.options.seed = 3;
    return answer_text(*bidirectional_model()->source.tokenizer, filled(request));
  };
  for (const char* text : {"ab{gap:3}cd", "ab{gap}cd{gap:2}e{gap}"}) {
    const Json filled = object("/v1/infill", str(R"({"text": ")", text, R"(", "seed": 3})"));
    EXPECT_EQ(filled["text"], expected(text));
    std::string again;
    const GapText gaps = parse_gaps(text, *bidirectional_model()->source.tokenizer, 256, "x");
    for (std::size_t i = 0; i < gaps.texts.size(); ++i) {
      again += answer_text(*bidirectional_model()->source.tokenizer, gaps.texts[i]);
      if (i < gaps.gaps.size()) again += filled["gaps"][i].get<std::string>();
    }
    EXPECT_EQ(filled["text"], again);
  }
  const Json between =
      object("/v1/infill", R"({"prefix": "ab", "suffix": "cd", "length": 3, "seed": 3})");
  EXPECT_EQ(between["text"], expected("ab{gap:3}cd"));
  EXPECT_EQ(between["usage"]["completion_tokens"], 3);
  const std::string path = "/v1/infill";
  EXPECT_EQ(refused(path, "{}"), "text");
  EXPECT_EQ(refused(path, R"({"text": "no gap"})"), "text");
  EXPECT_EQ(refused(path, R"({"text": "a{gap}", "prefix": "b"})"), "text");
  EXPECT_EQ(refused(path, R"({"prefix": "a", "length": 0})"), "length");
  EXPECT_EQ(refused(path, R"({"prefix": "a", "length": 300})"), "text");
  EXPECT_EQ(refused(path, R"({"prefix": "a", "stream": true})"), "stream");
  EXPECT_EQ(refused(path, R"({"prefix": "a", "block_length": 4})"), "block_length");
  const std::string metrics = Client(server_.port()).get("/metrics").body;
  EXPECT_TRUE(contains(metrics, "outcome=\"succeeded\"} 3\n")) << "trials are no requests";
}

TEST_F(Canvases, ScoresAreThoseOfLacunaScore) {
  const PromptedText text = encode_pair(*bidirectional_model()->source.tokenizer,
                                        TaskText::written("abc"), TaskText::written("defgh"));
  LikelihoodEstimator estimator(*bidirectional_model()->ops, bidirectional_model()->config(),
                                bidirectional_model()->weights, 1024);
  LikelihoodOptions options;
  options.samples = 16;
  options.seed = 9;
  const Likelihood expected = estimator.score({text}, options).front();
  const Json score =
      object("/v1/score", R"({"prompt": "abc", "text": "defgh", "samples": 16, "seed": 9})");
  EXPECT_EQ(double(score["nats"]), expected.nats);
  EXPECT_EQ(double(score["standard_error"]), expected.standard_error);
  EXPECT_EQ(score["tokens"], 5);
  EXPECT_EQ(score["exact"], false);
  EXPECT_EQ(refused("/v1/score", R"({"prompt": "a"})"), "text");
  EXPECT_EQ(refused("/v1/score", R"({"text": "a", "samples": 0})"), "samples");
  EXPECT_EQ(refused("/v1/score", str(R"({"text": ")", std::string(257, 'a'), "\"}")), "text");
}

TEST_F(Canvases, TheLikeliestChoiceIsTheAnswer) {
  const std::vector<std::string> choices = {"yes", "no", "perhaps", "<|endoftext|>"};
  std::vector<PromptedText> texts;
  for (const std::string& choice : choices) {
    PromptedText text{bidirectional_model()->source.tokenizer->encode("abc"), 3};
    for (const std::int32_t id :
         bidirectional_model()->source.tokenizer->encode(choice, Tokenizer::Special::as_text))
      text.tokens.push_back(id);
    texts.push_back(text);
  }
  LikelihoodEstimator estimator(*bidirectional_model()->ops, bidirectional_model()->config(),
                                bidirectional_model()->weights, 1024);
  LikelihoodOptions options;
  options.seed = 6;
  const std::vector<Likelihood> scores = estimator.score(texts, options);
  std::size_t best = 0;
  for (std::size_t i = 1; i < scores.size(); ++i)
    if (scores[i].nats < scores[best].nats) best = i;
  const std::string fields = R"("choices": )" + Json(choices).dump() + R"(, "seed": 6)";
  const Json chosen = object("/v1/completions", R"({"prompt": "abc", )" + fields + "}");
  EXPECT_EQ(chosen["choices"][0]["text"], choices[best]);
  EXPECT_EQ(chosen["choices"][0]["finish_reason"], "stop");
  const std::string chat = R"({"messages": [{"role": "user", "content": "a"}], )" + fields;
  const Json whole = object("/v1/chat/completions", chat + "}");
  std::string streamed;
  for (const std::string& event :
       events_of(post("/v1/chat/completions", chat + R"(, "stream": true})").body))
    if (event != "[DONE]")
      streamed += Json::parse(event)["choices"][0]["delta"].value("content", "");
  EXPECT_EQ(streamed, whole["choices"][0]["message"]["content"].get<std::string>());
  EXPECT_NE(std::find(choices.begin(), choices.end(), streamed), choices.end());
  const std::string path = "/v1/completions";
  EXPECT_EQ(refused(path, R"({"choices": ["a"]})"), "choices");
  EXPECT_EQ(refused(path, R"({"choices": ["a", ""]})"), "choices");
  EXPECT_EQ(refused(path, R"({"choices": ["a", "b"], "n": 2})"), "n");
  EXPECT_EQ(refused(path, R"({"choices": ["a", "b"], "stop": "x"})"), "stop");
  EXPECT_EQ(refused(path, R"({"choices": ["a", "b"], "max_tokens": 1})"), "max_tokens");
  EXPECT_EQ(refused(path, R"({"choices": ["a", "b"], "prompt": ["a", "b"]})"), "prompt");
}

TEST_F(Canvases, TokensAndTextsAreEachOthers) {
  const Json tokens = object("/tokenize", R"({"text": "a b"})");
  EXPECT_EQ(tokens["tokens"], (std::vector<int>{'a' - ' ', 0, 'b' - ' '}));
  EXPECT_EQ(tokens["count"], 3);
  EXPECT_EQ(object("/detokenize", R"({"tokens": [65, 0, 66]})")["text"], "a b");
  EXPECT_EQ(refused("/detokenize", R"({"tokens": [1000]})"), "tokens");
  EXPECT_EQ(refused("/detokenize", "{}"), "tokens");
  EXPECT_EQ(refused("/tokenize", R"({"text": 1})"), "text");
}

TEST(CausalCanvases, GrowAndHaveNoGaps) {
  const ServedModel causal(Attention::causal);
  ApiServer server{ApiServerOptions{}};
  server.serve(*causal, causal.service());
  const std::string fields = R"({"prompt": "ab", "max_tokens": 6, "temperature": 1, "seed": 2})";
  const std::vector<std::string> events =
      events_of(Client(server.port()).post("/v1/canvas", fields).body);
  const Json whole = Json::parse(Client(server.port()).post("/v1/completions", fields).body);
  EXPECT_EQ(Json::parse(events.back())["text"], whole["choices"][0]["text"]);
  EXPECT_GE(replayed(events).size(), 3u);
  EXPECT_EQ(Client(server.port()).post("/v1/infill", R"({"text": "a{gap:2}"})").status, 400);
  EXPECT_EQ(Client(server.port()).post("/v1/canvas", R"({"canvas": [1, null]})").status, 400);
  const Json score = Json::parse(Client(server.port()).post("/v1/score", R"({"text": "ab"})").body);
  EXPECT_EQ(score["exact"], true);
}

}  // namespace
}  // namespace lacuna
