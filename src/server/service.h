#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "data/chat_template.h"
#include "evaluation/gap_text.h"
#include "model_io/loaded_model.h"
#include "server/api_error.h"
#include "server/api_request.h"
#include "server/engine.h"
#include "server/http.h"

namespace lacuna {

struct CanvasFormat;
struct CompletionFormat;
struct JsonSkeleton;
struct Likelihood;
struct PromptedText;
class SkeletonWriter;

struct ServiceOptions {
  std::string model_name;
  std::int64_t created = 0;   // Unix time that /v1/models reports
  DecodingOptions defaults;   // of requests that say nothing
  std::string chat_template;  // the file of --chat-template, or ""
  EngineLimits engine;
};

/// How long a text becomes, and how.
struct PlannedLength {
  DecodingOptions options;  // as resolved() gives them
  std::int64_t max_tokens;  // the text ends after so many; options.gen_length may be more
};
/// For a prompt of so many tokens. Where neither a request of a bidirectional model nor the server
/// says anything of blocks, they are of 32 tokens, so that what is left-most is final soon: the
/// canvas is then a whole number of blocks where the model has room for them, else of the largest
/// blocks that divide it. Where the steps of the request cannot be shared by these, blocks are
/// longer. ApiError (400) for what the model cannot do.
PlannedLength plan_length(const GenerationFields& fields, std::int64_t prompt,
                          const ModelConfig& config);

/// The endpoints that need the model.
class Service {
 public:
  /// Borrows both. UsageError for a model without a tokenizer and for defaults that it cannot use.
  Service(const LoadedModel& model, const ServiceOptions& options, ServerMetrics& metrics);
  ~Service();

  void completion(const HttpRequest& request, std::shared_ptr<HttpExchange> exchange);
  void chat(const HttpRequest& request, std::shared_ptr<HttpExchange> exchange);
  void infill(const HttpRequest& request, std::shared_ptr<HttpExchange> exchange);
  void canvas(const HttpRequest& request, std::shared_ptr<HttpExchange> exchange);
  void score(const HttpRequest& request, std::shared_ptr<HttpExchange> exchange);
  void tokenize(const HttpRequest& request, std::shared_ptr<HttpExchange> exchange);
  void detokenize(const HttpRequest& request, std::shared_ptr<HttpExchange> exchange);
  /// Bodies of replies.
  std::string models() const;
  std::string model(const std::string& name) const;

  Engine& engine() { return *engine_; }

 private:
  RequestDefaults defaults();
  // ApiError for what is wrong.
  void check_model(const std::string& name) const;
  void check_ids(const std::vector<std::int32_t>& ids, const std::string& field) const;
  void check_fits(const DecodingRequest& text) const;
  void check_has_prompt(std::int64_t prompt, const std::string& field) const;
  void check_infills() const;
  void check_gaps(const GapText& text) const;

  std::vector<std::int32_t> prompt_tokens(const ApiPrompt& prompt) const;
  std::vector<std::int32_t> chat_prompt(const Dialogue& messages) const;
  std::vector<std::int32_t> end_tokens(bool chat) const;
  const Tokenizer& tokenizer(bool chat) const;
  std::shared_ptr<const SkeletonWriter> skeleton_writer(bool chat);
  JsonSkeleton skeleton(const GenerationFields& fields, bool chat);
  DecodingRequest skeleton_request(const GenerationFields& fields, const JsonSkeleton& skeleton,
                                   const std::vector<std::int32_t>& prompt) const;
  GapText gap_text(const std::string& text) const;
  CanvasFormat infill_format(const GenerationFields& fields,
                             std::vector<std::int32_t> tokens) const;
  CanvasFormat canvas_format(const CanvasRequest& asked) const;

  /// Answers with the likeliest of the choices.
  void choose(const GenerationFields& fields, bool chat, const std::vector<std::int32_t>& prompt,
              std::shared_ptr<HttpExchange> exchange);
  /// Scores texts between the steps of generation, then calls `done` in the engine's thread.
  void score_texts(std::vector<PromptedText> texts, std::int64_t samples, std::uint64_t seed,
                   const std::shared_ptr<HttpExchange>& exchange,
                   std::function<void(const std::vector<Likelihood>&)> done);
  void check_scored(const PromptedText& text, const std::string& field) const;
  void answer_choice(const PromptedText& text, const CompletionFormat& format,
                     const Tokenizer& tokenizer, const std::shared_ptr<HttpExchange>& exchange);
  void generate(const HttpRequest& request, const GenerationFields& fields, bool chat,
                const std::vector<std::vector<std::int32_t>>& prompts,
                std::shared_ptr<HttpExchange> exchange);
  void fill_gaps(const GenerationFields& fields, const std::string& client, GapText gaps,
                 std::shared_ptr<HttpExchange> exchange, bool goes_on);
  void submit(Job job, const std::shared_ptr<HttpExchange>& exchange, bool goes_on = false);
  ApiError too_busy();

  const LoadedModel& model_;
  const ServiceOptions options_;
  ServerMetrics& metrics_;
  std::optional<ChatFormat> chat_;
  std::string no_chat_;  // why there is none
  std::mutex writers_mutex_;
  std::shared_ptr<const SkeletonWriter> writers_[2];  // of completions and of chats, once needed
  std::unique_ptr<Engine> engine_;
};

}  // namespace lacuna
