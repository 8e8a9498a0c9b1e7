#include "server/api_server.h"

#include <gtest/gtest.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>

#include "tests/server/client.h"
#include "tests/server/served_model.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT
using Json = nlohmann::json;

class ApiServerTest : public ::testing::Test {
 protected:
  ApiServer& start(const ServiceOptions& service = bidirectional_model().service(),
                   ApiServerOptions options = {}) {
    server_.emplace(options);
    server_->serve(*bidirectional_model(), service);
    return *server_;
  }
  Client client() const { return Client(server_->port()); }
  Answer post(const std::string& path, const std::string& body) const {
    return client().post(path, body);
  }
  Json object(const std::string& path, const std::string& body) const {
    return object_of(post(path, body));
  }
  std::int64_t metric(const std::string& name) const {
    const std::string text = client().get("/metrics").body;
    const std::size_t at = text.find("\nlacuna_" + name + " ");
    return at == std::string::npos ? -1 : std::stoll(text.substr(at + name.size() + 9));
  }
  bool reaches(const std::string& name, std::int64_t value) const {
    for (int i = 0; i < 6000; ++i) {
      if (metric(name) == value) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }
  /// A server whose one place is taken by a request of many texts, which the client waits for.
  Client occupied(std::size_t queue) {
    ServiceOptions service = bidirectional_model().service();
    service.engine.sequences = 1;
    service.engine.queue = queue;
    start(service);
    Client busy = client();
    busy.ask("POST", "/v1/completions", R"({"max_tokens": 256, "n": 128})");
    EXPECT_TRUE(reaches("requests_active", 1));
    EXPECT_TRUE(reaches("requests_queued", 0));
    return busy;
  }
  std::optional<ApiServer> server_;
};

TEST_F(ApiServerTest, AnswersInOpenAisFormat) {
  start();
  const Json one = object("/v1/completions", R"({"prompt": "abc", "max_tokens": 9, "seed": 4})");
  EXPECT_EQ(one["object"], "text_completion");
  EXPECT_EQ(one["model"], "characters");
  EXPECT_EQ(one["choices"].size(), 1u);
  EXPECT_EQ(one["choices"][0]["index"], 0);
  EXPECT_EQ(one["usage"]["prompt_tokens"], 3);
  EXPECT_EQ(one["usage"]["total_tokens"], 3 + int(one["usage"]["completion_tokens"]));
  EXPECT_EQ(one["seed"], 4);
  EXPECT_LE(one["timings"]["forward_passes"], 9);
  const Json chat = object("/v1/chat/completions",
                           R"({"messages": [{"role": "user", "content": "a"}], "max_tokens": 5})");
  EXPECT_EQ(chat["object"], "chat.completion");
  EXPECT_EQ(chat["choices"][0]["message"]["role"], "assistant");
  EXPECT_TRUE(chat["choices"][0]["message"]["content"].is_string());
  EXPECT_EQ(chat["usage"]["prompt_tokens"], 8 + 11);  // "user: a\n" and "assistant: "
}

TEST_F(ApiServerTest, StreamsAreTheAnswerInPieces) {
  start();
  for (const char* strategy : {"fixed", "threshold", "wino", "remdm"}) {
    const std::string fields =
        str(R"("prompt": "ab", "max_tokens": 40, "temperature": 1, "seed": 3,)",
            R"("n": 2, "strategy": ")", strategy, '"');
    const Json whole = object("/v1/completions", "{" + fields + "}");
    const Answer stream = post("/v1/completions", "{" + fields + R"(, "stream": true,
        "stream_options": {"include_usage": true}})");
    EXPECT_EQ(stream.headers.at("Content-Type"), "text/event-stream");
    std::vector<std::string> events = events_of(stream.body);
    ASSERT_GE(events.size(), 4u);
    EXPECT_EQ(events.back(), "[DONE]");
    events.pop_back();
    const Json usage = Json::parse(events.back());
    EXPECT_EQ(usage["usage"], whole["usage"]);
    EXPECT_TRUE(usage["choices"].empty());
    events.pop_back();
    std::vector<std::string> texts(2), reasons(2);
    for (const std::string& event : events) {
      const Json chunk = Json::parse(event);
      const Json& choice = chunk["choices"][0];
      const auto i = std::size_t(choice["index"]);
      EXPECT_EQ(reasons[i], "") << "text after the end";
      texts[i] += choice["text"].get<std::string>();
      if (!choice["finish_reason"].is_null()) reasons[i] = choice["finish_reason"];
    }
    for (std::size_t i = 0; i < 2; ++i) {
      EXPECT_EQ(texts[i], whole["choices"][i]["text"].get<std::string>()) << strategy;
      EXPECT_EQ(reasons[i], whole["choices"][i]["finish_reason"].get<std::string>());
    }
    EXPECT_NE(texts[0], texts[1]);
  }
  const std::vector<std::string> chat = events_of(
      post("/v1/chat/completions",
           R"({"messages": [{"role": "user", "content": "a"}], "max_tokens": 5, "stream": true})")
          .body);
  EXPECT_EQ(Json::parse(chat[0])["choices"][0]["delta"]["role"], "assistant");
  const Json last = Json::parse(chat[chat.size() - 2]);
  EXPECT_EQ(last["object"], "chat.completion.chunk");
  EXPECT_TRUE(last["choices"][0]["delta"].empty());
  EXPECT_TRUE(last["choices"][0]["finish_reason"].is_string());
}

