// The endpoints that generate nothing: /v1/score, /tokenize and /detokenize.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/check.h"
#include "core/json.h"
#include "core/text.h"
#include "diffusion/likelihood.h"
#include "evaluation/encode_text.h"
#include "server/api_error.h"
#include "server/completion_answer.h"
#include "server/service.h"

namespace lacuna {
namespace {

using ScoreJson = nlohmann::ordered_json;

/// Rows of a scoring pass: those of a few steps of generation, which goes on between two passes.
constexpr std::int64_t kScoreRows = 1024;
constexpr std::int64_t kChoiceSamples = 128;

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

void Service::score_texts(std::vector<PromptedText> texts, std::int64_t samples, std::uint64_t seed,
                          const std::shared_ptr<HttpExchange>& exchange,
                          std::function<void(const std::vector<Likelihood>&)> done) {
  auto run = [this, texts = std::move(texts), samples, seed, done = std::move(done)] {
    std::int64_t rows = kScoreRows;
    for (const PromptedText& text : texts)
      rows = std::max(rows, std::int64_t(text.tokens.size()) + 1);
    LikelihoodEstimator estimator(*model_.ops, model_.config(), model_.weights, rows);
    estimator.on_pass([&] {
      ++metrics_.passes;
      engine_->between_passes();
    });
    LikelihoodOptions options;
    options.samples = samples;
    options.seed = seed;
    done(estimator.score(texts, options));
  };
  auto fail = [exchange](const std::exception& e) {
    exchange->reply(error_reply(api_error_of(e)));
  };
  const std::optional<std::int64_t> id = engine_->run({std::move(run), std::move(fail)});
  if (!id) throw too_busy();
  exchange->on_gone([engine = engine_.get(), id = *id] { engine->cancel(id); });
}

void Service::check_scored(const PromptedText& text, const std::string& field) const {
  check_ids(text.tokens, field);
  check_has_prompt(text.prompt, "prompt");
  const auto length = std::int64_t(text.tokens.size());
  // Before a text without a prompt then stands the end token.
  const bool ended = text.prompt == 0 && model_.config().predicts_next();
  if (const std::int64_t most = model_.config().max_seq_length; length + int(ended) > most)
    throw ApiError(400,
                   str("prompt and text have ", length, " tokens",
                       ended ? " and the end token before them" : "", "; the model takes ", most),
                   field, "context_length_exceeded");
}

void Service::score(const HttpRequest& request, std::shared_ptr<HttpExchange> exchange) {
  const ScoreRequest asked = parse_score(request.body);
  check_model(asked.model);
  PromptedText text = encode_pair(*model_.source.tokenizer, TaskText::written(asked.prompt),
                                  TaskText::written(asked.text));
  check_scored(text, "text");
  score_texts({std::move(text)}, asked.samples, asked.seed, exchange,
              [exchange, bytes = asked.text.size()](const std::vector<Likelihood>& results) {
                exchange->reply({.body = json_text(score_json(results.front(), bytes))});
              });
}

void Service::choose(const GenerationFields& fields, bool chat,
                     const std::vector<std::int32_t>& prompt,
                     std::shared_ptr<HttpExchange> exchange) {
  const Tokenizer& tokenizer = this->tokenizer(chat);
  std::vector<PromptedText> texts;
  for (const std::string& choice : fields.choices) {
    PromptedText text{prompt, std::int64_t(prompt.size())};
    const std::vector<std::int32_t> ids = tokenizer.encode(choice, Tokenizer::Special::as_text);
    text.tokens.insert(text.tokens.end(), ids.begin(), ids.end());
    check_scored(text, "choices");
    texts.push_back(std::move(text));
  }
  const CompletionFormat format{.chat = chat,
                                .stream = fields.stream,
                                .include_usage = fields.include_usage,
                                .model = options_.model_name,
                                .seed = fields.options.seed,
                                .prompt_tokens = std::int64_t(prompt.size())};
  const auto scored = texts;
  score_texts(std::move(texts), kChoiceSamples, fields.options.seed, exchange,
              [this, scored, format, exchange, &tokenizer](const std::vector<Likelihood>& results) {
                const auto least = std::min_element(
                    results.begin(), results.end(),
                    [](const Likelihood& a, const Likelihood& b) { return a.nats < b.nats; });
                const PromptedText& best = scored[std::size_t(least - results.begin())];
                answer_choice(best, format, tokenizer, exchange);
              });
}

/// As if the model had generated the text and then ended.
void Service::answer_choice(const PromptedText& text, const CompletionFormat& format,
                            const Tokenizer& tokenizer,
                            const std::shared_ptr<HttpExchange>& exchange) {
  constexpr std::int32_t end = -1;
  CompletionAnswer answer(exchange, format, {{text.prompt, {}, text.response() + 1}},
                          {.tokens = {end}, .stops = {}}, tokenizer, model_.config(), metrics_);
  answer.on_queued();
  DecodingResult result{};
  result.tokens = text.tokens;
  result.tokens.push_back(end);
  answer.on_result(0, result);
  answer.on_complete({});
}

void Service::tokenize(const HttpRequest& request, std::shared_ptr<HttpExchange> exchange) {
  const std::vector<std::int32_t> ids =
      model_.source.tokenizer->encode(parse_tokenize(request.body));
  exchange->reply({.body = json_text({{"tokens", ids}, {"count", ids.size()}})});
}

void Service::detokenize(const HttpRequest& request, std::shared_ptr<HttpExchange> exchange) {
  const std::vector<std::int32_t> ids = parse_detokenize(request.body);
  for (const std::int32_t id : ids)
    if (!model_.source.tokenizer->has(id))
      throw ApiError(400, str("'tokens' holds ", id, ", which is no token"), "tokens");
  exchange->reply(
      {.body = json_text({{"text", valid_utf8(model_.source.tokenizer->decode(ids, false))}})});
}

}  // namespace lacuna
