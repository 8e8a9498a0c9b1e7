#include "server/access.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cctype>
#include <sstream>

#include "core/check.h"
#include "core/input_file.h"
#include "core/text.h"
#include "server/api_error.h"

namespace lacuna {
namespace {

std::string lower_case(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return char(std::tolower(c)); });
  return out;
}

bool is_address(const std::string& text) {
  in6_addr any{};
  return inet_pton(AF_INET, text.c_str(), &any) == 1 ||
         inet_pton(AF_INET6, text.c_str(), &any) == 1;
}

bool has_key(const std::string& authorization, const std::vector<std::string>& keys) {
  constexpr std::string_view bearer = "bearer ";
  if (lower_case(authorization.substr(0, bearer.size())) != bearer) return false;
  const std::string_view given = std::string_view(authorization).substr(bearer.size());
  bool found = false;
  for (const std::string& key : keys) found |= same_secret(given, key);  // all of them, always
  return found;
}

}  // namespace

bool same_secret(std::string_view given, std::string_view secret) {
  unsigned difference = given.size() != secret.size();
  for (std::size_t i = 0; i < given.size(); ++i) {
    const char other = secret.empty() ? '\0' : secret[i % secret.size()];
    difference |= static_cast<unsigned char>(given[i]) ^ static_cast<unsigned char>(other);
  }
  return difference == 0;
}

bool is_our_host(std::string_view header, const std::vector<std::string>& names) {
  std::string host = lower_case(header);
  if (host.starts_with('[')) {
    const std::size_t close = host.find(']');
    return close != std::string::npos && is_address(host.substr(1, close - 1)) &&
           (close + 1 == host.size() || host[close + 1] == ':');
  }
  host = host.substr(0, host.find(':'));
  if (host == "localhost" || is_address(host)) return true;
  return std::any_of(names.begin(), names.end(),
                     [&](const std::string& name) { return lower_case(name) == host; });
}

void check_access(const HttpRequest& request, const AccessRules& rules, bool open) {
  if (!request.host.empty() && !is_our_host(request.host, rules.hosts))
    throw ApiError(403, "the Host header names " + shown(request.host) +
                            ", which is not this server; lacuna serve --allow-host makes it one");
  if (!open && !rules.keys.empty() && !has_key(request.authorization, rules.keys))
    throw ApiError(401, "a key is needed: Authorization: Bearer KEY", "", "invalid_api_key");
  if (request.method != "POST") return;
  const std::string type = request.content_type.substr(0, request.content_type.find(';'));
  if (lower_case(trimmed(type)) != "application/json")
    throw ApiError(415, "Content-Type must be application/json");
}

std::vector<std::string> read_keys(const std::string& file) {
  std::vector<std::string> keys;
  std::istringstream lines(read_named_file(file));
  for (std::string line; std::getline(lines, line);) {
    line = trimmed(line);
    if (!line.empty() && line[0] != '#') keys.push_back(line);
  }
  CHECK(!keys.empty(), file, ": holds no key; each line is one");
  return keys;
}

}  // namespace lacuna
