#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/prompted_text.h"
#include "diffusion/infill.h"
#include "diffusion/likelihood.h"
#include "diffusion/sampler.h"
#include "evaluation/evaluator.h"
#include "evaluation/record.h"

namespace lacuna {

/// Asks the model: what tasks share. Makes a sampler or estimator when it is first needed.
class Answers {
 public:
  Answers(const Subject& subject, const TaskConfig& task, const std::filesystem::path& folder);

  /// The prompt of a record, with the solved examples before it.
  std::string prompt(const std::string& text, const Record& record) const;
  /// Bounds on -log p(choice | prompt) of each choice; choice j of record i is text 1000 i + j.
  std::vector<Likelihood> score(const std::string& prompt, const std::vector<std::string>& choices,
                                std::int64_t record);
  std::vector<Likelihood> score(const std::vector<PromptedText>& texts, std::int64_t first_text,
                                const LikelihoodObserver& observe = {});
  /// What the model answers, up to its end token and task.stop.
  std::string generate(const std::string& prompt, std::int64_t record);
  /// The canvas with its gaps filled.
  std::vector<std::int32_t> fill(const std::vector<std::int32_t>& canvas, std::int64_t record);

  std::int64_t cut_prompts() const { return cut_prompts_; }
  std::int64_t max_length() const { return subject_.config.max_length; }

 private:
  std::vector<std::int32_t> prompt_ids(const std::string& prompt, std::int64_t room);

  const Subject& subject_;
  const TaskConfig& task_;
  std::string shots_;
  std::optional<ChatFormat> chat_;
  std::unique_ptr<LikelihoodEstimator> estimator_;
  std::unique_ptr<TextSampler> sampler_;
  std::unique_ptr<Infiller> infiller_;
  std::int64_t cut_prompts_ = 0;
};

}  // namespace lacuna