TEST_F(ApiServerTest, StopsAtAStopText) {
  start();
  const std::string fields = R"("prompt": "ab", "max_tokens": 64, "temperature": 1, "seed": 6)";
  const std::string text = object("/v1/completions", "{" + fields + "}")["choices"][0]["text"];
  ASSERT_GT(text.size(), 8u);
  const std::string stop = text.substr(6, 2);
  const Json cut =
      object("/v1/completions", "{" + fields + ", \"stop\": " + Json(stop).dump() + "}");
  EXPECT_EQ(cut["choices"][0]["text"], text.substr(0, text.find(stop)));
  EXPECT_EQ(cut["choices"][0]["finish_reason"], "stop");
  EXPECT_LT(cut["timings"]["forward_passes"], 64);
}

TEST_F(ApiServerTest, TellsMistakesByFieldAndStatus) {
  start();
  const auto error = [&](const std::string& path, const std::string& body, int status) {
    const Answer answer = post(path, body);
    EXPECT_EQ(answer.status, status) << body << answer.body;
    const Json json = Json::parse(answer.body, nullptr, false);
    for (const char* key : {"message", "type", "param", "code"})
      EXPECT_TRUE(json["error"].contains(key)) << answer.body;
    return json["error"]["param"].is_string() ? std::string(json["error"]["param"]) : "";
  };
  const std::string completions = "/v1/completions";
  EXPECT_EQ(error(completions, R"({"top_p": 0.5})", 400), "top_p");
  EXPECT_EQ(error(completions, R"({"max_tokens": 257})", 400), "messages");
  EXPECT_EQ(error(completions, R"({"prompt": [300]})", 400), "prompt");
  EXPECT_EQ(error(completions, R"({"max_tokens": 8, "block_length": 3})", 400), "block_length");
  EXPECT_EQ(error(completions, R"({"max_tokens": 64, "block_length": 32, "steps": 3})", 400),
            "steps");
  EXPECT_EQ(error(completions, R"({"cfg_scale": 1})", 400), "cfg_scale");
  EXPECT_EQ(error(completions, R"({"model": "other"})", 404), "model");
  EXPECT_EQ(error(completions, R"({"prompt": ["a", "b"], "n": 100})", 400), "n");
  EXPECT_EQ(error("/v1/embeddings", "{}", 404), "");
  EXPECT_EQ(client().get("/v1/completions").status, 405);
  EXPECT_EQ(post("/v1/models", "{}").status, 405);
  EXPECT_EQ(client().get("/v1/models/other").status, 404);
  EXPECT_EQ(Json::parse(client().get("/v1/models").body)["data"][0]["id"], "characters");
  EXPECT_EQ(Json::parse(client().get("/v1/models/characters").body)["max_model_len"], 256);
  Client plain = client();
  plain.send(
      "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n"
      "Content-Length: 2\r\n\r\n{}");
  EXPECT_EQ(plain.answer().status, 415);
  Client foreign = client();
  foreign.send("GET /health HTTP/1.1\r\nHost: evil.example\r\n\r\n");
  EXPECT_EQ(foreign.answer().status, 403);
}

