#include "server/service.h"

#include <algorithm>
#include <random>
#include <set>

#include "core/check.h"
#include "core/json.h"
#include "core/text.h"
#include "decoding/make_strategy.h"
#include "server/api_error.h"
#include "server/completion_answer.h"
#include "server/request_options.h"
#include "structured/json_skeleton.h"

namespace lacuna {
namespace {

using ServiceJson = nlohmann::ordered_json;

constexpr std::int64_t kServedBlock = 32;

/// Of a bidirectional model's request that says nothing of blocks.
void choose_blocks(DecodingOptions& o, std::int64_t room) {
  const std::int64_t length = o.gen_length,
                     block = std::min(o.block_length > 0 ? o.block_length : kServedBlock, length);
  const auto shares_steps = [&](std::int64_t blocks) { return o.steps % blocks == 0; };
  for (o.block_length = block; o.block_length < length; ++o.block_length) {
    const std::int64_t blocks = (length + o.block_length - 1) / o.block_length;
    if (blocks * o.block_length > room) break;
    if (!shares_steps(blocks)) continue;
    o.gen_length = blocks * o.block_length;
    return;
  }
  for (o.block_length = block; o.block_length > 0; --o.block_length)
    if (length % o.block_length == 0 && shares_steps(length / o.block_length)) return;
  o.block_length = length;
}

/// Options that a causal model has no use for.
void refuse_idle_options(const GenerationFields& fields) {
  for (const char* name : {"steps", "block_length", "remasking", "cfg_scale", "threshold", "factor",
                           "entropy_bound", "revise_threshold", "remask_rate", "stop_at_end"})
    if (fields.given.contains(name))
      throw ApiError(400, str("'", name, "' is of diffusion models; this one is autoregressive"),
                     name, "unsupported_parameter");
}

ApiError too_long(std::int64_t prompt, std::int64_t answer, std::int64_t most) {
  return {400,
          str("the prompt has ", counted(prompt, "token"), " and the answer ", answer,
              "; the model takes ", most, " together"),
          "messages", "context_length_exceeded"};
}

PlannedLength plan_with(DecodingOptions o, const std::set<std::string>& given, std::int64_t prompt,
                        const ModelConfig& config) {
  const std::int64_t room = config.max_seq_length - prompt;
  if (room < 1) throw too_long(prompt, 1, config.max_seq_length);
  if (!given.contains("gen_length")) o.gen_length = std::min(room, o.gen_length);
  if (o.gen_length > room) throw too_long(prompt, o.gen_length, config.max_seq_length);
  const std::int64_t asked = o.gen_length;
  if (config.attention == Attention::bidirectional && !given.contains("block_length"))
    choose_blocks(o, room);
  o = resolved_fields(o, config);
  if (const std::int64_t rows = canvas_rows(prompt, o, config); rows > config.max_seq_length)
    throw too_long(prompt, rows - prompt, config.max_seq_length);
  return {o, asked};
}

ServiceJson model_json(const ServiceOptions& options, const ModelConfig& config, bool chats) {
  return {{"id", options.model_name},
          {"object", "model"},
          {"created", options.created},
          {"owned_by", "lacuna"},
          {"max_model_len", config.max_seq_length},
          {"attention", word_of(config.attention)},
          {"block_size", config.block_size},
          {"chat", chats},
          {"infill", config.attention == Attention::bidirectional},
          {"json_schema", config.attention != Attention::causal}};
}

}  // namespace

PlannedLength plan_length(const GenerationFields& fields, std::int64_t prompt,
                          const ModelConfig& config) {
  if (config.attention == Attention::causal) refuse_idle_options(fields);
  return use_options(fields, [&](const DecodingOptions& options) {
    return plan_with(options, fields.given, prompt, config);
  });
}

Service::Service(const LoadedModel& model, const ServiceOptions& options, ServerMetrics& metrics)
    : model_(model), options_(options), metrics_(metrics) {
  const Tokenizer& tokenizer = model.source.need_tokenizer("lacuna serve needs one");
  try {
    chat_.emplace(load_chat_template(options.chat_template, model.source.chat_template(),
                                     model.source.reader.path()),
                  tokenizer);
  } catch (const Error& e) {
    if (!options.chat_template.empty()) throw;
    no_chat_ = e.what();
  }
  try {
    (void)plan_with(options.defaults, {}, 0, model.config());
  } catch (const ApiError& e) {
    fail_usage(e.what());
  }
  engine_ = std::make_unique<Engine>(model, options.engine, metrics);
}

Service::~Service() = default;

RequestDefaults Service::defaults() {
  static thread_local std::mt19937 generator{std::random_device{}()};
  return {options_.defaults, generator()};
}

void Service::check_model(const std::string& name) const {
  if (name.empty() || name == options_.model_name) return;
  throw ApiError(404, "the model " + shown(name) + " is not served; " + options_.model_name + " is",
                 "model", "model_not_found");
}

void Service::check_ids(const std::vector<std::int32_t>& ids, const std::string& field) const {
  try {
    model_.source.check_ids(ids);
  } catch (const Error& e) {
    throw ApiError(400, e.what(), field);
  }
}

void Service::check_fits(const DecodingRequest& text) const {
  const std::int64_t rows = rows_of(resolved_request(text, model_.config()), model_.config()).all();
  if (const std::int64_t most = engine_->decoder_limits().tokens; rows > most)
    throw ApiError(400, str("a text of ", rows, " tokens; the server computes ", most, " at most"),
                   "", "context_length_exceeded");
  if (text.options.cfg_scale > 0 && !options_.engine.guidance)
    throw ApiError(400, "'cfg_scale' needs a server that was started with --guidance", "cfg_scale",
                   "unsupported_parameter");
  const ModelConfig& config = model_.config();
  if (config.logits_shift && !text.tokens.empty() && text.tokens[0] == config.mask_token)
    throw ApiError(400,
                   "a model with logits_shift cannot fill a text's first token, which is masked");
}

void Service::check_has_prompt(std::int64_t prompt, const std::string& field) const {
  if (prompt > 0 || !model_.config().predicts_next() || model_.config().eos_token >= 0) return;
  throw ApiError(400,
                 model_.config().logits_shift
                     ? "a model with logits_shift, without an end token, needs a prompt"
                     : "an autoregressive model without an end token needs a prompt",
                 field);
}

/// Why the engine takes nothing.
ApiError Service::too_busy() {
  ++metrics_.rejected;
  if (engine_->draining()) return {503, "the server is stopping"};
  ApiError full(429, "the queue is full", "", "queue_full");
  full.retry_after = engine_->retry_after();
  return full;
}

void Service::submit(Job job, const std::shared_ptr<HttpExchange>& exchange, bool goes_on) {
  const std::optional<std::int64_t> id = engine_->submit(std::move(job), goes_on);
  if (!id) throw too_busy();
  exchange->on_gone([engine = engine_.get(), id = *id] { engine->cancel(id); });
}

std::vector<std::int32_t> Service::end_tokens(bool chat) const {
  std::vector<std::int32_t> ends;
  for (const std::int64_t end :
       {model_.config().eos_token, std::int64_t(chat ? chat_->end_of_reply() : -1)})
    if (end >= 0) ends.push_back(std::int32_t(end));
  return ends;
}

std::vector<std::int32_t> Service::prompt_tokens(const ApiPrompt& prompt) const {
  std::vector<std::int32_t> ids =
      prompt.ids ? *prompt.ids : model_.source.tokenizer->encode(prompt.text);
  check_ids(ids, "prompt");
  check_has_prompt(std::int64_t(ids.size()), "prompt");
  return ids;
}

std::vector<std::int32_t> Service::chat_prompt(const Dialogue& messages) const {
  if (!chat_) throw ApiError(400, "the model has no chat template: " + no_chat_, "messages");
  std::vector<std::int32_t> ids = chat_->prompt(messages);
  check_ids(ids, "messages");
  check_has_prompt(std::int64_t(ids.size()), "messages");
  return ids;
}

const Tokenizer& Service::tokenizer(bool chat) const {
  return chat ? chat_->tokenizer() : *model_.source.tokenizer;
}

std::shared_ptr<const SkeletonWriter> Service::skeleton_writer(bool chat) {
  const std::lock_guard lock(writers_mutex_);
  std::shared_ptr<const SkeletonWriter>& writer = writers_[int(chat)];
  if (!writer) writer = std::make_shared<SkeletonWriter>(tokenizer(chat), model_.config());
  return writer;
}

JsonSkeleton Service::skeleton(const GenerationFields& fields, bool chat) {
  JsonSkeleton made;
  try {
    made = skeleton_writer(chat)->write(*fields.schema, fields.string_tokens);
  } catch (const Error& e) {
    throw ApiError(400, e.what(), "response_format", "unsupported_schema");
  }
  const auto length = std::int64_t(made.tokens.size());
  if (fields.given.contains("gen_length") && length > fields.options.gen_length)
    throw ApiError(400,
                   str("an answer of this schema has up to ", counted(length, "token"),
                       ", more than 'max_tokens'"),
                   "max_tokens");
  return made;
}

/// As `lacuna sample --json-schema` makes it: the masks of a bidirectional model are one block.
DecodingRequest Service::skeleton_request(const GenerationFields& fields,
                                          const JsonSkeleton& skeleton,
                                          const std::vector<std::int32_t>& prompt) const {
  const auto length = std::int64_t(skeleton.tokens.size());
  if (const std::int64_t room = model_.config().max_seq_length - std::int64_t(prompt.size());
      length > room)
    throw too_long(std::int64_t(prompt.size()), length, model_.config().max_seq_length);
  return use_options(fields, [&](const DecodingOptions& options) {
    try {
      return resolved_request(request_of(skeleton, prompt, options), model_.config());
    } catch (const Error& e) {
      throw error_of_field(e);
    }
  });
}

void Service::generate(const HttpRequest& request, const GenerationFields& fields, bool chat,
                       const std::vector<std::vector<std::int32_t>>& prompts,
                       std::shared_ptr<HttpExchange> exchange) {
  CompletionFormat format{.chat = chat,
                          .stream = fields.stream,
                          .include_usage = fields.include_usage,
                          .model = options_.model_name,
                          .seed = fields.options.seed};
  AnswerEnds ends{.tokens = end_tokens(chat), .stops = fields.stop};
  std::optional<JsonSkeleton> shape;
  if (fields.schema) {
    shape = skeleton(fields, chat);
    ends.tokens.clear();
    ends.filler = shape->filler;
  }
  Job job{.texts = {}, .client = request.peer, .observer = nullptr};
  std::vector<CompletionAnswer::Part> parts;
  for (const std::vector<std::int32_t>& prompt : prompts) {
    const auto length = std::int64_t(prompt.size());
    format.prompt_tokens += length;
    DecodingRequest text;
    std::int64_t max_tokens = 0;
    if (shape) {
      text = skeleton_request(fields, *shape, prompt);
      max_tokens = std::int64_t(shape->tokens.size());
    } else {
      const PlannedLength plan = plan_length(fields, length, model_.config());
      text = {.tokens = prompt, .options = plan.options};
      max_tokens = plan.max_tokens;
    }
    check_fits(text);
    for (text.sample = 0; text.sample < fields.n; ++text.sample) {
      job.texts.push_back(text);
      parts.push_back({length, text.options, max_tokens});
    }
  }
  job.observer = std::make_shared<CompletionAnswer>(exchange, std::move(format), std::move(parts),
                                                    std::move(ends), tokenizer(chat),
                                                    model_.config(), metrics_);
  submit(std::move(job), exchange);
}

void Service::completion(const HttpRequest& request, std::shared_ptr<HttpExchange> exchange) {
  const CompletionRequest asked = parse_completion(request.body, defaults());
  check_model(asked.model);
  std::vector<std::vector<std::int32_t>> prompts;
  for (const ApiPrompt& prompt : asked.prompts) prompts.push_back(prompt_tokens(prompt));
  if (asked.n * std::int64_t(prompts.size()) > kMostAnswers)
    throw ApiError(400, str("more than ", kMostAnswers, " answers"), "n");
  if (!asked.choices.empty()) {
    if (prompts.size() != 1) throw ApiError(400, "'choices' are for one prompt", "prompt");
    return choose(asked, false, prompts[0], std::move(exchange));
  }
  generate(request, asked, false, prompts, std::move(exchange));
}

void Service::chat(const HttpRequest& request, std::shared_ptr<HttpExchange> exchange) {
  const ChatRequest asked = parse_chat(request.body, defaults());
  check_model(asked.model);
  const std::vector<std::int32_t> prompt = chat_prompt(asked.messages);
  if (!asked.choices.empty()) return choose(asked, true, prompt, std::move(exchange));
  generate(request, asked, true, {prompt}, std::move(exchange));
}

std::string Service::models() const {
  return json_text(
      {{"object", "list"},
       {"data", ServiceJson::array({model_json(options_, model_.config(), chat_.has_value())})}});
}

std::string Service::model(const std::string& name) const {
  if (name != options_.model_name)
    throw ApiError(404, "the model " + shown(name) + " is not served", "model", "model_not_found");
  return json_text(model_json(options_, model_.config(), chat_.has_value()));
}

}  // namespace lacuna
