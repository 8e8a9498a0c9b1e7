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
#include "evaluation/matching.h"
#include "tokenizer/answer_text.h"

namespace lacuna {
namespace {

/// A share of n, with the standard error of a binomial proportion by the sample's own variance.
Metric share(const std::string& name, std::int64_t right, std::int64_t n) {
  const double p = double(right) / double(n);
  const double error =
      n > 1 ? std::sqrt(p * (1 - p) / double(n - 1)) : std::numeric_limits<double>::quiet_NaN();
  return {name, p, error, n};
}

/// A task under way.
class Run {
 public:
  Run(const Subject& subject, const TaskConfig& task, const std::filesystem::path& folder,
      const std::function<void(const Outcome&)>& observe)
      : subject_(subject),
        task_(task),
        observe_(observe),
        records_(read_records(folder / task.task.data, task.task.limit)),
        answers_(subject, task, folder) {}

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
    result_.cut_prompts = answers_.cut_prompts();
    return result_;
  }

 private:
  void progress(const std::string& what, std::size_t i) const {
    log_progress(str(what, ": record ", i + 1, " of ", records_.size()));
  }
  void tell(const Record& record, const std::string& output, const std::string& wanted,
            bool right) const {
    if (observe_) observe_({record.place(), output, wanted, right});
  }

  /// The least of the likelihoods, and the least per byte.
  struct Chosen {
    std::size_t plain, by_bytes;
  };
  Chosen choose(const std::string& prompt, const std::vector<std::string>& choices,
                std::size_t record) {
    const auto bounds = answers_.score(prompt, choices, std::int64_t(record));
    const auto per_byte = [&](std::size_t i) {
      return bounds[i].nats / double(std::max<std::size_t>(1, choices[i].size()));
    };
    Chosen chosen{0, 0};
    for (std::size_t i = 1; i < choices.size(); ++i) {
      if (bounds[i].nats < bounds[chosen.plain].nats) chosen.plain = i;
      if (per_byte(i) < per_byte(chosen.by_bytes)) chosen.by_bytes = i;
    }
    return chosen;
  }

  void multiple_choice() {
    std::int64_t right = 0, right_by_bytes = 0;
    for (std::size_t i = 0; i < records_.size(); ++i) {
      progress("scoring", i);
      const Record& record = records_[i];
      const auto [choices, wanted] = choices_of(task_.task, record);
      CHECK(choices.size() >= 2, record.place(), ": has ", choices.size(),
            " choices; there must be at least 2");
      const Chosen chosen = choose(answers_.prompt(task_.task.prompt, record), choices, i);
      right += chosen.plain == wanted;
      right_by_bytes += chosen.by_bytes == wanted;
      tell(record, choices[chosen.plain], choices[wanted], chosen.plain == wanted);
    }
    const auto n = std::int64_t(records_.size());
    result_.metrics = {share("accuracy", right, n), share("accuracy_norm", right_by_bytes, n)};
  }

  Metric generation(const std::string& name, const std::string& prompt, const std::string& answer) {
    std::int64_t right = 0;
    for (std::size_t i = 0; i < records_.size(); ++i) {
      progress("generating", i);
      const std::string wanted = fill_in(answer, records_[i]);
      const std::string output =
          answers_.generate(answers_.prompt(prompt, records_[i]), std::int64_t(i));
      const bool is_right = matches(task_.task, output, wanted);
      right += is_right;
      tell(records_[i], output, wanted, is_right);
    }
    return share(name, right, std::int64_t(records_.size()));
  }

  /// One direction of a reversal task: generated, or chosen among other records' answers.
  Metric direction(const std::string& name, const std::string& prompt, const std::string& answer) {
    if (task_.task.distractors == 0) return generation(name, prompt, answer);
    std::vector<std::string> all;
    for (const Record& record : records_) all.push_back(fill_in(answer, record));
    const std::int64_t others = task_.task.distractors;
    CHECK(std::int64_t(all.size()) > others, "task.distractors = ", others, " of ", all.size(),
          " records; there must be more records");
    std::int64_t right = 0;
    for (std::size_t i = 0; i < records_.size(); ++i) {
      progress(name, i);
      // The first is right; the place says nothing, as the least of the bounds is taken.
      std::vector<std::string> choices = {all[i]};
      const CounterRng rng{std::uint64_t(task_.likelihood.seed), Purpose::data_order, i};
      for (std::uint32_t draw = 0; std::int64_t(choices.size()) <= others; ++draw) {
        CHECK(draw < 1000 * others, records_[i].place(), ": too few different answers among ",
              all.size(), " records to choose from");
        const std::string& other = all[rng.below(all.size(), draw)];
        if (std::find(choices.begin(), choices.end(), other) == choices.end())
          choices.push_back(other);
      }
      const Chosen chosen = choose(answers_.prompt(prompt, records_[i]), choices, i);
      right += chosen.plain == 0;
      tell(records_[i], choices[chosen.plain], choices[0], chosen.plain == 0);
    }
    return share(name, right, std::int64_t(records_.size()));
  }

