#include "evaluation/answers.h"

#include <algorithm>
#include <span>

#include "core/check.h"
#include "evaluation/encode_pair.h"
#include "evaluation/matching.h"
#include "tokenizer/answer_text.h"

namespace lacuna {
namespace {

constexpr std::int64_t kBatchTokens = 4096;
constexpr auto kText = Tokenizer::Special::as_text;

}  // namespace

Answers::Answers(const Subject& subject, const TaskConfig& task,
                 const std::filesystem::path& folder)
    : subject_(subject), task_(task) {
  if (task.task.chat) chat_.emplace(subject.chat, subject.tokenizer);
  if (task.task.shots == 0) return;
  const auto records = read_records(folder / task.task.shots_data, task.task.shots);
  CHECK(std::int64_t(records.size()) == task.task.shots, (folder / task.task.shots_data).string(),
        ": holds ", records.size(), " records; task.shots is ", task.task.shots);
  for (const Record& record : records) {
    std::string answer;
    if (task.task.type == TaskType::multiple_choice) {
      const Choices choices = choices_of(task.task, record);
      answer = choices.texts[choices.right];
    } else {
      answer = fill_in(task.task.answer, record);
    }
    shots_ += fill_in(task.task.prompt, record) + task.task.choice_prefix + answer +
              task.task.shot_separator;
  }
}

std::string Answers::prompt(const std::string& text, const Record& record) const {
  return shots_ + fill_in(text, record);
}

std::vector<std::int32_t> Answers::prompt_ids(const std::string& prompt, std::int64_t room) {
  std::vector<std::int32_t> ids;
  if (chat_) {
    const Message message{"user", prompt};
    ids = chat_->prompt({&message, 1});
  } else {
    ids = subject_.tokenizer.encode(prompt, kText);
  }
  if (std::int64_t(ids.size()) > room) {
    CHECK(room >= 1, "an answer of that length leaves no room for a prompt in model.max_length = ",
          max_length());
    ++cut_prompts_;
    ids.erase(ids.begin(), ids.end() - room);
  }
  return ids;
}

std::vector<Likelihood> Answers::score(const std::vector<PromptedText>& texts,
                                       std::int64_t first_text, const LikelihoodObserver& observe) {
  if (!estimator_)
    estimator_ = std::make_unique<LikelihoodEstimator>(
        subject_.ops, subject_.config, subject_.weights, std::max(kBatchTokens, max_length()));
  const TaskLikelihood& l = task_.likelihood;
  LikelihoodOptions options;
  options.form = l.mask_ratio ? LikelihoodForm::mask_ratio : LikelihoodForm::mask_count;
  options.samples = l.samples;
  options.stratified = l.stratified;
  options.seed = std::uint64_t(l.seed);
  return estimator_->score(texts, options, first_text, observe);
}

std::vector<Likelihood> Answers::score(const std::string& prompt,
                                       const std::vector<std::string>& choices,
                                       std::int64_t record) {
  std::vector<PromptedText> texts;
  for (const std::string& choice : choices) {
    PromptedText text;
    if (chat_) {
      text.tokens = chat_->reply(choice);
      const auto given = prompt_ids(prompt, max_length() - std::int64_t(text.tokens.size()));
      text.prompt = std::int64_t(given.size());
      text.tokens.insert(text.tokens.begin(), given.begin(), given.end());
    } else {
      text = encode_pair(subject_.tokenizer, prompt, task_.task.choice_prefix + choice, kText);
      // A causal model's first token follows the end token, which takes a place.
      const auto excess = std::int64_t(text.tokens.size()) - max_length();
      if (excess > 0) {
        CHECK(excess < text.prompt, "a choice of ", text.response(),
              " tokens leaves no room for a prompt in model.max_length = ", max_length());
        ++cut_prompts_;
        text.tokens.erase(text.tokens.begin(), text.tokens.begin() + excess);
        text.prompt -= excess;
      }
    }
    texts.push_back(std::move(text));
  }
  constexpr std::int64_t kMostChoices = 1000;
  CHECK(std::int64_t(texts.size()) <= kMostChoices, texts.size(), " choices; at most ",
        kMostChoices, " are compared");
  return score(texts, record * kMostChoices);
}

std::string Answers::generate(const std::string& prompt, std::int64_t record) {
  const TaskSampler& s = task_.sampler;
  SamplerOptions options;
  options.gen_length = s.gen_length;
  options.steps = s.steps ? s.steps : s.gen_length;
  options.block_length = s.block_length ? s.block_length : s.gen_length;
  options.temperature = s.temperature;
  options.remasking = s.random_remasking ? Remasking::random : Remasking::low_confidence;
  options.cfg_scale = s.cfg_scale;
  options.seed = std::uint64_t(s.seed);
  options.first_sample = record;
  validate(options);
  const std::vector<std::int32_t> ids = prompt_ids(prompt, max_length() - s.gen_length);
  if (!sampler_)
    sampler_ = make_sampler(subject_.ops, subject_.config, subject_.weights,
                            {max_length(), 1, s.cfg_scale > 0});
  const std::vector<std::int32_t> canvas = sampler_->generate({ids}, options).front();
  std::string text = answer_text(subject_.tokenizer, std::span(canvas).subspan(ids.size()),
                                 {subject_.config.eos_token, chat_ ? chat_->end_of_reply() : -1});
  if (!task_.task.stop.empty()) text = text.substr(0, text.find(task_.task.stop));
  return text;
}

std::vector<std::int32_t> Answers::fill(const std::vector<std::int32_t>& canvas,
                                        std::int64_t record) {
  if (!infiller_)
    infiller_ =
        std::make_unique<Infiller>(subject_.ops, subject_.config, subject_.weights, max_length());
  return infiller_->fill(canvas, {task_.sampler.steps, task_.sampler.temperature,
                                  std::uint64_t(task_.sampler.seed), record});
}

}  // namespace lacuna
