#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "server/http.h"

namespace lacuna {

/// Who may ask for what.
struct AccessRules {
  std::vector<std::string> keys;     // none: everyone
  std::vector<std::string> hosts;    // names that a Host header may have, beside addresses and
                                     // localhost
  std::vector<std::string> origins;  // whose pages may ask (server/cors.h)
};

/// Whether two texts are the same, in a time that depends on the length of `given` alone.
bool same_secret(std::string_view given, std::string_view secret);

/// Whether a Host header names this server. A page of another site whose name was made to resolve
/// to this address (DNS rebinding) has that name in it.
bool is_our_host(std::string_view header, const std::vector<std::string>& names);

/// ApiError: 403 for a foreign host, 401 without a key (but for what is `open` to everyone), 415
/// for a POST that is not of application/json, which a page of another site could send unasked.
void check_access(const HttpRequest& request, const AccessRules& rules, bool open);

/// The keys in a file: one a line, without empty lines and those that begin with '#'. Error when
/// there is none.
std::vector<std::string> read_keys(const std::string& file);

}  // namespace lacuna
