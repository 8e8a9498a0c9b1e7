#include "server/completion_answer.h"

#include <algorithm>
#include <ctime>
#include <random>

#include "core/json.h"
#include "core/text.h"
#include "decoding/make_strategy.h"
#include "server/answer_figures.h"
#include "server/api_error.h"

namespace lacuna {
namespace {

using AnswerJson = nlohmann::ordered_json;

std::string new_id(bool chat) {
  static thread_local std::mt19937_64 generator{std::random_device{}()};
  return (chat ? "chatcmpl-" : "cmpl-") +
         format("%016llx", static_cast<unsigned long long>(generator()));
}

}  // namespace

std::int64_t settled_tokens(const DecodingStep& step, std::int64_t prompt,
                            const DecodingOptions& options, const ModelConfig& config) {
  const auto all = std::int64_t(step.tokens.size());
  if (config.attention == Attention::causal) return all - prompt;
  const std::int64_t length = options.tokens_per_block();
  // Blocks of a block-causal model are of positions from 0 on.
  const std::int64_t first =
      config.attention == Attention::bidirectional ? prompt : prompt / length * length;
  // Earlier blocks are final, even where a strategy left the mask token in them.
  std::int64_t at = std::clamp(first + step.block * length, prompt, all);
  if (revises(options.strategy)) return at - prompt;
  while (at < all && step.tokens[std::size_t(at)] != config.mask_token) ++at;
  return at - prompt;
}

CompletionAnswer::CompletionAnswer(std::shared_ptr<HttpExchange> exchange, CompletionFormat format,
                                   std::vector<Part> parts, AnswerEnds ends,
                                   const Tokenizer& tokenizer, const ModelConfig& config,
                                   ServerMetrics& metrics)
    : exchange_(std::move(exchange)),
      format_(std::move(format)),
      parts_(std::move(parts)),
      config_(config),
      metrics_(metrics),
      id_(new_id(format_.chat)),
      created_(std::time(nullptr)),
      closed_(parts_.size()) {
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    ends.max_tokens = parts_[i].max_tokens;
    answers_.emplace_back(tokenizer, ends);
  }
}

void CompletionAnswer::on_queued() {
  if (!format_.stream) return;
  exchange_->begin_stream();
  if (!format_.chat) return;
  for (std::size_t i = 0; i < parts_.size(); ++i) send(i, Chunk::role);
}

/// A chunk of the stream.
void CompletionAnswer::send(std::size_t text, Chunk kind, const std::string& delta) {
  AnswerJson choice = {{"index", text}};
  if (!format_.chat)
    choice["text"] = delta;
  else if (kind == Chunk::role)
    choice["delta"] = {{"role", "assistant"}, {"content", ""}};
  else
    choice["delta"] = kind == Chunk::end ? AnswerJson::object() : AnswerJson{{"content", delta}};
  choice["logprobs"] = nullptr;
  choice["finish_reason"] = nullptr;
  if (kind == Chunk::end) choice["finish_reason"] = answers_[text].finish_reason();
  AnswerJson chunk = {{"id", id_},
                      {"object", format_.chat ? "chat.completion.chunk" : "text_completion"},
                      {"created", created_},
                      {"model", format_.model},
                      {"choices", AnswerJson::array({choice})}};
  if (format_.include_usage) chunk["usage"] = nullptr;
  exchange_->write(server_sent_event(json_text(chunk)));
}

/// The first `settled` tokens of the answer, which follows the prompt in `tokens`, are final.
void CompletionAnswer::settle(std::size_t text, std::span<const std::int32_t> tokens,
                              std::int64_t settled) {
  const std::string delta =
      answers_[text].settle(tokens.subspan(std::size_t(parts_[text].prompt)), settled);
  if (format_.stream && !delta.empty()) send(text, Chunk::text, delta);
}

/// Sends what is left of a text, once.
void CompletionAnswer::close(std::size_t text) {
  if (closed_[text]) return;
  closed_[text] = true;
  const std::string rest = answers_[text].finish();
  metrics_.completion_tokens += answers_[text].tokens();
  if (!format_.stream) return;
  if (!rest.empty()) send(text, Chunk::text, rest);
  send(text, Chunk::end);
}

bool CompletionAnswer::on_step(std::size_t text, const DecodingStep& step) {
  const Part& part = parts_[text];
  settle(text, step.tokens, settled_tokens(step, part.prompt, part.options, config_));
  if (!answers_[text].complete()) return false;
  close(text);
  return true;
}

void CompletionAnswer::on_result(std::size_t text, const DecodingResult& result) {
  settle(text, result.tokens, std::int64_t(result.tokens.size()) - parts_[text].prompt);
  close(text);
}

void CompletionAnswer::on_complete(const JobTimes& times) {
  std::int64_t tokens = 0;
  for (const AnswerStream& answer : answers_) tokens += answer.tokens();
  metrics_.prompt_tokens += format_.prompt_tokens;
  AnswerJson reply = {{"id", id_},
                      {"object", format_.chat ? "chat.completion" : "text_completion"},
                      {"created", created_},
                      {"model", format_.model},
                      {"choices", AnswerJson::array()}};
  if (format_.stream) {
    if (format_.include_usage) {
      if (format_.chat) reply["object"] = "chat.completion.chunk";
      add_figures(reply, format_.prompt_tokens, tokens, format_.seed, times);
      exchange_->write(server_sent_event(json_text(reply)));
    }
    exchange_->write(server_sent_event("[DONE]"));
    return exchange_->end();
  }
  for (std::size_t i = 0; i < answers_.size(); ++i) {
    AnswerJson choice = {{"index", i}};
    if (format_.chat)
      choice["message"] = {
          {"role", "assistant"}, {"content", answers_[i].text()}, {"refusal", nullptr}};
    else
      choice["text"] = answers_[i].text();
    choice["logprobs"] = nullptr;
    choice["finish_reason"] = answers_[i].finish_reason();
    reply["choices"].push_back(choice);
  }
  add_figures(reply, format_.prompt_tokens, tokens, format_.seed, times);
  exchange_->reply({.body = json_text(reply)});
}

void CompletionAnswer::on_failure(const std::exception& error) {
  const ApiError told = api_error_of(error);
  if (!format_.stream) return exchange_->reply(error_reply(told));
  exchange_->write(server_sent_event(error_json(told)));
  exchange_->end();
}

}  // namespace lacuna
