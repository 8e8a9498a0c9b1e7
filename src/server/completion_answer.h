#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "server/answer_stream.h"
#include "server/engine.h"
#include "server/http.h"

namespace lacuna {

/// How many tokens of an answer are final after a step, from its first on: those that no later step
/// changes. `prompt`: its tokens. `options` as resolved() gives them.
std::int64_t settled_tokens(const DecodingStep& step, std::int64_t prompt,
                            const DecodingOptions& options, const ModelConfig& config);

/// What the answer to a completion says beside its texts.
struct CompletionFormat {
  bool chat = false, stream = false, include_usage = false;
  std::string model;
  std::uint64_t seed = 0;
  std::int64_t prompt_tokens = 0;
};

/// Answers in OpenAI's format: one object, or an event stream of final text.
class CompletionAnswer : public JobObserver {
 public:
  /// Of the texts of the job: their prompts' lengths, and what ends them.
  struct Part {
    std::int64_t prompt;
    DecodingOptions options;  // as resolved() gives them
    std::int64_t max_tokens;
  };

  /// Borrows tokenizer, config and metrics.
  CompletionAnswer(std::shared_ptr<HttpExchange> exchange, CompletionFormat format,
                   std::vector<Part> parts, AnswerEnds ends, const Tokenizer& tokenizer,
                   const ModelConfig& config, ServerMetrics& metrics);

  void on_queued() override;
  bool on_step(std::size_t text, const DecodingStep& step) override;
  void on_result(std::size_t text, const DecodingResult& result) override;
  void on_complete(const JobTimes& times) override;
  void on_failure(const std::exception& error) override;

 private:
  enum class Chunk { role, text, end };
  void send(std::size_t text, Chunk kind, const std::string& delta = "");
  void settle(std::size_t text, std::span<const std::int32_t> tokens, std::int64_t settled);
  void close(std::size_t text);

  const std::shared_ptr<HttpExchange> exchange_;
  const CompletionFormat format_;
  const std::vector<Part> parts_;
  const ModelConfig& config_;
  ServerMetrics& metrics_;
  const std::string id_;
  const std::int64_t created_;
  std::vector<AnswerStream> answers_;
  std::vector<bool> closed_;  // the finish reason was sent
};

}  // namespace lacuna
