#pragma once
#include <stdexcept>
#include <string>

#include "server/http.h"

namespace lacuna {

struct Error;

/// Why a request gets no answer: an HTTP status and what OpenAI's clients read of an error.
struct ApiError : std::runtime_error {
  ApiError(int with_status, const std::string& message, std::string about = "",
           std::string known_as = "")
      : std::runtime_error(message),
        status(with_status),
        param(std::move(about)),
        code(std::move(known_as)) {}
  int status;
  std::string param;    // the field that is wrong; "": none
  std::string code;     // a word for programs; "": none
  int retry_after = 0;  // seconds; 0: not told
};

/// The error response for an exception: an ApiError as it is; 400 for a UsageError, which is a
/// mistake in the request; else 500.
ApiError api_error_of(const std::exception& error);
/// 400 for an error whose message begins with the name of a field of the request: "steps 3 cannot
/// be …".
ApiError error_of_field(const Error& error);

/// {"error": {"message": …, "type": …, "param": …, "code": …}}
std::string error_json(const ApiError& error);
/// The same as an HTTP response, with the headers by which clients decide on automatic retries
/// (Retry-After, X-Should-Retry).
HttpReply error_reply(const ApiError& error);

}  // namespace lacuna
