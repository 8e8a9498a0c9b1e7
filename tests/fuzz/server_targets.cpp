#include <cstdlib>

#include "server/access.h"
#include "server/api_error.h"
#include "server/api_request.h"
#include "server/http_parser.h"
#include "tests/fuzz/targets.h"

namespace lacuna::fuzz {
namespace {

/// A request as a connection reads it, in pieces of so many bytes; nothing when it is refused or
/// incomplete.
std::optional<HttpRequest> parsed(std::string_view input, std::size_t piece) {
  HttpParser parser({.header_bytes = 2048, .body_bytes = 4096});
  std::string pending;
  try {
    while (!parser.done() && !input.empty()) {
      pending += input.substr(0, piece);
      input.remove_prefix(std::min(piece, input.size()));
      pending.erase(0, parser.feed(pending));
    }
    if (!parser.done()) return std::nullopt;
    static_cast<void>(parser.keep_alive());
    static_cast<void>(parser.expects_continue());
    return parser.take();
  } catch (const HttpFault& fault) {
    if (fault.status < 400 || fault.status > 499) std::abort();
    return std::nullopt;
  }
}

template <class Call>
void refusing(Call&& call) {
  try {
    call();
  } catch (const ApiError& e) {  // a mistake in the request, told as valid JSON
    if (e.status != 400 || error_json(e).empty()) std::abort();
  }
}

}  // namespace

void read_http_request(std::string_view input) {
  const std::optional<HttpRequest> whole = parsed(input, input.size() + 1);
  for (const std::size_t piece : {1, 7}) {
    const std::optional<HttpRequest> again = parsed(input, piece);
    if (whole && (!again || again->method != whole->method || again->path != whole->path ||
                  again->host != whole->host || again->body != whole->body))
      std::abort();
  }
  if (!whole) return;
  try {
    check_access(*whole, {.keys = {"key", "other"}, .hosts = {"models.example"}, .origins = {}},
                 false);
  } catch (const ApiError& e) {
    if (error_json(e).empty()) std::abort();
  }
}

/// The first byte says which endpoint the others are for.
void read_api_request(std::string_view input) {
  if (input.empty()) return;
  const RequestDefaults defaults{.options = {}, .seed = 1};
  const std::string_view body = input.substr(1);
  refusing([&] {
    switch (input[0]) {
      case 'p': {
        const CompletionRequest request = parse_completion(body, defaults);
        if (request.prompts.empty() || request.n < 1 || request.stop.size() > 4) std::abort();
        break;
      }
      case 'm':
        if (parse_chat(body, defaults).messages.empty()) std::abort();
        break;
      case 'i':
        static_cast<void>(parse_infill(body, defaults));
        break;
      case 'c':
        static_cast<void>(parse_canvas(body, defaults));
        break;
      case 's':
        static_cast<void>(parse_score(body));
        break;
      case 't':
        static_cast<void>(parse_tokenize(body));
        break;
      default:
        static_cast<void>(parse_detokenize(body));
    }
  });
}

std::vector<std::string> http_request_seeds() {
  return {
      "GET /v1/models?a=b HTTP/1.1\r\nHost: localhost:8080\r\nAuthorization: Bearer key\r\n\r\n",
      "POST /v1/completions HTTP/1.1\r\nHost: [::1]:80\r\nContent-Type: application/json\r\n"
      "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
      "POST / HTTP/1.1\r\nhost: models.example\r\nTransfer-Encoding: chunked\r\n"
      "Connection: close\r\n\r\n3;x=y\r\n{}\n\r\n0\r\nTrailer: a\r\n\r\n",
      "HEAD / HTTP/1.0\r\nConnection: keep-alive\r\nX: a\r\n b\r\n\r\n"};
}

std::vector<std::string> api_request_seeds() {
  return {
      R"(p{"model": "m", "prompt": ["a", [1, 2]], "max_tokens": 4, "n": 2, "stop": ["a", "\u00e9"], "seed": 9, "stream": true, "stream_options": {"include_usage": true}, "temperature": 1e-1, "logit_bias": {}, "top_p": 1})",
      R"(m{"messages": [{"role": "developer", "content": "s"}, {"role": "user", "content": [{"type": "text", "text": "a"}]}], "max_completion_tokens": 3, "response_format": {"type": "text"}, "tools": []})",
      R"(p{"prompt": "a", "string_tokens": 5, "response_format": {"type": "json_schema", "json_schema": {"name": "n", "strict": true, "schema": {"type": "object", "required": ["a"], "additionalProperties": false, "properties": {"a": {"type": "string", "minLength": 1, "maxLength": 9, "title": "t"}, "b": {"$ref": "#/$defs/c"}, "d": {"type": "integer", "minimum": 0, "exclusiveMaximum": 9}, "e": {"enum": ["x", 1, null]}, "f": {"type": "number", "minimum": 0}}, "$defs": {"c": {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 2}}}}}})",
      R"(m{"messages": [{"role": "user", "content": "a"}], "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "array", "minItems": 1, "maxItems": 1, "items": {"const": {"a": [1.5, "\u00e9"]}}}}}})",
      R"(i{"text": "a{gap:3}b{gap}", "steps": 3, "strategy": "wino", "cache": "dual"})",
      R"(i{"prefix": "a", "suffix": "b", "length": 4, "threshold": 0.5})",
      R"(c{"canvas": [1, null, 3], "remasking": "random", "preset": "fast"})",
      R"(s{"prompt": "a", "text": "b", "samples": 8, "seed": 1})",
      R"(d{"tokens": [1, 2]})"};
}

}  // namespace lacuna::fuzz
