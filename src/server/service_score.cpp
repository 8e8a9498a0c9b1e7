// The endpoints that generate nothing: /v1/score, /tokenize and /detokenize.
#include <atomic>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>

#include "core/check.h"
#include "core/text.h"
#include "diffusion/likelihood.h"
#include "evaluation/encode_text.h"
#include "server/api_error.h"
#include "server/service.h"

namespace lacuna {
namespace {

using ScoreJson = nlohmann::ordered_json;

/// Rows of a scoring pass: those of a few steps of generation, which goes on between two passes.
constexpr std::int64_t kScoreRows = 1024;

struct ClientGone : std::exception {};

std::string text_of_score_json(const ScoreJson& json) {
  return json.dump(-1, ' ', false, ScoreJson::error_handler_t::replace);
}

ScoreJson score_json(const Likelihood& l, std::size_t bytes) {
  ScoreJson json = {{"object", "score"},
                    {"nats", l.nats},
                    {"standard_error", nullptr},
                    {"exact", l.standard_error == 0},
                    {"tokens", l.tokens},
                    {"nats_per_token", l.nats / double(l.tokens)},
                    {"bits_per_byte", l.nats / std::numbers::ln2 / double(bytes)},
                    {"samples", l.samples}};
  if (std::isfinite(l.standard_error)) json["standard_error"] = l.standard_error;
  return json;
}

}  // namespace

void Service::score(const HttpRequest& request, std::shared_ptr<HttpExchange> exchange) {
  const ScoreRequest asked = parse_score(request.body);
  check_model(asked.model);
  const PromptedText text = encode_pair(*model_.source.tokenizer, TaskText::written(asked.prompt),
                                        TaskText::written(asked.text));
  const ModelConfig& config = model_.config();
  check_ids(text.tokens, "text");
  const auto length = std::int64_t(text.tokens.size());
  if (length > config.max_seq_length)
    throw ApiError(
        400,
        str("prompt and text have ", length, " tokens; the model takes ", config.max_seq_length),
        "text", "context_length_exceeded");
  const auto gone = std::make_shared<std::atomic<bool>>(false);
  const auto task = [this, asked, text, length, gone, exchange] {
    try {
      if (*gone) return;
      LikelihoodEstimator estimator(*model_.ops, model_.config(), model_.weights,
                                    std::max(length + 1, kScoreRows));
      estimator.on_pass([&] {
        ++metrics_.passes;
        if (*gone || engine_->stopping()) throw ClientGone();
        engine_->step();
      });
      LikelihoodOptions options;
      options.samples = asked.samples;
      options.seed = asked.seed;
      const Likelihood result = estimator.score({text}, options).front();
      ++metrics_.succeeded;
      exchange->reply({.body = text_of_score_json(score_json(result, asked.text.size()))});
    } catch (const ClientGone&) {
      ++metrics_.cancelled;
    } catch (const std::exception& e) {
      ++metrics_.failed;
      exchange->reply(error_reply(api_error_of(e)));
    }
  };
  if (!engine_->run(task)) throw too_busy();
  exchange->on_gone([gone] { *gone = true; });
}

void Service::tokenize(const HttpRequest& request, std::shared_ptr<HttpExchange> exchange) {
  const std::vector<std::int32_t> ids =
      model_.source.tokenizer->encode(parse_tokenize(request.body));
  exchange->reply({.body = text_of_score_json({{"tokens", ids}, {"count", ids.size()}})});
}

void Service::detokenize(const HttpRequest& request, std::shared_ptr<HttpExchange> exchange) {
  const std::vector<std::int32_t> ids = parse_detokenize(request.body);
  for (const std::int32_t id : ids)
    if (!model_.source.tokenizer->has(id))
      throw ApiError(400, str("'tokens' holds ", id, ", which is no token"), "tokens");
  exchange->reply({.body = text_of_score_json(
                       {{"text", valid_utf8(model_.source.tokenizer->decode(ids, false))}})});
}

}  // namespace lacuna