  void perplexity() {
    std::vector<PromptedText> pieces;
    std::vector<std::size_t> records;  // of the pieces
    std::int64_t bytes = 0;
    const bool causal = subject_.config.attention == Attention::causal;
    const auto most = std::size_t(answers_.max_length() - causal);
    for (std::size_t i = 0; i < records_.size(); ++i) {
      const std::string text = fill_in(task_.task.answer, records_[i]);
      const auto ids = subject_.tokenizer.encode(text, Tokenizer::Special::as_text);
      for (std::size_t at = 0; at < ids.size(); at += most) {
        PromptedText part;
        part.tokens.assign(ids.begin() + std::ptrdiff_t(at),
                           ids.begin() + std::ptrdiff_t(std::min(ids.size(), at + most)));
        pieces.push_back(std::move(part));
        records.push_back(i);
      }
      bytes += std::int64_t(text.size());
    }
    CHECK(bytes > 0, task_.task.data, ": its texts are empty");
    const Likelihood sum = sum_of(answers_.score(
        pieces, 0, [&](std::size_t i, const Likelihood&) { progress("scoring", records[i]); }));
    const double bits = double(bytes) * std::numbers::ln2, tokens = double(sum.tokens);
    result_.metrics = {
        {"bits_per_byte", sum.nats / bits, sum.standard_error / bits, bytes},
        {"nats_per_token", sum.nats / tokens, sum.standard_error / tokens, sum.tokens}};
  }

  void infilling() {
    constexpr const char* kGap = "{gap}";
    std::int64_t gaps = 0, right_gaps = 0, right_records = 0;
    for (std::size_t i = 0; i < records_.size(); ++i) {
      progress("filling", i);
      const Record& record = records_[i];
      const std::vector<std::string> wanted = record.list("answers");
      // {gap} stands for itself while the record's fields are filled in.
      std::string text = task_.task.prompt, mark = "{{gap}}";
      for (std::size_t at = 0; (at = text.find(kGap, at)) != std::string::npos; at += mark.size())
        text.replace(at, std::string(kGap).size(), mark);
      text = fill_in(text, record);
      std::vector<std::int32_t> canvas;
      std::vector<std::pair<std::size_t, std::size_t>> where;
      std::size_t at = 0;
      for (std::size_t next; (next = text.find(kGap, at)) != std::string::npos;
           at = next + std::string(kGap).size()) {
        append(text.substr(at, next - at), canvas);
        CHECK(where.size() < wanted.size(), record.place(), ": has more gaps than \"answers\"");
        const std::size_t length = gap_length(wanted[where.size()]);
        where.emplace_back(canvas.size(), length);
        canvas.insert(canvas.end(), length, std::int32_t(subject_.config.mask_token));
      }
      append(text.substr(at), canvas);
      CHECK(where.size() == wanted.size() && !where.empty(), record.place(), ": ", where.size(),
            " gaps and ", wanted.size(), " answers");
      CHECK(std::int64_t(canvas.size()) <= answers_.max_length(), record.place(), ": ",
            canvas.size(), " tokens; the model takes at most ", answers_.max_length());
      const auto filled = answers_.fill(canvas, std::int64_t(i));
      std::int64_t right = 0;
      std::string outputs;
      for (std::size_t g = 0; g < where.size(); ++g) {
        const auto gap = std::span(filled).subspan(where[g].first, where[g].second);
        const std::string output =
            answer_text(subject_.tokenizer, gap, {subject_.config.eos_token});
        right += matches(task_.task, output, wanted[g]);
        outputs += (g ? " | " : "") + output;
      }
      gaps += std::int64_t(where.size());
      right_gaps += right;
      right_records += right == std::int64_t(where.size());
      std::string answers;
      for (const std::string& w : wanted) answers += (answers.empty() ? "" : " | ") + w;
      tell(record, outputs, answers, right == std::int64_t(where.size()));
    }
    result_.metrics = {share("gaps", right_gaps, gaps),
                       share("records", right_records, std::int64_t(records_.size()))};
  }
  void append(const std::string& text, std::vector<std::int32_t>& canvas) const {
    const auto ids = subject_.tokenizer.encode(text, Tokenizer::Special::as_text);
    canvas.insert(canvas.end(), ids.begin(), ids.end());
  }
  std::size_t gap_length(const std::string& answer) const {
    if (task_.task.gap_length > 0) return std::size_t(task_.task.gap_length);
    return subject_.tokenizer.encode(answer, Tokenizer::Special::as_text).size();
  }

  const Subject& subject_;
  const TaskConfig& task_;
  const std::function<void(const Outcome&)>& observe_;
  std::vector<Record> records_;
  Answers answers_;
  TaskResult result_;
};

}  // namespace

TaskResult evaluate(const Subject& subject, const TaskConfig& task,
                    const std::filesystem::path& folder,
                    const std::function<void(const Outcome&)>& observe) {
  return Run(subject, task, folder, observe)();
}

}  // namespace lacuna
