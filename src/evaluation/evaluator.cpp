#include "evaluation/evaluator.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <span>

#include "core/check.h"
#include "core/log.h"
#include "core/philox.h"
#include "evaluation/answers.h"
#include "evaluation/choices.h"
#include "evaluation/decoded_records.h"
#include "evaluation/encode_text.h"
#include "evaluation/gap_canvas.h"
#include "evaluation/matching.h"
#include "tokenizer/answer_text.h"
#include "tokenizer/unicode.h"

namespace lacuna {
namespace {

/// A share of n, with the standard error of a binomial proportion by the sample's own variance.
Metric share(const std::string& name, std::int64_t right, std::int64_t n) {
  const double p = double(right) / double(n);
  const double error =
      n > 1 ? std::sqrt(p * (1 - p) / double(n - 1)) : std::numeric_limits<double>::quiet_NaN();
  return {name, p, error, n};
}

/// Code points of a choice, which is valid UTF-8: len() of a Python str.
std::size_t characters_of(const std::string& choice) {
  std::size_t n = 0;
  for (std::size_t i = 0; i < choice.size(); ++i) n += begins_character(choice, i);
  return n;
}

std::string joined(const std::vector<std::string>& texts) {
  std::string all;
  for (const std::string& text : texts) all += (all.empty() ? "" : " | ") + text;
  return all;
}

/// A task under way.
class Run {
 public:
  Run(const EvalModel& subject, const TaskConfig& task, const std::filesystem::path& folder,
      const RecordObserver& observe)
      : subject_(subject),
        task_(task),
        observe_(observe),
        records_(read_records(folder / task.task.data, task.task.limit)),
        answers_(subject, task, folder),
        matches_(task.task) {}

  TaskResult operator()() {
    switch (task_.task.type) {
      case TaskType::multiple_choice:
        multiple_choice();
        break;
      case TaskType::generation:
        result_.metrics = {generation("accuracy", task_.task.prompt, task_.task.answer)};
        break;
      case TaskType::perplexity:
        perplexity();
        break;
      case TaskType::infilling:
        infilling();
        break;
      case TaskType::reversal:
        result_.metrics = {
            direction("forward", task_.task.prompt, task_.task.answer),
            direction("reverse", task_.task.reverse_prompt, task_.task.reverse_answer)};
        break;
    }
    log_progress("");
    result_.records = std::int64_t(records_.size());
    result_.cut_prompts = over_all_ranks(answers_.cut_prompts());
    result_.unfinished_searches = over_all_ranks(matches_.unfinished_searches());
    Communicator* const data = subject_.ranks.data();
    result_.generated = answers_.generated();
    if (data) result_.generated = sum_over(*data, result_.generated);
    return result_;
  }

 private:
  std::int64_t over_all_ranks(std::int64_t count) const {
    Communicator* const data = subject_.ranks.data();
    return data ? std::int64_t(reduced(*data, double(count))) : count;
  }
  EvalCounts one_by_one(const std::string& what,
                        const std::function<EvalOutcome(std::size_t)>& evaluate) const {
    OneByOne evaluation(evaluate);
    return distribute_records(subject_.ranks, records_, what, evaluation, observe_);
  }
  EvalCounts decoded(const std::string& what,
                     const std::function<DecodedRecords::Question(std::size_t)>& ask) {
    DecodedRecords evaluation(answers_.decoder(), answers_.pass_tokens(), ask);
    return distribute_records(subject_.ranks, records_, what, evaluation, observe_);
  }
  static EvalSample sample(const Record& record, const TaskText& prompt, const std::string& output,
                           const std::string& wanted, bool right) {
    return {record.place(), prompt.string(), output, wanted, right};
  }

  /// The choices with the least bounds. An empty one has no least per character or byte.
  struct Chosen {
    std::size_t plain, per_character, per_byte;
  };
  Chosen choose(const TaskText& prompt, const std::vector<std::string>& choices,
                std::size_t record) {
    const auto bounds = answers_.score(prompt, choices, records_[record], std::int64_t(record));
    const auto least = [&](auto&& length) {
      std::vector<double> ratios;
      for (std::size_t i = 0; i < choices.size(); ++i)
        ratios.push_back(bounds[i].nats / double(length(choices[i])));
      return std::size_t(std::min_element(ratios.begin(), ratios.end()) - ratios.begin());
    };
    return {least([](const std::string&) { return 1; }), least(characters_of),
            least([](const std::string& choice) { return choice.size(); })};
  }

