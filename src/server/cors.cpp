#include "server/cors.h"

#include <algorithm>
#include <sstream>
#include <string_view>

#include "core/check.h"
#include "core/text.h"
#include "server/api_error.h"

namespace lacuna {
namespace {

/// scheme://host or scheme://host:port in lower case, without the scheme's own port, as a browser
/// writes it.
bool is_origin(const std::string& text) {
  const std::size_t at = text.starts_with("https://") ? 8 : text.starts_with("http://") ? 7 : 0;
  const std::string host = text.substr(at);
  const std::size_t colon = host.rfind(':'), bracket = host.rfind(']');
  const bool has_port =
      colon != std::string::npos && (bracket == std::string::npos || colon > bracket);
  const std::string port = has_port ? host.substr(colon + 1) : "";
  if (has_port && (port.empty() || port.size() > 5 || port == (at == 8 ? "443" : "80") ||
                   port.find_first_not_of("0123456789") != std::string::npos))
    return false;
  const std::string name = host.substr(0, has_port ? colon : host.size());
  return at > 0 && !name.empty() &&
         name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789.-[]:") == std::string::npos;
}

bool is_listed(const std::string& origin, const std::vector<std::string>& origins) {
  return std::any_of(origins.begin(), origins.end(),
                     [&](const std::string& listed) { return listed == "*" || listed == origin; });
}

/// The names of headers that the page wants to send, which are not secret: as it gave them, unless
/// they are no names.
std::string allowed_headers(const std::string& asked) {
  constexpr std::string_view known =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_, ";
  const bool fine = !asked.empty() && asked.find_first_not_of(known) == std::string::npos;
  return fine ? asked : "authorization, content-type";
}

}  // namespace

std::vector<std::string> parse_origins(const std::string& list, bool has_keys) {
  std::vector<std::string> origins;
  std::istringstream in(list);
  for (std::string origin; std::getline(in, origin, ',');) {
    origin = trimmed(origin);
    if (origin == "*") {
      if (has_keys)
        fail_usage("--cors-origins * together with keys: name the origins whose pages have a key");
    } else if (!is_origin(origin)) {
      fail_usage("--cors-origins: " + shown(origin) +
                 " is no origin; one is \"https://app.example.org\" or \"http://localhost:3000\"");
    }
    origins.push_back(origin);
  }
  return origins;
}

bool is_preflight(const HttpRequest& request) {
  return request.method == "OPTIONS" && !request.origin.empty() && !request.asked_method.empty();
}

HttpReply preflight_reply(const HttpRequest& request, const std::vector<std::string>& origins) {
  if (!is_listed(request.origin, origins))
    throw ApiError(403, "pages of " + shown(request.origin) +
                            " may not ask; lacuna serve --cors-origins lets them");
  HttpReply reply{.content_type = "text/plain"};
  reply.headers = {{"Access-Control-Allow-Methods", "GET, POST"},
                   {"Access-Control-Allow-Headers", allowed_headers(request.asked_headers)},
                   {"Access-Control-Max-Age", "600"}};
  return reply;
}

HttpHeaders cors_headers(const HttpRequest& request, const std::vector<std::string>& origins) {
  if (origins.empty()) return {};
  HttpHeaders headers = {{"Vary", "Origin"}};  // caches may not mix up the answers
  if (request.origin.empty() || !is_listed(request.origin, origins)) return headers;
  const bool any = std::find(origins.begin(), origins.end(), "*") != origins.end();
  headers.emplace_back("Access-Control-Allow-Origin", any ? "*" : request.origin);
  headers.emplace_back("Access-Control-Expose-Headers", "Retry-After, X-Should-Retry");
  return headers;
}

}  // namespace lacuna
