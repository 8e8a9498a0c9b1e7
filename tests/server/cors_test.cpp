#include "server/cors.h"

#include <gtest/gtest.h>

#include "core/check.h"
#include "server/api_server.h"
#include "tests/server/client.h"
#include "tests/server/served_model.h"
#include "tests/support/support.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

constexpr const char* kApp = "https://app.example.org";

TEST(Cors, OriginsAreAsBrowsersSendThem) {
  using Origins = std::vector<std::string>;
  EXPECT_EQ(parse_origins("", false), Origins{});
  EXPECT_EQ(parse_origins("https://a.example, http://localhost:3000,http://[::1]:3000", true),
            (Origins{"https://a.example", "http://localhost:3000", "http://[::1]:3000"}));
  EXPECT_EQ(parse_origins("*", false), Origins{"*"});
  EXPECT_THROW((void)parse_origins("*", true), UsageError);
  for (const char* wrong :
       {"a.example", "https://", "https://a.example/", "https://A.example", "null",
        "https://a.example:443", "http://a.example:80", "http://a.example:", "ftp://a.example",
        "https://a.example https://b.example", "https://*.example", "https://u@a.example"})
    EXPECT_THROW((void)parse_origins(wrong, false), UsageError) << wrong;
}

/// A server that pages of one origin may use, and what it answers.
class CorsOfAServer : public ::testing::Test {
 protected:
  void start(const std::vector<std::string>& origins, const std::vector<std::string>& keys = {}) {
    ApiServerOptions options;
    options.access.origins = origins;
    options.access.keys = keys;
    server_.emplace(options);
    server_->serve(*bidirectional_model(), bidirectional_model().service());
  }
  Answer ask(const std::string& method, const std::string& path, const std::string& headers,
             const std::string& body = "") const {
    Client client(server_->port());
    client.ask(method, path, body, headers);
    return client.answer();
  }
  Answer preflight(const std::string& origin) const {
    return ask("OPTIONS", "/v1/chat/completions",
               "Origin: " + origin + "\r\nAccess-Control-Request-Method: POST\r\n" +
                   "Access-Control-Request-Headers: authorization,content-type,x-stainless-os\r\n");
  }
  static std::string allowed(const Answer& answer) {
    const auto at = answer.headers.find("Access-Control-Allow-Origin");
    return at == answer.headers.end() ? "" : at->second;
  }
  std::optional<ApiServer> server_;
};

TEST_F(CorsOfAServer, NoHeadersByDefault) {
  start({});
  EXPECT_EQ(preflight(kApp).status, 405);
  const Answer answer = ask("GET", "/v1/models", str("Origin: ", kApp, "\r\n"));
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(allowed(answer), "");
  EXPECT_FALSE(answer.headers.contains("Vary"));
}

TEST_F(CorsOfAServer, APageOfAListedOriginMayAskAndRead) {
  start({kApp}, {"secret"});
  const Answer before = preflight(kApp);  // without the key, which browsers do not send yet
  EXPECT_EQ(before.status, 200);
  EXPECT_EQ(allowed(before), kApp);
  EXPECT_EQ(before.headers.at("Access-Control-Allow-Headers"),
            "authorization,content-type,x-stainless-os");
  EXPECT_EQ(before.headers.at("Access-Control-Allow-Methods"), "GET, POST");
  EXPECT_EQ(before.headers.at("Vary"), "Origin");
  EXPECT_FALSE(before.headers.contains("Access-Control-Allow-Credentials"));
  const std::string origin = str("Origin: ", kApp, "\r\n"),
                    key = "Authorization: Bearer secret\r\n";
  const std::string body = R"({"max_tokens": 4, "stream": true})";
  const Answer stream = ask("POST", "/v1/completions", origin + key, body);
  EXPECT_EQ(stream.status, 200);
  EXPECT_EQ(allowed(stream), kApp);
  const Answer refused = ask("POST", "/v1/completions", origin, body);  // which the page may read
  EXPECT_EQ(refused.status, 401);
  EXPECT_EQ(allowed(refused), kApp);
}

TEST_F(CorsOfAServer, OthersMayNot) {
  start({kApp});
  for (const char* other :
       {"https://app.example.org.evil.example", "http://app.example.org", "https://APP.example.org",
        "https://app.example.org:8443", "null", "https://evil.example"}) {
    const Answer answer = preflight(other);
    EXPECT_EQ(answer.status, 403) << other;
    EXPECT_EQ(allowed(answer), "") << other;
    EXPECT_EQ(allowed(ask("GET", "/v1/models", str("Origin: ", other, "\r\n"))), "") << other;
  }
  EXPECT_EQ(allowed(ask("GET", "/v1/models", "")), "");
}

TEST_F(CorsOfAServer, HeadersAreOfOneAnswer) {
  start({kApp});
  Client client(server_->port());
  client.ask("GET", "/v1/models", "", str("Origin: ", kApp, "\r\n"));
  EXPECT_EQ(allowed(client.answer()), kApp);
  client.ask("GET", "/v1/models");
  EXPECT_EQ(allowed(client.answer()), "");
}

TEST_F(CorsOfAServer, AnyOriginIsSaidAsSuch) {
  start({"*"});
  EXPECT_EQ(allowed(preflight("https://one.example")), "*");
  EXPECT_EQ(allowed(ask("GET", "/v1/models", "Origin: https://two.example\r\n")), "*");
}

// Names that are none would end the line.
TEST(Cors, AskedHeadersAreNames) {
  HttpRequest request{.method = "OPTIONS", .path = "/"};
  request.origin = kApp;
  request.asked_method = "POST";
  for (const char* odd : {"", "a\tb", "x\x80", "a:b"}) {
    request.asked_headers = odd;
    const HttpReply reply = preflight_reply(request, {kApp});
    EXPECT_EQ(reply.headers[1].second, "authorization, content-type") << odd;
  }
}

}  // namespace
}  // namespace lacuna
