#pragma once
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "config/decoding_options.h"
#include "data/dialogue.h"

namespace lacuna {

/// Texts that one request may ask for.
inline constexpr std::int64_t kMostAnswers = 128;

/// What is asked of all generating endpoints.
struct GenerationFields {
  std::string model;            // "": any
  DecodingOptions options;      // gen_length: what max_tokens says
  std::set<std::string> given;  // fields of the options that the request has
  std::int64_t n = 1;           // answers to each prompt
  std::vector<std::string> stop;
  bool stream = false, include_usage = false;
};

/// A text, or token ids.
struct ApiPrompt {
  std::string text;
  std::optional<std::vector<std::int32_t>> ids;
};

struct CompletionRequest : GenerationFields {
  std::vector<ApiPrompt> prompts;
};
struct ChatRequest : GenerationFields {
  Dialogue messages;
};

/// What the server has for requests that say nothing.
struct RequestDefaults {
  DecodingOptions options;
  /// Of a request without "seed": called once per request.
  std::uint64_t seed = 1;
};

/// Parse the body of a request. ApiError (400), naming the field, for what is malformed, unknown or
/// not supported: nothing is ignored but null, and what would change nothing.
CompletionRequest parse_completion(std::string_view body, const RequestDefaults& defaults);
ChatRequest parse_chat(std::string_view body, const RequestDefaults& defaults);

}  // namespace lacuna
