#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "evaluation/gap_text.h"
#include "server/answer_stream.h"
#include "server/engine.h"
#include "server/http.h"

namespace lacuna {

/// What the answers about one canvas need to know.
struct CanvasFormat {
  std::string model;
  std::uint64_t seed = 0;
  DecodingRequest request;                 // the options as resolved() gives them
  std::int64_t max_tokens = 0;             // of an answer after a prompt
  std::vector<std::int32_t> end_tokens{};  // of it
};

/// Streams what every step changed on a canvas: events `start`, `step` … and `end`
/// (docs/serving.md).
class CanvasAnswer : public JobObserver {
 public:
  /// Borrows tokenizer, config and metrics.
  CanvasAnswer(std::shared_ptr<HttpExchange> exchange, CanvasFormat format,
               const Tokenizer& tokenizer, const ModelConfig& config, ServerMetrics& metrics);
  void on_queued() override;
  bool on_step(std::size_t text, const DecodingStep& step) override;
  void on_result(std::size_t text, const DecodingResult& result) override;
  void on_complete(const JobTimes& times) override;
  void on_failure(const std::exception& error) override;

 private:
  std::string piece(std::int32_t id) const;
  std::string start_event() const;
  std::span<const std::int32_t> answer_in(std::span<const std::int32_t> canvas) const;
  bool complete(const DecodingStep& step);
  void close();

  const std::shared_ptr<HttpExchange> exchange_;
  const CanvasFormat format_;
  const Tokenizer& tokenizer_;
  const ModelConfig& config_;
  ServerMetrics& metrics_;
  AnswerStream answer_;
  std::string start_;  // made before the job is submitted: on_queued() holds up the engine
  std::string text_;   // in the end
  std::int64_t filled_ = 0;
};

/// Answers with the text whose gaps are filled.
class InfillAnswer : public JobObserver {
 public:
  InfillAnswer(std::shared_ptr<HttpExchange> exchange, CanvasFormat format, GapText gaps,
               const Tokenizer& tokenizer, ServerMetrics& metrics);
  void on_result(std::size_t text, const DecodingResult& result) override;
  void on_complete(const JobTimes& times) override;
  void on_failure(const std::exception& error) override;

 private:
  const std::shared_ptr<HttpExchange> exchange_;
  const CanvasFormat format_;
  const GapText gaps_;
  const Tokenizer& tokenizer_;
  ServerMetrics& metrics_;
  std::vector<std::int32_t> tokens_;
};

}  // namespace lacuna
