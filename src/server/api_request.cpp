#include "server/api_request.h"

#include <type_traits>

#include "server/json_fields.h"
#include "server/request_options.h"

namespace lacuna {
namespace {

using RequestJson = JsonFields::Json;

constexpr std::int64_t kMostTokens = 1 << 24;
constexpr std::size_t kMostStops = 4, kLongestStop = 1024, kMostChoices = 64;

/// What `read` makes of the fields of a body, all of which it must know.
template <class Read>
auto parsed(std::string_view body, Read&& read) {
  JsonFields fields = JsonFields::of(body);
  auto request = read(fields);
  fields.refuse_others();
  return request;
}

/// The fields of DecodingOptions under their own names, but for gen_length.
void read_options(JsonFields& fields, const DecodingOptions& defaults, GenerationFields& request) {
  DecodingOptions::fields(request.options, [&](auto& field, const std::string& name, const char*) {
    using Field = std::decay_t<decltype(field)>;
    if (name == "gen_length") return;
    if (fields.find(name)) request.given.insert(name);
    if constexpr (std::is_enum_v<Field>) {
      if (const auto word = fields.word<Field>(name)) field = *word;
    } else if constexpr (std::is_same_v<Field, bool>) {
      if (const auto value = fields.boolean(name)) field = *value;
    } else if constexpr (std::is_floating_point_v<Field>) {
      if (const auto value = fields.number(name)) field = *value;
    } else {
      const std::int64_t most =
          name == "seed" ? std::numeric_limits<std::int64_t>::max() : kMostTokens;
      if (const auto value = fields.integer(name, 0, most)) field = Field(*value);
    }
  });
  const auto length = fields.integer("max_tokens", 1, kMostTokens);
  const auto completion = fields.integer("max_completion_tokens", 1, kMostTokens);
  if (length && completion && *length != *completion)
    fields.refuse("max_tokens", "and 'max_completion_tokens' contradict each other");
  if (const auto either = completion ? completion : length) {
    request.options.gen_length = *either;
    request.given.insert("gen_length");
  }
  forget_dependent_defaults(request, defaults);
  use_options(request, [](const DecodingOptions& options) {
    try {
      validate_values(options);
    } catch (const Error& e) {
      throw error_of_field(e);
    }
  });
}

std::vector<std::string> read_stops(JsonFields& fields) {
  const RequestJson* value = fields.find("stop");
  if (!value) return {};
  const RequestJson list = value->is_array() ? *value : RequestJson::array({*value});
  std::vector<std::string> stops;
  for (const RequestJson& stop : list) {
    if (!stop.is_string()) fields.refuse("stop", "must be a string or a list of strings");
    stops.push_back(stop.get<std::string>());
  }
  if (stops.size() > kMostStops) fields.refuse("stop", str("has more than ", kMostStops, " texts"));
  for (const std::string& stop : stops)
    if (stop.empty() || stop.size() > kLongestStop)
      fields.refuse("stop", str("must be texts of 1 to ", kLongestStop, " bytes"));
  return stops;
}

void read_stream_options(JsonFields& fields, GenerationFields& request) {
  std::optional<JsonFields> options = fields.object("stream_options");
  if (!options) return;
  if (!request.stream) fields.refuse("stream_options", "is for requests with 'stream'");
  request.include_usage = options->boolean("include_usage").value_or(false);
  options->unsupported("include_obfuscation", {false});
  options->refuse_others();
}

/// Of OpenAI's protocol, and not what a masked-diffusion model has, or not built.
void refuse_unsupported(JsonFields& fields) {
  if (const auto top_p = fields.number("top_p"); top_p && *top_p != 1)
    fields.refuse("top_p", "is not supported: tokens are drawn from the whole distribution; 1 is",
                  "unsupported_parameter");
  for (const char* name : {"frequency_penalty", "presence_penalty"})
    fields.unsupported(name, {0}, "is not supported; 0 is");
  fields.unsupported("logit_bias", {RequestJson::object()});
  fields.unsupported("logprobs", {false, 0});
  fields.unsupported("top_logprobs", {0});
  fields.unsupported("service_tier", {"auto", "default"});
  fields.unsupported("store", {false});
  fields.unsupported("metadata", {RequestJson::object()});
}

void read_common(JsonFields& fields, const RequestDefaults& defaults, GenerationFields& request) {
  request.options = defaults.options;
  request.options.seed = defaults.seed;
  request.model = fields.text("model").value_or("");
  read_options(fields, defaults.options, request);
  request.n = fields.integer("n", 1, kMostAnswers).value_or(1);
  request.stop = read_stops(fields);
  request.stream = fields.boolean("stream").value_or(false);
  read_stream_options(fields, request);
  refuse_unsupported(fields);
  (void)fields.text("user");  // who asks changes no answer
}

/// Of requests that generate nothing: the likeliest of some texts is the answer.
void read_choices(JsonFields& fields, GenerationFields& request) {
  const RequestJson* list = fields.find("choices");
  if (!list) return;
  if (!list->is_array() || list->size() < 2 || list->size() > kMostChoices)
    fields.refuse("choices", str("must be a list of 2 to ", kMostChoices, " texts"));
  for (const RequestJson& choice : *list) {
    if (!choice.is_string() || choice.get_ref<const std::string&>().empty())
      fields.refuse("choices", "must be texts that are not empty");
    request.choices.push_back(choice.get<std::string>());
  }
  if (request.n != 1) fields.refuse("n", "must be 1 with 'choices'", "unsupported_parameter");
  for (const char* name : {"stop", "max_tokens", "max_completion_tokens"})
    if (fields.find(name))
      fields.refuse(name, "has no meaning with 'choices'", "unsupported_parameter");
}

/// A schema that the answer conforms to.
void read_schema(JsonFields& fields, JsonFields& format, GenerationFields& request) {
  std::optional<JsonFields> of_schema = format.object("json_schema");
  if (!of_schema) format.refuse("json_schema", "is missing");
  (void)of_schema->text("name");
  (void)of_schema->text("description");
  (void)of_schema->boolean("strict");  // every answer conforms
  const RequestJson* schema = of_schema->find("schema");
  if (!schema) of_schema->refuse("schema", "is missing");
  try {
    request.schema = parse_json_schema(json_text(*schema));
  } catch (const Error& e) {
    throw ApiError(400, std::string("'response_format.json_schema.schema': ") + e.what(),
                   "response_format", "unsupported_schema");
  }
  of_schema->refuse_others();
  for (const char* name : {"stop", "block_length", "initial_length", "stop_at_end", "choices"})
    if (fields.find(name))
      fields.refuse(name, "has no meaning with a JSON schema", "unsupported_parameter");
}

void read_response_format(JsonFields& fields, GenerationFields& request) {
  request.string_tokens =
      fields.integer("string_tokens", 1, kMostStringTokens).value_or(request.string_tokens);
  std::optional<JsonFields> format = fields.object("response_format");
  const std::string type = format ? format->text("type").value_or("") : "text";
  if (type == "json_schema")
    read_schema(fields, *format, request);
  else if (type == "json_object")
    fields.refuse("response_format",
                  "of type \"json_object\" is not supported: of what shape the object is must be "
                  "said by type \"json_schema\"",
                  "unsupported_parameter");
  else if (type != "text")
    fields.refuse("response_format", "must be of type \"text\" or \"json_schema\"");
  if (format) format->refuse_others();
  if (!request.schema && fields.find("string_tokens"))
    fields.refuse("string_tokens", "is for a JSON schema in 'response_format'");
}

ApiPrompt ids_or_text(JsonFields& fields, const RequestJson& value) {
  if (value.is_string()) return {value.get<std::string>(), std::nullopt};
  if (auto ids = JsonFields::ids_of(value)) return {"", std::move(ids)};
  fields.refuse("prompt", "must be a string, a list of token ids, or a list of such");
}

std::vector<ApiPrompt> read_prompts(JsonFields& fields) {
  const RequestJson* value = fields.find("prompt");
  if (!value) return {ApiPrompt{}};
  const bool many = value->is_array() && !value->empty() && !(*value)[0].is_number();
  if (!many) return {ids_or_text(fields, *value)};
  if (value->size() > std::size_t(kMostAnswers))
    fields.refuse("prompt", str("holds more than ", kMostAnswers, " prompts"));
  std::vector<ApiPrompt> prompts;
  for (const RequestJson& one : *value) prompts.push_back(ids_or_text(fields, one));
  return prompts;
}

/// A string, or the text parts of a list.
std::string content_of(JsonFields& message) {
  const RequestJson* content = message.find("content");
  if (!content) message.refuse("content", "is missing");
  if (content->is_string()) return content->get<std::string>();
  if (!content->is_array()) message.refuse("content", "must be a string or a list of text parts");
  std::string text;
  for (const RequestJson& part : *content) {
    if (!part.is_object() || part.value("type", RequestJson()) != "text" ||
        !part.contains("text") || !part["text"].is_string())
      message.refuse("content", "may hold parts of type \"text\" alone");
    text += part["text"].get<std::string>();
  }
  return text;
}

Dialogue read_messages(JsonFields& fields) {
  const RequestJson* list = fields.find("messages");
  if (!list || !list->is_array() || list->empty())
    fields.refuse("messages", "must be a list of messages");
  Dialogue dialogue;
  for (std::size_t i = 0; i < list->size(); ++i) {
    const std::string name = str("messages[", i, "]");
    if (!(*list)[i].is_object()) fields.refuse(name, "must be an object");
    JsonFields message((*list)[i], name + ".");
    std::string role = message.text("role").value_or("");
    if (role == "developer") role = "system";
    if (role != "system" && role != "user" && role != "assistant")
      message.refuse("role", "must be system, developer, user or assistant");
    dialogue.push_back({role, content_of(message)});
    (void)message.text("name");
    for (const char* absent : {"refusal", "audio", "function_call"})
      message.unsupported(absent, {});
    for (const char* absent : {"tool_calls", "annotations"})
      message.unsupported(absent, {RequestJson::array()});
    message.refuse_others();
  }
  if (dialogue.back().role == "assistant")
    fields.refuse("messages", "end with the assistant's: the beginning of a reply cannot be given");
  return dialogue;
}

/// What has no meaning where one text is given and filled.
void read_one_text(JsonFields& fields, RequestDefaults defaults, GenerationFields& request) {
  // The start event reports the number of tokens, masked ones included, and gaps have fixed numbers
  // of masked tokens: neither can grow while it is decoded.
  fields.unsupported("initial_length", {0}, "is not supported here: the length is fixed");
  defaults.options.initial_length = 0;
  read_common(fields, defaults, request);
  if (request.n != 1) fields.refuse("n", "must be 1 here", "unsupported_parameter");
  if (!request.stop.empty())
    fields.refuse("stop", "is not supported here", "unsupported_parameter");
}

/// The gaps alone are filled, as one block, and nothing is appended.
void refuse_lengths(JsonFields& fields, const GenerationFields& request) {
  for (const char* name : {"gen_length", "block_length", "stop_at_end"})
    if (request.given.contains(name))
      fields.refuse(std::string(name) == "gen_length" ? "max_tokens" : name,
                    "has no meaning where gaps are filled", "unsupported_parameter");
}

std::vector<std::int32_t> canvas_of(JsonFields& fields, const RequestJson& value) {
  std::vector<std::int32_t> tokens;
  if (value.is_array())
    for (const RequestJson& token : value) {
      const std::optional<std::int32_t> id = JsonFields::id_of(token);
      if (!token.is_null() && !id) fields.refuse("canvas", "must be a list of token ids and nulls");
      tokens.push_back(id.value_or(CanvasRequest::kMaskedToken));
    }
  if (tokens.empty()) fields.refuse("canvas", "must be a list of token ids and nulls");
  return tokens;
}

}  // namespace

CompletionRequest parse_completion(std::string_view body, const RequestDefaults& defaults) {
  return parsed(body, [&](JsonFields& fields) {
    CompletionRequest request;
    read_common(fields, defaults, request);
    request.prompts = read_prompts(fields);
    read_choices(fields, request);
    read_response_format(fields, request);
    fields.unsupported("best_of", {1, request.n});
    fields.unsupported("echo", {false});
    fields.unsupported("suffix", {""}, "is not supported; POST /v1/infill fills gaps");
    return request;
  });
}

ChatRequest parse_chat(std::string_view body, const RequestDefaults& defaults) {
  return parsed(body, [&](JsonFields& fields) {
    ChatRequest request;
    read_common(fields, defaults, request);
    request.messages = read_messages(fields);
    read_choices(fields, request);
    read_response_format(fields, request);
    for (const char* name : {"tools", "functions"})
      fields.unsupported(name, {RequestJson::array()});
    for (const char* name : {"tool_choice", "function_call"})
      fields.unsupported(name, {"none", "auto"});
    fields.unsupported("parallel_tool_calls", {true, false});
    fields.unsupported("modalities", {RequestJson::array({"text"})});
    return request;
  });
}

InfillRequest parse_infill(std::string_view body, const RequestDefaults& defaults) {
  return parsed(body, [&](JsonFields& fields) {
    InfillRequest request;
    read_one_text(fields, defaults, request);
    refuse_lengths(fields, request);
    if (request.stream)
      fields.refuse("stream", "is not supported here; POST /v1/canvas streams",
                    "unsupported_parameter");
    request.text = fields.text("text");
    request.prefix = fields.text("prefix").value_or("");
    request.suffix = fields.text("suffix").value_or("");
    request.length = fields.integer("length", 1, kMostTokens).value_or(0);
    if (request.text && (fields.find("prefix") || fields.find("suffix") || fields.find("length")))
      fields.refuse("text",
                    "has gaps of its own: 'prefix', 'suffix' and 'length' are instead of it");
    if (!request.text && !fields.find("prefix") && !fields.find("suffix"))
      fields.refuse("text", "is missing: a text with {gap} or {gap:N}, or 'prefix' and 'suffix'");
    return request;
  });
}

CanvasRequest parse_canvas(std::string_view body, const RequestDefaults& defaults) {
  return parsed(body, [&](JsonFields& fields) {
    CanvasRequest request;
    read_one_text(fields, defaults, request);
    if (const RequestJson* prompt = fields.find("prompt"))
      request.prompt = ids_or_text(fields, *prompt);
    if (fields.find("messages")) request.messages = read_messages(fields);
    request.text = fields.text("text");
    if (const RequestJson* canvas = fields.find("canvas"))
      request.canvas = canvas_of(fields, *canvas);
    const int given = int(request.prompt.has_value()) + int(!request.messages.empty()) +
                      int(request.text.has_value()) + int(request.canvas.has_value());
    if (given != 1)
      fields.refuse("prompt",
                    "or one of 'messages', 'text' and 'canvas' must be given, and no other");
    if (request.text || request.canvas) refuse_lengths(fields, request);
    return request;
  });
}

ScoreRequest parse_score(std::string_view body) {
  return parsed(body, [](JsonFields& fields) {
    ScoreRequest request;
    request.model = fields.text("model").value_or("");
    request.prompt = fields.text("prompt").value_or("");
    request.text = fields.text("text").value_or("");
    if (request.text.empty()) fields.refuse("text", "is missing or empty");
    request.samples = fields.integer("samples", 1, 4096).value_or(request.samples);
    request.seed = std::uint64_t(
        fields.integer("seed", 0, std::numeric_limits<std::int64_t>::max()).value_or(1));
    return request;
  });
}

std::string parse_tokenize(std::string_view body) {
  return parsed(body, [](JsonFields& fields) {
    (void)fields.text("model");
    const std::optional<std::string> text = fields.text("text");
    if (!text) fields.refuse("text", "is missing");
    return *text;
  });
}

std::vector<std::int32_t> parse_detokenize(std::string_view body) {
  return parsed(body, [](JsonFields& fields) {
    (void)fields.text("model");
    std::optional<std::vector<std::int32_t>> tokens = fields.token_ids("tokens");
    if (!tokens) fields.refuse("tokens", "is missing");
    return std::move(*tokens);
  });
}

}  // namespace lacuna
