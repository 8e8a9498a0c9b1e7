// The endpoints that fill a given canvas: /v1/infill and /v1/canvas.
#include <algorithm>

#include "core/check.h"
#include "core/text.h"
#include "server/api_error.h"
#include "server/canvas_answer.h"
#include "server/request_options.h"
#include "server/service.h"

namespace lacuna {
namespace {

/// Tries lengths for the gaps of unknown length, one after another, then calls `chosen`.
class GapLengths : public JobObserver, public std::enable_shared_from_this<GapLengths> {
 public:
  using Chosen = std::function<void(GapText)>;
  using Submit = std::function<void(Job)>;
  GapLengths(std::shared_ptr<HttpExchange> exchange, GapText text, std::int32_t mask,
             std::string client, Submit submit, Chosen chosen)
      : exchange_(std::move(exchange)),
        text_(std::move(text)),
        mask_(mask),
        client_(std::move(client)),
        submit_(std::move(submit)),
        chosen_(std::move(chosen)) {}

  /// The next gap's trials.
  Job next_job() {
    Job job{.texts = length_trials(text_, mask_),
            .client = client_,
            .observer = shared_from_this(),
            .is_part = true};
    probability_.assign(job.texts.size(), {});
    return job;
  }
  void on_result(std::size_t text, const DecodingResult& result) override {
    probability_[text] = result.probability;
  }
  void on_complete(const JobTimes&) override {
    choose_length(text_, probability_);
    if (text_.has_unknown())
      submit_(next_job());
    else
      chosen_(std::move(text_));
  }
  void on_failure(const std::exception& error) override {
    exchange_->reply(error_reply(api_error_of(error)));
  }

 private:
  const std::shared_ptr<HttpExchange> exchange_;
  GapText text_;
  const std::int32_t mask_;
  const std::string client_;
  const Submit submit_;
  const Chosen chosen_;
  std::vector<std::vector<float>> probability_;
};

}  // namespace

void Service::check_infills() const {
  if (model_.config().attention != Attention::bidirectional)
    throw ApiError(400,
                   str("a model with ", word_of(model_.config().attention),
                       " attention cannot fill gaps: it does not see what follows them"),
                   "text", "unsupported_model");
}

GapText Service::gap_text(const std::string& text) const {
  check_infills();
  try {
    return parse_gaps(text, *model_.source.tokenizer, model_.config().max_seq_length, "'text'");
  } catch (const Error& e) {
    throw ApiError(400, e.what(), "text");
  }
}

void Service::check_gaps(const GapText& text) const {
  const std::int64_t most = most_tokens(text), limit = model_.config().max_seq_length;
  if (most > limit)
    throw ApiError(
        400, str("the text may come to ", counted(most, "token"), "; the model takes ", limit),
        "text", "context_length_exceeded");
  for (const std::vector<std::int32_t>& part : text.texts) check_ids(part, "text");
}

/// A canvas of which the masked tokens are filled.
CanvasFormat Service::infill_format(const GenerationFields& fields,
                                    std::vector<std::int32_t> tokens) const {
  const DecodingOptions options = use_options(fields, [&](DecodingOptions o) {
    o.gen_length = std::max<std::int64_t>(1, std::int64_t(tokens.size()));
    o.block_length = 0;
    return resolved_fields(o, model_.config());
  });
  DecodingRequest request{.tokens = std::move(tokens), .options = options, .infill = true};
  check_fits(request);
  return {.model = options_.model_name, .seed = fields.options.seed, .request = std::move(request)};
}

void Service::fill_gaps(const GenerationFields& fields, const std::string& client, GapText gaps,
                        std::shared_ptr<HttpExchange> exchange, bool goes_on) {
  CanvasFormat format =
      infill_format(fields, with_masks(gaps, std::int32_t(model_.config().mask_token)));
  Job job{.texts = {format.request}, .client = client, .observer = nullptr};
  job.observer = std::make_shared<InfillAnswer>(exchange, std::move(format), std::move(gaps),
                                                *model_.source.tokenizer, metrics_);
  submit(std::move(job), exchange, goes_on);
}

void Service::infill(const HttpRequest& request, std::shared_ptr<HttpExchange> exchange) {
  const InfillRequest asked = parse_infill(request.body, defaults());
  check_model(asked.model);
  check_infills();
  GapText gaps;
  if (asked.text) {
    gaps = gap_text(*asked.text);
  } else {
    const Tokenizer& tokenizer = *model_.source.tokenizer;
    gaps.texts = {tokenizer.encode(asked.prefix), tokenizer.encode(asked.suffix)};
    gaps.gaps = {asked.length > 0 ? asked.length : GapText::kUnknown};
  }
  check_gaps(gaps);
  const auto mask = std::int32_t(model_.config().mask_token);
  if (!gaps.has_unknown())
    return fill_gaps(asked, request.peer, std::move(gaps), std::move(exchange), false);
  (void)infill_format(asked, with_masks(gaps, mask));  // refuses now what it would refuse then
  const GenerationFields fields = asked;
  const auto trials = std::make_shared<GapLengths>(
      exchange, std::move(gaps), mask, request.peer,
      [this, exchange](Job job) { submit(std::move(job), exchange, true); },
      [this, exchange, fields, client = request.peer](GapText chosen) {
        fill_gaps(fields, client, std::move(chosen), exchange, true);
      });
  submit(trials->next_job(), exchange);
}

CanvasFormat Service::canvas_format(const CanvasRequest& asked) const {
  const ModelConfig& config = model_.config();
  if (asked.canvas) {
    check_infills();
    std::vector<std::int32_t> tokens = *asked.canvas;
    if (std::int64_t(tokens.size()) > config.max_seq_length)
      throw ApiError(
          400,
          str("'canvas' has ", tokens.size(), " tokens; the model takes ", config.max_seq_length),
          "canvas", "context_length_exceeded");
    std::replace(tokens.begin(), tokens.end(), CanvasRequest::kMaskedToken,
                 std::int32_t(config.mask_token));
    check_ids(tokens, "canvas");
    return infill_format(asked, std::move(tokens));
  }
  if (asked.text) {
    const GapText gaps = gap_text(*asked.text);
    check_gaps(gaps);
    if (gaps.has_unknown())
      throw ApiError(400, "'text' has a gap of unknown length; here each is {gap:N}", "text");
    return infill_format(asked, with_masks(gaps, std::int32_t(config.mask_token)));
  }
  const bool chat = !asked.messages.empty();
  std::vector<std::int32_t> prompt =
      chat ? chat_prompt(asked.messages) : prompt_tokens(*asked.prompt);
  const PlannedLength plan = plan_length(asked, std::int64_t(prompt.size()), config);
  CanvasFormat format;
  format.model = options_.model_name;
  format.seed = asked.options.seed;
  format.request.tokens = std::move(prompt);
  format.request.options = plan.options;
  format.max_tokens = plan.max_tokens;
  format.end_tokens = end_tokens(chat);
  check_fits(format.request);
  return format;
}

void Service::canvas(const HttpRequest& request, std::shared_ptr<HttpExchange> exchange) {
  const CanvasRequest asked = parse_canvas(request.body, defaults());
  check_model(asked.model);
  CanvasFormat format = canvas_format(asked);
  Job job{.texts = {format.request}, .client = request.peer, .observer = nullptr};
  const Tokenizer& tokenizer =
      asked.messages.empty() ? *model_.source.tokenizer : chat_->tokenizer();
  job.observer = std::make_shared<CanvasAnswer>(exchange, std::move(format), tokenizer,
                                                model_.config(), metrics_);
  submit(std::move(job), exchange);
}

}  // namespace lacuna
