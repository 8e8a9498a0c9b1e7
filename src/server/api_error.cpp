#include "server/api_error.h"

#include "core/check.h"
#include "core/json.h"
#include "core/text.h"

namespace lacuna {
namespace {

const char* error_type(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
    case 405:
      return "not_found_error";
    case 429:
      return "rate_limit_error";
    case 503:
      return "unavailable_error";
    default:
      return status < 500 ? "invalid_request_error" : "api_error";
  }
}

}  // namespace

ApiError api_error_of(const std::exception& error) {
  if (const auto* api = dynamic_cast<const ApiError*>(&error)) return *api;
  const std::string message = error.what();
  if (dynamic_cast<const UsageError*>(&error)) return {400, message};
  return {500, message};
}

ApiError error_of_field(const Error& error) {
  const std::string message = error.what();
  return {400, message, message.substr(0, message.find(' '))};
}

std::string error_json(const ApiError& error) {
  const auto or_null = [](const std::string& text) {
    return text.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(text);
  };
  const nlohmann::ordered_json json = {{"error",
                                        {{"message", valid_utf8(error.what())},
                                         {"type", error_type(error.status)},
                                         {"param", or_null(error.param)},
                                         {"code", or_null(error.code)}}}};
  return json_text(json);
}

HttpReply error_reply(const ApiError& error) {
  HttpReply reply{.status = error.status, .body = error_json(error)};
  if (error.retry_after > 0)
    reply.headers.emplace_back("Retry-After", std::to_string(error.retry_after));
  if (error.status >= 500 && error.status != 503)
    reply.headers.emplace_back("X-Should-Retry", "false");  // it would fail again
  if (error.status == 401) reply.headers.emplace_back("WWW-Authenticate", "Bearer");
  return reply;
}

}  // namespace lacuna
