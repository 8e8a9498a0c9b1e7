#pragma once
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "config/decoding_options.h"
#include "data/dialogue.h"
#include "structured/json_schema.h"

namespace lacuna {

/// Texts that one request may ask for.
inline constexpr std::int64_t kMostAnswers = 128;

/// What is asked of all generating endpoints.
struct GenerationFields {
  std::string model;        // "": any
  DecodingOptions options;  // what the request says, else the server's defaults, which may yield
                            // (server/request_options.h); gen_length: what max_tokens says
  std::set<std::string> given;  // fields of the options that the request has
  std::int64_t n = 1;           // answers to each prompt
  std::vector<std::string> stop;
  bool stream = false, include_usage = false;
  std::vector<std::string> choices;  // the answer is the likeliest of these; none: any text
  std::optional<JsonSchema> schema;  // the answer is JSON that conforms to it
  std::int64_t string_tokens = kStringTokens;  // of a string of the schema
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

/// Gaps to be filled: in `text` as {gap} and {gap:N}, or between prefix and suffix.
struct InfillRequest : GenerationFields {
  std::optional<std::string> text;
  std::string prefix, suffix;
  std::int64_t length = 0;  // tokens between prefix and suffix; 0: the model chooses
};
/// A canvas whose filling is to be seen: a prompt, messages, a text with gaps, or tokens.
struct CanvasRequest : GenerationFields {
  std::optional<ApiPrompt> prompt;
  Dialogue messages;                                // none: something else is given
  std::optional<std::string> text;                  // with gaps
  std::optional<std::vector<std::int32_t>> canvas;  // kMaskedToken: to be filled
  static constexpr std::int32_t kMaskedToken = -1;
};
struct ScoreRequest {
  std::string model, prompt, text;
  std::int64_t samples = 128;
  std::uint64_t seed = 1;
};

/// What the server has for requests that say nothing.
struct RequestDefaults {
  DecodingOptions options;
  std::uint64_t seed = 1;  // of this request, where it has no "seed"
};

/// Parse the body of a request. ApiError (400), naming the field, for what is malformed, unknown or
/// not supported: nothing is ignored but null, and what would change nothing.
CompletionRequest parse_completion(std::string_view body, const RequestDefaults& defaults);
ChatRequest parse_chat(std::string_view body, const RequestDefaults& defaults);
InfillRequest parse_infill(std::string_view body, const RequestDefaults& defaults);
CanvasRequest parse_canvas(std::string_view body, const RequestDefaults& defaults);
ScoreRequest parse_score(std::string_view body);
/// {"text": …} of /tokenize, {"tokens": …} of /detokenize.
std::string parse_tokenize(std::string_view body);
std::vector<std::int32_t> parse_detokenize(std::string_view body);

}  // namespace lacuna
