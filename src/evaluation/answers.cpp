#include "evaluation/answers.h"

#include <algorithm>
#include <span>

#include "core/check.h"
#include "evaluation/choices.h"
#include "evaluation/encode_text.h"
#include "tokenizer/answer_text.h"

namespace lacuna {
namespace {

// Texts in one pass at most, however short.
constexpr std::int64_t kMostTexts = 256;

}  // namespace

Answers::Answers(const EvalModel& subject, const TaskConfig& task,
                 const std::filesystem::path& folder)
    : subject_(subject), task_(task) {
  if (subject.ranks.mesh) abort_on_exception_.emplace(subject.ranks.mesh->world());
  if (task.task.chat) chat_.emplace(subject.chat, subject.tokenizer);
  if (task.task.shots == 0) return;
  const auto records = read_records(folder / task.task.shots_data, task.task.shots);
  CHECK(std::int64_t(records.size()) == task.task.shots, (folder / task.task.shots_data).string(),
        ": holds ", records.size(), " records; task.shots is ", task.task.shots);
  for (const Record& record : records) shots_ += solved(record);
}

TaskText Answers::solved(const Record& example) const {
  const TaskSection& task = task_.task;
  TaskText text = fill_in(task.shot_prompt.empty() ? task.prompt : task.shot_prompt, example);
  text += TaskText::written(task.choice_prefix);
  if (task.type == TaskType::multiple_choice) {
    const Choices choices = choices_of(task, example);
    text += TaskText::from_record(choices.texts[choices.right]);
  } else {
    text += fill_in(task.answer, example);
  }
  text += TaskText::written(task.shot_separator);
  return text;
}

TaskText Answers::prompt(const std::string& text, const Record& record) const {
  TaskText filled = fill_in(text, record, {{"shots", shots_}});
  if (names_field(text, "shots")) return filled;
  TaskText whole = shots_;
  whole += filled;
  return whole;
}

std::vector<std::int32_t> Answers::prompt_ids(const TaskText& prompt) const {
  if (!chat_) return encode_text(subject_.tokenizer, prompt);
  const Message message{"user", prompt.string()};
  return chat_->prompt({&message, 1});
}

void Answers::cut(std::vector<std::int32_t>& tokens, std::int64_t length, std::int64_t excess,
                  const Record& record) const {
  CHECK(excess < length, record.place(), ": an answer of ", max_length() - length + excess,
        " tokens leaves no room for its prompt in model.max_seq_length = ", max_length());
  tokens.erase(tokens.begin(), tokens.begin() + excess);
}

LikelihoodEstimator& Answers::estimator() {
  if (!estimator_)
    estimator_ = std::make_unique<LikelihoodEstimator>(
        subject_.ops, subject_.config, subject_.weights, std::max(kBatchTokens, max_length()),
        subject_.ranks.tensor());
  return *estimator_;
}

LikelihoodOptions Answers::likelihood_options() const {
  const TaskLikelihood& l = task_.likelihood;
  LikelihoodOptions options;
  options.form = l.mask_ratio ? MaskForm::mask_ratio : MaskForm::mask_count;
  options.samples = l.samples;
  options.stratified = l.stratified;
  options.seed = std::uint64_t(l.seed);
  return options;
}

std::vector<Likelihood> Answers::score_all(const std::vector<PromptedText>& texts,
                                           const LikelihoodObserver& observe) {
  return estimator().score(texts, likelihood_options(), 0, observe, subject_.ranks.data());
}

PromptedText Answers::scored(const TaskText& prompt, const std::string& choice) const {
  if (!chat_) {
    TaskText response = TaskText::written(task_.task.choice_prefix);
    response += TaskText::from_record(choice);
    return encode_pair(subject_.tokenizer, prompt, response);
  }
  PromptedText text{prompt_ids(prompt), 0};
  text.prompt = std::int64_t(text.tokens.size());
  const std::vector<std::int32_t> reply = chat_->reply(choice);
  text.tokens.insert(text.tokens.end(), reply.begin(), reply.end());
  return text;
}

std::vector<Likelihood> Answers::score(const TaskText& prompt,
                                       const std::vector<std::string>& choices,
                                       const Record& record, std::int64_t number) {
  constexpr std::int64_t kMostChoices = 1000;
  CHECK(std::int64_t(choices.size()) <= kMostChoices, record.place(), ": has ", choices.size(),
        " choices; at most ", kMostChoices, " are compared");
  std::vector<PromptedText> texts;
  bool is_cut = false;
  for (const std::string& choice : choices) {
    CHECK(chat_ || !choice.empty() || !task_.task.choice_prefix.empty(), record.place(),
          ": a choice is empty, and so is task.choice_prefix; there is nothing to score");
    PromptedText text = scored(prompt, choice);
    if (const auto excess = std::int64_t(text.tokens.size()) - max_length(); excess > 0) {
      cut(text.tokens, text.prompt, excess, record);
      text.prompt -= excess;
      is_cut = true;
    }
    texts.push_back(std::move(text));
  }
  cut_prompts_ += is_cut;
  return estimator().score(texts, likelihood_options(), number * kMostChoices);
}

std::int64_t Answers::pass_tokens() const {
  return std::max(kBatchTokens, decoder_limits().tokens);
}

/// For one text, the longest.
DecoderLimits Answers::decoder_limits() const {
  return limits_for(subject_.config, task_.sampler, max_length() - task_.sampler.gen_length);
}

Decoder& Answers::decoder() {
  if (!decoder_) {
    DecoderLimits limits = decoder_limits();
    limits.tokens = pass_tokens();
    limits.sequences = kMostTexts;
    decoder_ = std::make_unique<Decoder>(subject_.ops, subject_.config, subject_.weights, limits,
                                         subject_.ranks.tensor());
  }
  return *decoder_;
}

DecodingRequest Answers::question(const TaskText& prompt, const Record& record,
                                  std::int64_t number) {
  std::vector<std::int32_t> ids = prompt_ids(prompt);
  const auto length = std::int64_t(ids.size());
  if (const std::int64_t excess = length + task_.sampler.gen_length - max_length(); excess > 0) {
    cut(ids, length, excess, record);
    ++cut_prompts_;
  }
  return {.tokens = std::move(ids), .options = task_.sampler, .sample = number};
}

std::string Answers::answer(const std::vector<std::int32_t>& tokens, std::size_t prompt) const {
  std::string text = answer_text(subject_.tokenizer, std::span(tokens).subspan(prompt),
                                 {subject_.config.eos_token, chat_ ? chat_->end_of_reply() : -1});
  std::size_t end = text.size();
  for (const std::string& stop : task_.task.stop.all) end = std::min(end, text.find(stop));
  return text.substr(0, end);
}

DecodingRequest Answers::gaps(const std::vector<std::int32_t>& canvas, std::int64_t record) const {
  DecodingOptions options = task_.sampler;
  options.cfg_scale = 0;  // by a prompt, of which there is none
  return {.tokens = canvas, .options = options, .sample = record, .infill = true};
}

}  // namespace lacuna