  void multiple_choice() {
    const EvalCounts right = one_by_one("scoring", [&](std::size_t i) -> EvalOutcome {
      const Record& record = records_[i];
      const auto [choices, wanted] = choices_of(task_.task, record);
      const TaskText prompt = answers_.prompt(task_.task.prompt, record);
      const Chosen chosen = choose(prompt, choices, i);
      return {
          {chosen.plain == wanted, chosen.per_character == wanted, chosen.per_byte == wanted},
          sample(record, prompt, choices[chosen.plain], choices[wanted], chosen.plain == wanted)};
    });
    const auto n = std::int64_t(records_.size());
    result_.metrics = {share("acc", right[0], n), share("acc_norm", right[1], n),
                       share("acc_bytes", right[2], n)};
  }

  Metric generation(const std::string& name, const std::string& prompt, const std::string& answer) {
    using Question = DecodedRecords::Question;
    const EvalCounts right = decoded("generating", [&](std::size_t i) -> Question {
      const std::string wanted = fill_in(answer, records_[i]).string();
      const TaskText asked = answers_.prompt(prompt, records_[i]);
      DecodingRequest request = answers_.question(asked, records_[i], std::int64_t(i));
      const std::size_t length = request.tokens.size();
      return {std::move(request),
              [=, this](const std::vector<std::int32_t>& tokens) -> EvalOutcome {
                const std::string output = answers_.answer(tokens, length);
                const bool is_right = matches_(output, wanted);
                return {{is_right}, sample(records_[i], asked, output, wanted, is_right)};
              }};
    });
    return share(name, right[0], std::int64_t(records_.size()));
  }

  /// One direction of a reversal task: generated, or chosen among other records' answers.
  Metric direction(const std::string& name, const std::string& prompt, const std::string& answer) {
    const std::int64_t others = task_.task.distractors;
    if (others == 0) return generation(name, prompt, answer);
    std::vector<std::string> all;
    for (const Record& record : records_) all.push_back(fill_in(answer, record).string());
    CHECK(std::int64_t(all.size()) > others, "task.distractors = ", others, " of ", all.size(),
          " records; there must be more records");
    const EvalCounts right = one_by_one(name, [&](std::size_t i) -> EvalOutcome {
      const std::vector<std::string> choices = with_distractors(all, i);
      const TaskText asked = answers_.prompt(prompt, records_[i]);
      const Chosen chosen = choose(asked, choices, i);
      return {{chosen.plain == 0},
              sample(records_[i], asked, choices[chosen.plain], choices[0], chosen.plain == 0)};
    });
    return share(name, right[0], std::int64_t(records_.size()));
  }
  /// Answer i and task.distractors others, all different. The first is right; the place says
  /// nothing, as the least of the bounds is taken.
  std::vector<std::string> with_distractors(const std::vector<std::string>& all,
                                            std::size_t i) const {
    const std::int64_t others = task_.task.distractors;
    std::vector<std::string> choices = {all[i]};
    const CounterRng rng{std::uint64_t(task_.likelihood.seed), Purpose::data_order, i};
    for (std::uint32_t draw = 0; std::int64_t(choices.size()) <= others; ++draw) {
      CHECK(draw < 1000 * others, records_[i].place(), ": too few different answers among ",
            all.size(), " records to choose from");
      const std::string& other = all[rng.below(all.size(), draw)];
      if (std::find(choices.begin(), choices.end(), other) == choices.end())
        choices.push_back(other);
    }
    return choices;
  }

