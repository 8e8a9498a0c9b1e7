#pragma once
#include <stdexcept>
#include <string>

#include "server/http.h"

namespace lacuna {

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

/// What a client is told of an error: a mistake in the request (400) where it is a UsageError.
ApiError api_error_of(const std::exception& error);

/// {"error": {"message": …, "type": …, "param": …, "code": …}}
std::string error_json(const ApiError& error);
/// That as a reply. Clients that repeat failed requests by themselves are told whether to.
HttpReply error_reply(const ApiError& error);

}  // namespace lacuna
