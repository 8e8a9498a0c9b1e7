#pragma once
#include <string>

#include "config/config.h"
#include "config/decoding_options.h"
#include "config/texts.h"

namespace lacuna {

enum class TaskType : std::uint8_t { multiple_choice, generation, perplexity, infilling, reversal };
template <>
struct EnumWords<TaskType> {
  static constexpr const char* words[] = {"multiple_choice", "generation", "perplexity",
                                          "infilling", "reversal"};
};
enum class MatchRule : std::uint8_t { exact, substring, regex, number };
template <>
struct EnumWords<MatchRule> {
  static constexpr const char* words[] = {"exact", "substring", "regex", "number"};
};

/// What a task asks and when an answer is right (docs/evaluation.md). Texts with {field} take a
/// record's field; {{ and }} stand for braces.
struct TaskSection {
  std::string name;
  std::string group;
  TaskType type = TaskType::multiple_choice;
  std::string data;
  std::int64_t limit = 0;
  std::string prompt;
  std::string answer = "{answer}";
  bool chat = false;
  std::string choices = "choices";
  std::string choice_prefix = " ";
  MatchRule match = MatchRule::exact;
  std::string pattern;
  bool ignore_case = false;
  Texts stop;
  std::string reverse_prompt;
  std::string reverse_answer;
  std::int64_t distractors = 0;
  std::int64_t gap_length = 0;
  std::int64_t shots = 0;
  std::string shots_data;
  std::string shot_prompt;
  std::string shot_separator = "\n\n";

  bool operator==(const TaskSection&) const = default;
  template <class Self, class Visitor>
  static void fields(Self& c, Visitor&& visit) {
    visit(c.name, "name", "of the task in results; empty: the file's");
    visit(c.group, "group", "tasks of one group get means over all of them too; empty: none");
    visit(c.type, "type", "multiple_choice, generation, perplexity, infilling or reversal");
    visit(c.data, "data", "JSONL of records, relative to the task file");
    visit(c.limit, "limit", "records to use, from the beginning; 0: all");
    visit(c.prompt, "prompt",
          "what is given, with {fields}; {shots}: where the solved examples stand, if not before "
          "it; of infilling, the text with {gap}s");
    visit(
        c.answer, "answer",
        "what is wanted, with {fields}; of multiple_choice, a field with the choice's number from "
        "0 (an integer), or its text, label, letter or number (a string); of perplexity, the text "
        "itself");
    visit(c.chat, "chat", "whether the prompt is a user's message in the chat template");
    visit(c.choices, "choices",
          "field that lists the choices: texts, or objects with \"text\" and \"label\"");
    visit(c.choice_prefix, "choice_prefix", "between the prompt and a choice or a shot's answer");
    visit(c.match, "match", "exact, substring (the answer is in the output), regex or number");
    visit(c.pattern, "pattern",
          "regex: its first group in the output is compared; PCRE2, read as Python's re reads it");
    visit(c.ignore_case, "ignore_case", "whether letters' case does not matter (ASCII)");
    visit(c.stop, "stop",
          "text at which an output ends, or a list of such texts; empty: at the end token alone");
    visit(c.reverse_prompt, "reverse_prompt", "reversal: the prompt of the other direction");
    visit(c.reverse_answer, "reverse_answer", "reversal: what is wanted there");
    visit(c.distractors, "distractors",
          "reversal: other records' answers to choose among by likelihood; 0: generate");
    visit(c.gap_length, "gap_length", "infilling: tokens of a gap; 0: as many as its answer has");
    visit(c.shots, "shots", "solved examples before the prompt");
    visit(c.shots_data, "shots_data", "JSONL they are taken from, its beginning; needed for shots");
    visit(c.shot_prompt, "shot_prompt", "the prompt of a solved example; empty: prompt");
    visit(c.shot_separator, "shot_separator", "after each of them");
  }
};

/// How likelihoods are bounded (diffusion/likelihood.h).
struct TaskLikelihood {
  std::int64_t samples = 128;
  bool mask_ratio = false;
  bool stratified = true;
  std::int64_t seed = 1;

  bool operator==(const TaskLikelihood&) const = default;
  template <class Self, class Visitor>
  static void fields(Self& c, Visitor&& visit) {
    visit(c.samples, "samples", "masks per text");
    visit(c.mask_ratio, "mask_ratio", "the t-weighted form instead of drawn counts");
    visit(c.stratified, "stratified", "whether each mask's count comes from a stratum of its own");
    visit(c.seed, "seed", "of the masks");
  }
};

/// The header of a task, a TOML file.
struct TaskConfig {
  TaskSection task;
  DecodingOptions sampler;
  TaskLikelihood likelihood;

  bool operator==(const TaskConfig&) const = default;
  template <class Self, class Visitor>
  static void sections(Self& c, Visitor&& visit) {
    visit(c.task, "task");
    visit(c.sampler, "sampler");
    visit(c.likelihood, "likelihood");
  }
};

/// Reads a task file and applies overrides "section.key=value", as read_config does, and checks
/// what needs no other file. Throws UsageError naming file, line and key.
TaskConfig read_task(const std::string& path, const std::vector<std::string>& overrides = {});
/// TOML text that reads back to an equal task.
std::string to_toml(const TaskConfig& task);
/// Every key with its default and meaning, for --help.
std::string task_help();

}  // namespace lacuna