  void perplexity() {
    std::vector<PromptedText> pieces;
    std::vector<std::size_t> records;  // of the pieces
    std::int64_t bytes = 0;
    const bool causal = subject_.config.attention == Attention::causal;
    const auto most = std::size_t(answers_.max_length() - causal);
    for (std::size_t i = 0; i < records_.size(); ++i) {
      const TaskText text = fill_in(task_.task.answer, records_[i]);
      const auto ids = encode_text(subject_.tokenizer, text);
      for (std::size_t at = 0; at < ids.size(); at += most) {
        PromptedText part;
        part.tokens.assign(ids.begin() + std::ptrdiff_t(at),
                           ids.begin() + std::ptrdiff_t(std::min(ids.size(), at + most)));
        pieces.push_back(std::move(part));
        records.push_back(i);
      }
      bytes += std::int64_t(text.string().size());
    }
    CHECK(bytes > 0, task_.task.data, ": its texts are empty");
    const Likelihood sum = sum_of(answers_.score_all(pieces, [&](std::size_t i, const Likelihood&) {
      log_progress(str("scoring: record ", records[i] + 1, " of ", records_.size()));
    }));
    const double bits = double(bytes) * std::numbers::ln2, tokens = double(sum.tokens);
    result_.metrics = {
        {"bits_per_byte", sum.nats / bits, sum.standard_error / bits, bytes},
        {"nats_per_token", sum.nats / tokens, sum.standard_error / tokens, sum.tokens}};
  }

  void infilling() {
    using Question = DecodedRecords::Question;
    const EvalCounts counts = decoded("filling", [&](std::size_t i) -> Question {
      const std::vector<std::string> wanted = records_[i].list("answers");
      const TaskText text =
          fill_in(task_.task.prompt, records_[i], {{"gap", TaskText::written(kGap)}});
      const GapCanvas canvas = canvas_of(text, records_[i], wanted);
      return {answers_.gaps(canvas.tokens, std::int64_t(i)),
              [=, this](const std::vector<std::int32_t>& filled) {
                return filled_gaps(records_[i], text, canvas, wanted, filled);
              }};
    });
    result_.metrics = {share("gaps", counts[1], counts[0]),
                       share("records", counts[2], std::int64_t(records_.size()))};
  }
  EvalOutcome filled_gaps(const Record& record, const TaskText& text, const GapCanvas& canvas,
                          const std::vector<std::string>& wanted,
                          const std::vector<std::int32_t>& filled) {
    std::int64_t right = 0;
    std::vector<std::string> outputs;
    for (std::size_t g = 0; g < wanted.size(); ++g) {
      const auto [begin, length] = canvas.gaps[g];
      outputs.push_back(answer_text(subject_.tokenizer, std::span(filled).subspan(begin, length),
                                    {subject_.config.eos_token}));
      right += matches_(outputs.back(), wanted[g]);
    }
    const auto gaps = std::int64_t(wanted.size());
    return {{gaps, right, right == gaps},
            sample(record, text, joined(outputs), joined(wanted), right == gaps)};
  }
  GapCanvas canvas_of(const TaskText& text, const Record& record,
                      const std::vector<std::string>& wanted) const {
    std::vector<std::size_t> lengths;
    for (const std::string& answer : wanted)
      lengths.push_back(
          task_.task.gap_length > 0
              ? std::size_t(task_.task.gap_length)
              : subject_.tokenizer.encode(answer, Tokenizer::Special::as_text).size());
    GapCanvas canvas = gap_canvas(subject_.tokenizer, text, lengths,
                                  std::int32_t(subject_.config.mask_token), record.place());
    CHECK(std::int64_t(canvas.tokens.size()) <= answers_.max_length(), record.place(), ": ",
          canvas.tokens.size(), " tokens; the model takes at most ", answers_.max_length());
    return canvas;
  }

  const EvalModel& subject_;
  const TaskConfig& task_;
  const RecordObserver& observe_;
  std::vector<Record> records_;
  Answers answers_;
  Matcher matches_;
  TaskResult result_;
};

}  // namespace

void check_task(const TaskConfig& task) {
  const Matcher compiled(task.task);
  if (task.task.shots > 0 && task.task.shot_prompt.empty() &&
      names_field(task.task.prompt, "shots"))
    fail_usage("task.prompt holds {shots}; task.shot_prompt must say what one of them looks like");
}

TaskResult evaluate(const EvalModel& subject, const TaskConfig& task,
                    const std::filesystem::path& folder, const RecordObserver& observe) {
  check_task(task);
  return Run(subject, task, folder, observe)();
}

}  // namespace lacuna