TEST_F(ApiServerTest, KeysAreNeededButForHealth) {
  ApiServerOptions options;
  options.access.keys = {"secret"};
  start(bidirectional_model().service(), options);
  EXPECT_EQ(client().get("/health").status, 200);
  EXPECT_EQ(client().get("/ready").status, 200);
  EXPECT_EQ(client().get("/metrics").status, 401);
  EXPECT_EQ(post("/v1/completions", R"({"max_tokens": 1})").status, 401);
  EXPECT_EQ(client()
                .post("/v1/completions", R"({"max_tokens": 1})", "Authorization: Bearer secret\r\n")
                .status,
            200);
}

TEST_F(ApiServerTest, ThePageNeedsNoKeyAndLoadsNothingOfOthers) {
  ApiServerOptions options;
  options.access.keys = {"secret"};
  start(bidirectional_model().service(), options);
  const std::pair<const char*, const char*> files[] = {
      {"/", "text/html"}, {"/page.css", "text/css"}, {"/page.js", "text/javascript"}};
  for (const auto& [path, type] : files) {
    const Answer file = client().get(path);
    EXPECT_EQ(file.status, 200);
    EXPECT_TRUE(file.headers.at("Content-Type").starts_with(type));
    EXPECT_TRUE(contains(file.headers.at("Content-Security-Policy"), "default-src 'none'"));
    EXPECT_FALSE(file.body.empty());
    for (const char* foreign : {"https://", "http://", "innerHTML", "eval(", "document.write"})
      EXPECT_EQ(file.body.find(foreign), std::string::npos) << path << foreign;
  }
  EXPECT_EQ(client().get("/page.txt").status, 401);
}

TEST_F(ApiServerTest, IsNotReadyBeforeTheModelIs) {
  server_.emplace(ApiServerOptions{});
  EXPECT_EQ(client().get("/health").status, 200);
  EXPECT_EQ(client().get("/ready").status, 503);
  const Answer early = post("/v1/completions", "{}");
  EXPECT_EQ(early.status, 503);
  EXPECT_EQ(early.headers.at("Retry-After"), "1");
  server_->serve(*bidirectional_model(), bidirectional_model().service());
  EXPECT_EQ(client().get("/ready").status, 200);
}

TEST_F(ApiServerTest, ClientsThatGoAwayAreForgottenWhereverTheirRequestIs) {
  Client busy = occupied(8);
  {
    Client queued = client(), streaming = client();
    queued.ask("POST", "/v1/completions", R"({"max_tokens": 4})");
    streaming.ask("POST", "/v1/completions", R"({"max_tokens": 4, "stream": true})");
    EXPECT_TRUE(reaches("requests_queued", 2));
  }
  EXPECT_TRUE(reaches("requests_queued", 0));
  EXPECT_EQ(metric("requests_active"), 1);
  busy.close();
  EXPECT_TRUE(reaches("requests_active", 0));
  EXPECT_EQ(metric("requests_total{outcome=\"cancelled\"}"), 3);
  EXPECT_EQ(post("/v1/completions", R"({"max_tokens": 4})").status, 200);
}

// A score is passes without texts in progress: nobody waiting for it is noticed after one of them.
TEST_F(ApiServerTest, ScoresThatNobodyWaitsForAreForgotten) {
  ServiceOptions service = bidirectional_model().service();
  service.engine.queue = 2;
  start(service);
  const std::string score = R"({"samples": 4096, "text": ")" + std::string(200, 'a') + "\"}";
  Client scoring = client();
  scoring.ask("POST", "/v1/score", score);
  EXPECT_TRUE(reaches("requests_active", 1));
  EXPECT_TRUE(reaches("requests_queued", 0));
  {
    Client queued = client(), choosing = client();
    queued.ask("POST", "/v1/score", score);
    choosing.ask("POST", "/v1/completions", R"({"choices": ["a", "b"]})");
    EXPECT_TRUE(reaches("requests_queued", 2));
    EXPECT_EQ(post("/v1/score", score).status, 429);
  }
  EXPECT_TRUE(reaches("requests_queued", 0));
  EXPECT_EQ(metric("requests_active"), 1);
  EXPECT_EQ(post("/v1/completions", R"({"max_tokens": 4})").status, 200);  // meanwhile
  scoring.close();
  EXPECT_TRUE(reaches("requests_active", 0));
  EXPECT_EQ(metric("requests_total{outcome=\"cancelled\"}"), 3);
}

