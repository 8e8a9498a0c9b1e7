#include "server/http_server.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <thread>

#include "tests/server/client.h"
#include "tests/support/support.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

/// Until `reached` holds; false after a minute.
template <class F>
bool eventually(F reached) {
  for (int i = 0; i < 6000; ++i) {
    if (reached()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

/// /echo answers with the body, /hold never, /stream with an endless stream, /fail by an exception.
class HttpServerTest : public ::testing::Test {
 protected:
  void TearDown() override { release(); }
  void release() {
    stop_ = true;
    for (std::thread& thread : streams_) thread.join();
    streams_.clear();
    const std::lock_guard lock(mutex_);
    held_.clear();
  }
  HttpServer& serve(const HttpServerOptions& options = {}) {
    server_.emplace(
        options, [this](const HttpRequest& request, const std::shared_ptr<HttpExchange>& exchange) {
          exchange->on_gone([this] { ++gone_; });
          if (request.path == "/fail") throw std::runtime_error("on purpose");
          if (request.path == "/hold") {
            const std::lock_guard lock(mutex_);
            held_.push_back(exchange);
          } else if (request.path == "/stream") {
            exchange->begin_stream();
            streams_.emplace_back([this, exchange] {
              while (!stop_) {
                exchange->write(server_sent_event(std::string(10000, 'x')));
                std::this_thread::sleep_for(std::chrono::microseconds(200));
              }
              exchange->end();
            });
          } else {
            exchange->reply(
                {.content_type = "text/plain",
                 .body = request.method + request.path + "?" + request.query + request.body});
          }
        });
    return *server_;
  }
  std::size_t held() {
    const std::lock_guard lock(mutex_);
    return held_.size();
  }

  std::optional<HttpServer> server_;  // ends last
  std::atomic<int> gone_{0};
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::vector<std::shared_ptr<HttpExchange>> held_;
  std::vector<std::thread> streams_;
};

TEST_F(HttpServerTest, KeepsConnectionsAndPipelines) {
  Client client(serve().port());
  EXPECT_EQ(client.post("/echo", "one").body, "POST/echo?one");
  EXPECT_EQ(client.get("/echo?a=b").body, "GET/echo?a=b");
  client.ask("POST", "/echo", "first");
  client.ask("POST", "/echo", "second");
  EXPECT_EQ(client.answer().body, "POST/echo?first");
  EXPECT_EQ(client.answer().body, "POST/echo?second");
  client.ask("HEAD", "/echo");
  const Answer head = client.answer(true);
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.headers.at("Content-Length"), "10");
  client.ask("GET", "/echo", "", "Connection: close\r\n");
  EXPECT_EQ(client.answer().status, 200);
  EXPECT_TRUE(client.ends());
}

TEST_F(HttpServerTest, TakesBodiesInChunksAndInPieces) {
  Client client(serve().port());
  client.send("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
  for (const char c : std::string("2\r\nde\r\n0\r\n\r\n")) client.send({c});
  EXPECT_EQ(client.answer().body, "POST/echo?abcde");
  client.send("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n");
  for (const char c : std::string("A: b\r\n\r\n")) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));  // each a piece of its own
    client.send({c});
  }
  EXPECT_EQ(client.answer().body, "POST/echo?");
  client.send(
      "POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
  EXPECT_EQ(client.until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  client.send("ok");
  EXPECT_EQ(client.answer().body, "POST/echo?ok");
  client.send("GET /echo HTTP/1.0\r\n\r\n");
  EXPECT_EQ(client.answer().status, 200);
  EXPECT_TRUE(client.ends());
}

TEST_F(HttpServerTest, RefusesWhatIsTooLongOrNoHttp) {
  HttpServerOptions options;
  options.limits = {.header_bytes = 2000, .body_bytes = 5000};
  const int port = serve(options).port();
  const auto status = [&](const std::string& bytes) {
    Client client(port);
    client.send(bytes);
    const Answer answer = client.answer();
    EXPECT_TRUE(contains(answer.body, "\"error\""));
    EXPECT_TRUE(client.ends());
    return answer.status;
  };
  const std::string start = "POST /echo HTTP/1.1\r\nHost: x\r\n";
  EXPECT_EQ(status(start + "X: " + std::string(3000, 'y') + "\r\n\r\n"), 431);
  EXPECT_EQ(status(start + "X: " + std::string(300000, 'y')), 431);
  EXPECT_EQ(status(start + "Content-Length: 5001\r\n\r\n" + std::string(5001, 'y')), 413);
  EXPECT_EQ(status(start + "Transfer-Encoding: chunked\r\n\r\n1771\r\n" + std::string(6001, 'y')),
            413);
  EXPECT_EQ(status(start + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"), 400);
  EXPECT_EQ(status(start + "Content-Length: -1\r\n\r\n"), 400);
  EXPECT_EQ(status(start + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
  EXPECT_EQ(status(start + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n"), 400);
  EXPECT_EQ(status(start + "Host: y\r\n\r\n"), 400);
  EXPECT_EQ(status("GET /echo HTTP/1.1\r\n\r\n"), 400);
  EXPECT_EQ(status("nonsense\r\n\r\n"), 400);
  EXPECT_EQ(status("GET /echo HTTP/9.9\r\n\r\n"), 400);
  EXPECT_EQ(status("\x16\x03\x01\x02hello, TLS\r\n\r\n"), 400);
}

TEST_F(HttpServerTest, NoticesClientsThatGoAway) {
  const int port = serve().port();
  {
    Client client(port);
    client.ask("GET", "/hold");
    ASSERT_TRUE(eventually([&] { return held() == 1; }));
    EXPECT_EQ(gone_, 0);
  }
  EXPECT_TRUE(eventually([&] { return gone_ == 1; }));
  {
    Client client(port);
    client.ask("GET", "/stream");
    EXPECT_FALSE(client.until("xxx").empty());
  }
  EXPECT_TRUE(eventually([&] { return gone_ == 2; }));
  // One that has been answered is not gone.
  Client(port).get("/echo");
  EXPECT_TRUE(eventually([&] { return server_->connections() == 0; }));
  EXPECT_EQ(gone_, 2);
}

TEST_F(HttpServerTest, AnAnswerThatFailsIsAnAnswer) {
  Client client(serve().port());
  EXPECT_EQ(client.get("/fail").status, 500);
  client.ask("GET", "/hold");
  ASSERT_TRUE(eventually([&] { return held() == 1; }));
  release();
  EXPECT_EQ(client.answer().status, 500);
  EXPECT_EQ(client.get("/echo").status, 200);
}

TEST_F(HttpServerTest, ClosesConnectionsThatTakeTooLong) {
  HttpServerOptions options;
  options.header_seconds = options.idle_seconds = 0.2;
  options.body_seconds = 0.3;
  const int port = serve(options).port();
  Client silent(port);
  EXPECT_TRUE(silent.ends());
  Client slow(port);
  slow.send("GET /echo HTTP/1.1\r\nHo");
  EXPECT_EQ(slow.answer().status, 408);
  EXPECT_TRUE(slow.ends());
  Client partial(port);
  partial.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc");
  EXPECT_EQ(partial.answer().status, 408);
  Client idle(port);
  EXPECT_EQ(idle.get("/echo").status, 200);
  EXPECT_TRUE(idle.ends());
  // One that waits for its answer may wait.
  Client waiting(port);
  waiting.ask("GET", "/hold");
  std::this_thread::sleep_for(std::chrono::milliseconds(700));
  release();
  EXPECT_EQ(waiting.answer().status, 500);
}

TEST_F(HttpServerTest, SlowReadersAreClosed) {
  HttpServerOptions options;
  options.stream_backlog = 100000;
  serve(options);
  Client client(server_->port(), 4096);
  client.ask("GET", "/stream");
  EXPECT_TRUE(eventually([&] { return server_->slow_clients() == 1; }));
  EXPECT_TRUE(eventually([&] { return gone_ == 1; }));
}

TEST_F(HttpServerTest, StreamsSignsOfLife) {
  HttpServerOptions options;
  options.ping_seconds = 0.05;
  server_.emplace(options,
                  [this](const HttpRequest&, const std::shared_ptr<HttpExchange>& exchange) {
                    exchange->begin_stream();
                    const std::lock_guard lock(mutex_);
                    held_.push_back(exchange);
                  });
  Client client(server_->port());
  client.ask("GET", "/");
  EXPECT_FALSE(client.until(": ping\n\n").empty());
  EXPECT_FALSE(client.until(": ping\n\n").empty());
}

TEST_F(HttpServerTest, ANewConnectionTakesThePlaceOfAnIdleOne) {
  HttpServerOptions options;
  options.max_connections = 4;
  const int port = serve(options).port();
  Client busy(port);
  busy.ask("GET", "/hold");
  ASSERT_TRUE(eventually([&] { return held() == 1; }));
  std::vector<Client> idle;
  for (int i = 0; i < 10; ++i) idle.emplace_back(port);
  Client good(port);
  EXPECT_EQ(good.get("/echo").status, 200);
  EXPECT_TRUE(idle.front().ends());
  EXPECT_TRUE(eventually([&] { return server_->connections() <= 4; }));
  release();
  EXPECT_EQ(busy.answer().status, 500);  // it was not closed
}

TEST(HttpServer, SaysWhereItCannotListen) {
  HttpServer first({}, {});
  HttpServerOptions options;
  options.port = first.port();
  EXPECT_TRUE(
      contains(error_of([&] { HttpServer second(options, {}); }), "cannot listen on 127.0.0.1"));
  options.host = "nowhere.example";
  EXPECT_TRUE(contains(error_of([&] { HttpServer second(options, {}); }), "is no address"));
}

}  // namespace
}  // namespace lacuna
