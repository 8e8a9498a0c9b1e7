#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/prompted_text.h"
#include "decoding/decoder.h"
#include "diffusion/likelihood.h"
#include "evaluation/evaluator.h"
#include "evaluation/record.h"
#include "evaluation/task_text.h"

namespace lacuna {

/// Asks the model: what tasks share. Makes a sampler or estimator when it is first needed.
class Answers {
 public:
  Answers(const EvalModel& subject, const TaskConfig& task, const std::filesystem::path& folder);

  /// The prompt of a record, with the solved examples at its {shots}, or before it.
  TaskText prompt(const std::string& text, const Record& record) const;
  /// Bounds on -log p(choice | prompt) of each choice of record number `number`; choice j is text
  /// 1000 number + j. Error naming the record's place for a choice that cannot be scored.
  std::vector<Likelihood> score(const TaskText& prompt, const std::vector<std::string>& choices,
                                const Record& record, std::int64_t number);
  /// Of texts on their own, by all ranks together: a collective call.
  std::vector<Likelihood> score_all(const std::vector<PromptedText>& texts,
                                    const LikelihoodObserver& observe);
  /// What asks the model to continue the prompt of record number `number`.
  DecodingRequest question(const TaskText& prompt, const Record& record, std::int64_t number);
  /// What it answered after `prompt` tokens, up to its end token and task.stop.
  std::string answer(const std::vector<std::int32_t>& tokens, std::size_t prompt) const;
  /// What asks it to fill the gaps of a canvas.
  DecodingRequest gaps(const std::vector<std::int32_t>& canvas, std::int64_t record) const;
  /// For these requests: of any number of them, together of pass_tokens() tokens.
  Decoder& decoder();
  std::int64_t pass_tokens() const;
  /// What it has done.
  DecodingStats generated() const { return decoder_ ? decoder_->stats() : DecodingStats(); }

  /// Prompts that lost their beginning, each counted once, whatever the number of its choices.
  std::int64_t cut_prompts() const { return cut_prompts_; }
  std::int64_t max_length() const { return subject_.config.max_seq_length; }

 private:
  DecoderLimits decoder_limits() const;
  LikelihoodEstimator& estimator();
  LikelihoodOptions likelihood_options() const;
  TaskText solved(const Record& example) const;
  std::vector<std::int32_t> prompt_ids(const TaskText& prompt) const;
  PromptedText scored(const TaskText& prompt, const std::string& choice) const;
  /// Takes `excess` tokens off the beginning of a prompt of `length`.
  void cut(std::vector<std::int32_t>& tokens, std::int64_t length, std::int64_t excess,
           const Record& record) const;

  const EvalModel& subject_;
  const TaskConfig& task_;
  TaskText shots_;
  std::optional<ChatFormat> chat_;
  std::unique_ptr<LikelihoodEstimator> estimator_;
  std::unique_ptr<Decoder> decoder_;
  std::int64_t cut_prompts_ = 0;
  std::optional<AbortOnException> abort_on_exception_;
};

}  // namespace lacuna