TEST_F(ApiServerTest, WhatARequestNeedsIsKnownBeforeItIsQueued) {
  ServiceOptions service = bidirectional_model().service();
  service.engine.batch_tokens = 64;
  start(service);
  const auto infill = [&](const char* strategy) {
    return post("/v1/infill", R"({"text": ")" + std::string(40, 'a') +
                                  R"({gap:8}", "strategy": ")" + strategy + "\"}");
  };
  const Answer fixed = infill("fixed"), wino = infill("wino");  // with 48 shadows of 48 rows
  EXPECT_EQ(fixed.status, 200) << fixed.body;
  EXPECT_EQ(wino.status, 400) << wino.body;
  EXPECT_EQ(Json::parse(wino.body)["error"]["code"], "context_length_exceeded");
  EXPECT_EQ(post("/v1/completions", R"({"max_tokens": 40, "strategy": "wino"})").status, 400);
  EXPECT_EQ(object("/v1/completions",
                   R"({"max_tokens": 16, "strategy": "wino"})")["timings"]["canvas_tokens"],
            16);
}

// The end token in a gap is a token like another.
TEST_F(ApiServerTest, GapsAreFilledBehindAnEndToken) {
  start();
  for (int seed = 0; seed < 20; ++seed) {
    const Json json = object("/v1/infill", R"({"text": "ab{gap:30}cd{gap:30}e", "preset": "fast",
        "temperature": 9, "seed": )" + std::to_string(seed) +
                                               "}");
    EXPECT_EQ(json["usage"]["total_tokens"], 65);
    const std::string text = json["text"];
    EXPECT_EQ(text.back(), 'e');
  }
}

TEST_F(ApiServerTest, AFullQueueIsTold) {
  Client busy = occupied(2);
  std::vector<Client> waiting;
  for (int i = 0; i < 2; ++i) {
    waiting.push_back(client());
    waiting.back().ask("POST", "/v1/completions", R"({"max_tokens": 4})");
  }
  EXPECT_TRUE(reaches("requests_queued", 2));
  const Answer full = post("/v1/completions", R"({"max_tokens": 4})");
  EXPECT_EQ(full.status, 429);
  EXPECT_GE(std::stoi(full.headers.at("Retry-After")), 1);
  busy.close();
  for (Client& one : waiting) EXPECT_EQ(one.answer().status, 200);
}

TEST_F(ApiServerTest, ARequestHasATimeLimit) {
  ServiceOptions service = bidirectional_model().service();
  service.engine.timeout_seconds = 0.05;
  start(service);
  const Answer late = post("/v1/completions", R"({"max_tokens": 256, "n": 128})");
  EXPECT_EQ(late.status, 500);
  EXPECT_EQ(late.headers.at("X-Should-Retry"), "false");
  EXPECT_EQ(Json::parse(late.body)["error"]["code"], "timeout");
  const Answer score =
      post("/v1/score", R"({"samples": 4096, "text": ")" + std::string(200, 'a') + "\"}");
  EXPECT_EQ(score.status, 500);
  EXPECT_EQ(Json::parse(score.body)["error"]["code"], "timeout");
  EXPECT_TRUE(reaches("requests_active", 0));
}

TEST_F(ApiServerTest, FinishesWhatItHasBeforeItStops) {
  start();
  Client running = client();
  running.ask("POST", "/v1/completions", R"({"max_tokens": 256, "n": 4, "stream": true})");
  EXPECT_FALSE(running.until("data: ").empty());
  Client other = client();
  EXPECT_EQ(other.get("/health").status, 200);
  server_->stop();
  server_->wait();
  EXPECT_TRUE(contains(running.answer().body + running.until("[DONE]"), "[DONE]"));
  EXPECT_EQ(other.get("/ready").status, 503);
  EXPECT_EQ(other.post("/v1/completions", R"({"max_tokens": 4})").status, 503);
}

}  // namespace
}  // namespace lacuna
