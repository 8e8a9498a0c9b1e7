#include "server/canvas_answer.h"

#include <algorithm>
#include <cmath>

#include "core/json.h"
#include "core/text.h"
#include "server/answer_figures.h"
#include "server/api_error.h"
#include "server/completion_answer.h"
#include "tokenizer/answer_text.h"

namespace lacuna {
namespace {

using CanvasJson = nlohmann::ordered_json;

std::int64_t masked_in(const DecodingRequest& request, std::int64_t mask) {
  return std::count(request.tokens.begin(), request.tokens.end(), mask);
}

}  // namespace

// --- a canvas

CanvasAnswer::CanvasAnswer(std::shared_ptr<HttpExchange> exchange, CanvasFormat format,
                           const Tokenizer& tokenizer, const ModelConfig& config,
                           ServerMetrics& metrics)
    : exchange_(std::move(exchange)),
      format_(std::move(format)),
      tokenizer_(tokenizer),
      config_(config),
      metrics_(metrics),
      answer_(tokenizer, {format_.end_tokens, {}, format_.max_tokens}),
      start_(start_event()) {}

std::string CanvasAnswer::piece(std::int32_t id) const {
  return tokenizer_.has(id) ? valid_utf8(tokenizer_.decode({&id, 1}, false)) : "";
}

std::string CanvasAnswer::start_event() const {
  CanvasJson tokens = CanvasJson::array(), pieces = CanvasJson::array();
  for (const std::int32_t id : format_.request.tokens) {
    const bool masked = id == config_.mask_token;
    tokens.push_back(masked ? CanvasJson() : CanvasJson(id));
    pieces.push_back(masked ? CanvasJson() : CanvasJson(piece(id)));
  }
  const auto given = std::int64_t(format_.request.tokens.size());
  if (!format_.request.infill && config_.attention != Attention::causal)
    for (std::int64_t i = 0; i < format_.request.options.gen_length; ++i) {
      tokens.push_back(nullptr);
      pieces.push_back(nullptr);
    }
  return server_sent_event(json_text({{"model", format_.model},
                                      {"seed", format_.seed},
                                      {"appends", !format_.request.infill},
                                      {"prompt_tokens", format_.request.infill ? 0 : given},
                                      {"tokens", tokens},
                                      {"pieces", pieces}}),
                           "start");
}

void CanvasAnswer::on_queued() {
  exchange_->begin_stream();
  exchange_->write(std::move(start_));
}

/// What follows the prompt.
std::span<const std::int32_t> CanvasAnswer::answer_in(std::span<const std::int32_t> canvas) const {
  return canvas.subspan(format_.request.tokens.size());
}

/// Whether the answer cannot change any more, whatever else is filled.
bool CanvasAnswer::complete(const DecodingStep& step) {
  if (format_.request.infill) return false;
  const auto prompt = std::int64_t(format_.request.tokens.size());
  const std::int64_t settled = settled_tokens(step, prompt, format_.request.options, config_);
  (void)answer_.settle(answer_in(step.tokens), settled);
  return answer_.complete();
}

bool CanvasAnswer::on_step(std::size_t, const DecodingStep& step) {
  CanvasJson committed = CanvasJson::array();
  for (const std::int32_t position : step.committed) {
    const std::int32_t id = step.tokens[std::size_t(position)];
    const double confidence = double(step.probability[std::size_t(position)]);
    committed.push_back({position, id, piece(id), std::round(confidence * 1e4) / 1e4});
  }
  exchange_->write(server_sent_event(
      json_text(
          {{"n", step.done},
           {"of", step.of},
           {"block", step.block},
           {"committed", committed},
           {"revoked", std::vector<std::int32_t>(step.revoked.begin(), step.revoked.end())},
           {"masked", std::count(step.tokens.begin(), step.tokens.end(), config_.mask_token)}}),
      "step"));
  if (!complete(step)) return false;
  close();
  return true;
}

void CanvasAnswer::close() {
  (void)answer_.finish();
  text_ = answer_.text();
  filled_ = answer_.tokens();
}

void CanvasAnswer::on_result(std::size_t, const DecodingResult& result) {
  if (format_.request.infill) {
    text_ = valid_utf8(answer_text(tokenizer_, result.tokens));
    filled_ = masked_in(format_.request, config_.mask_token);
  } else {
    const std::span<const std::int32_t> answer = answer_in(result.tokens);
    (void)answer_.settle(answer, std::int64_t(answer.size()));
    close();
  }
}

void CanvasAnswer::on_complete(const JobTimes& times) {
  const auto all = std::int64_t(format_.request.tokens.size());
  const std::int64_t given = all - (format_.request.infill ? filled_ : 0);
  metrics_.prompt_tokens += given;
  metrics_.completion_tokens += filled_;
  CanvasJson end = {{"text", text_},
                    {"finish_reason", format_.request.infill ? "stop" : answer_.finish_reason()}};
  add_figures(end, given, filled_, format_.seed, times);
  exchange_->write(server_sent_event(json_text(end), "end"));
  exchange_->end();
}

void CanvasAnswer::on_failure(const std::exception& error) {
  exchange_->write(server_sent_event(error_json(api_error_of(error)), "error"));
  exchange_->end();
}

// --- gaps

InfillAnswer::InfillAnswer(std::shared_ptr<HttpExchange> exchange, CanvasFormat format,
                           GapText gaps, const Tokenizer& tokenizer, ServerMetrics& metrics)
    : exchange_(std::move(exchange)),
      format_(std::move(format)),
      gaps_(std::move(gaps)),
      tokenizer_(tokenizer),
      metrics_(metrics) {}

void InfillAnswer::on_result(std::size_t, const DecodingResult& result) { tokens_ = result.tokens; }

void InfillAnswer::on_complete(const JobTimes& times) {
  CanvasJson reply = {{"object", "infill"}, {"model", format_.model}};
  CanvasJson filled = CanvasJson::array();
  const std::span<const std::int32_t> tokens = tokens_;
  std::size_t at = gaps_.texts.front().size();
  std::int64_t made = 0;
  for (std::size_t g = 0; g < gaps_.gaps.size(); ++g) {
    const auto length = std::size_t(gaps_.gaps[g]);
    filled.push_back(valid_utf8(answer_text(tokenizer_, tokens.subspan(at, length))));
    at += length + gaps_.texts[g + 1].size();
    made += gaps_.gaps[g];
  }
  reply["text"] = valid_utf8(answer_text(tokenizer_, tokens));
  reply["gaps"] = filled;
  reply["lengths"] = gaps_.gaps;
  const auto given = std::int64_t(tokens_.size()) - made;
  metrics_.prompt_tokens += given;
  metrics_.completion_tokens += made;
  add_figures(reply, given, made, format_.seed, times);
  exchange_->reply({.body = json_text(reply)});
}

void InfillAnswer::on_failure(const std::exception& error) {
  exchange_->reply(error_reply(api_error_of(error)));
}

}  // namespace lacuna
