#pragma once
#include <string>
#include <utility>
#include <vector>

#include "server/http.h"

namespace lacuna {

// Cross-origin resource sharing (fetch.spec.whatwg.org): which pages of other sites may ask. None
// by default: no header of this kind is sent.

/// The origins in a list "https://a.example,http://localhost:3000", or "*" alone: every page.
/// UsageError for what is no origin as browsers send it, and for "*" where there are keys.
std::vector<std::string> parse_origins(const std::string& list, bool has_keys);

/// Whether a browser asks what the page may send.
bool is_preflight(const HttpRequest& request);
/// The answer: 200 for an origin that is listed, else 403.
HttpReply preflight_reply(const HttpRequest& request, const std::vector<std::string>& origins);

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;
/// Headers of an answer that the page may read; none for an origin that is not listed.
HttpHeaders cors_headers(const HttpRequest& request, const std::vector<std::string>& origins);

}  // namespace lacuna
