#include "server/access.h"

#include <gtest/gtest.h>

#include "server/api_error.h"
#include "tests/support/support.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

int status_of(const HttpRequest& request, const AccessRules& rules, bool open = false) {
  try {
    check_access(request, rules, open);
  } catch (const ApiError& e) {
    return e.status;
  }
  return 200;
}

TEST(Access, NeedsOneOfTheKeysWhereThereAreAny) {
  HttpRequest request{.method = "GET", .path = "/x"};
  EXPECT_EQ(status_of(request, {}), 200);
  const AccessRules rules{.keys = {"abc", "sk-1"}, .hosts = {}, .origins = {}};
  EXPECT_EQ(status_of(request, rules), 401);
  EXPECT_EQ(status_of(request, rules, true), 200);
  for (const char* good : {"Bearer abc", "bearer sk-1"}) {
    request.authorization = good;
    EXPECT_EQ(status_of(request, rules), 200) << good;
  }
  for (const char* bad :
       {"Bearer ab", "Bearer abcabc", "Bearer ", "abc", "Basic abc", "Bearer abd"}) {
    request.authorization = bad;
    EXPECT_EQ(status_of(request, rules), 401) << bad;
  }
}

TEST(Access, SecretsAreEqualOrNot) {
  EXPECT_TRUE(same_secret("abc", "abc"));
  EXPECT_FALSE(same_secret("abc", "abd"));
  EXPECT_FALSE(same_secret("abcabc", "abc"));
  EXPECT_FALSE(same_secret("", "abc"));
  EXPECT_FALSE(same_secret("abc", ""));
  EXPECT_TRUE(same_secret("", ""));
}

TEST(Access, ForeignHostsAreRefused) {
  for (const char* ours : {"localhost", "localhost:80", "LOCALHOST", "127.0.0.1:8080", "10.1.2.3",
                           "[::1]:80", "[::1]", "models.example:443"})
    EXPECT_TRUE(is_our_host(ours, {"Models.Example"})) << ours;
  for (const char* foreign : {"evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "",
                              "[::1].evil.example", "[evil.example]", "[::1"})
    EXPECT_FALSE(is_our_host(foreign, {"models.example"})) << foreign;
  EXPECT_EQ(status_of({.method = "GET", .path = "/", .host = "evil.example"}, {}, true), 403);
}

TEST(Access, PostsAreOfJson) {
  HttpRequest request{.method = "POST", .path = "/x"};
  for (const char* json : {"application/json", "Application/JSON; charset=utf-8"}) {
    request.content_type = json;
    EXPECT_EQ(status_of(request, {}), 200) << json;
  }
  for (const char* other :
       {"", "text/plain", "application/x-www-form-urlencoded", "application/jsonp"}) {
    request.content_type = other;
    EXPECT_EQ(status_of(request, {}), 415) << other;
  }
}

TEST(Access, ReadsKeysOfAFile) {
  const Folder folder;
  EXPECT_EQ(read_keys(folder.write("keys", "# mine\n a \n\nb\r\n")),
            (std::vector<std::string>{"a", "b"}));
  const std::string none = folder.write("none", "\n# nothing\n");
  EXPECT_TRUE(contains(error_of([&] { (void)read_keys(none); }), "holds no key"));
}

}  // namespace
}  // namespace lacuna
