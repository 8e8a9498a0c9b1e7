#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "server/http.h"

namespace lacuna {

struct HttpLimits {
  std::uint32_t header_bytes = 16 * 1024;
  std::uint64_t body_bytes = 4 * 1024 * 1024;
};

/// What no request may be: a status of 4xx or 5xx and the reason.
struct HttpFault {
  int status;
  std::string message;
};

/// Parses one request from the bytes of a connection. No input or output, so that it can be fuzzed.
class HttpParser {
 public:
  explicit HttpParser(const HttpLimits& limits);
  ~HttpParser();

  /// Returns how many of the bytes it has taken; the others are to be given again with what follows
  /// them. Throws HttpFault.
  std::size_t feed(std::string_view bytes);
  bool has_header() const;
  bool done() const;
  /// Whether the client waits for "100 Continue" before it sends the body.
  bool expects_continue() const;
  /// Whether the connection may be used again, and chunks sent (HTTP/1.1).
  bool keep_alive() const;
  bool takes_chunks() const;
  /// Of a request that is done, all but `peer`. Throws HttpFault for two Host headers, or none.
  HttpRequest take();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lacuna
