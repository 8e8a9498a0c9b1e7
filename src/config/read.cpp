#include <string>

#include "config/section_reader.h"
#include "config/task.h"
#include "core/input_file.h"

namespace lacuna {
namespace {

void validate_task(const TaskConfig& c, const std::string& path) {
  const TaskSection& t = c.task;
  const auto need = [&](bool holds, const std::string& what) {
    if (!holds) fail_usage(str(path, ": ", what));
  };
  const std::string type = word_of(t.type);
  need(!t.data.empty(), "task.data names no file");
  need(t.limit >= 0 && t.shots >= 0 && t.distractors >= 0 && t.gap_length >= 0,
       "task.limit, shots, distractors and gap_length must not be negative");
  need(t.type == TaskType::perplexity || !t.prompt.empty(), "task.prompt is empty");
  need(!t.answer.empty() || t.type == TaskType::infilling, "task.answer is empty");
  need(t.shots == 0 || !t.shots_data.empty(),
       str("task.shots = ", t.shots, " needs task.shots_data, where they come from"));
  need(t.shots == 0 || t.type == TaskType::multiple_choice || t.type == TaskType::generation,
       "task.shots is for multiple_choice and generation");
  need(t.group.empty() || t.type == TaskType::multiple_choice || t.type == TaskType::generation,
       "task.group is for multiple_choice and generation");
  need(t.match != MatchRule::regex || !t.pattern.empty(), "task.match = \"regex\" needs a pattern");
  need(t.type != TaskType::reversal || (!t.reverse_prompt.empty() && !t.reverse_answer.empty()),
       "task.type = \"reversal\" needs reverse_prompt and reverse_answer");
  need(c.likelihood.seed >= 0, "likelihood.seed must not be negative");
  need(c.likelihood.samples >= 1, "likelihood.samples must be at least 1");
  const auto named = [&](const std::string& field) { return "sampler." + field; };
  const bool generates =
      t.type == TaskType::generation || (t.type == TaskType::reversal && t.distractors == 0);
  try {
    if (generates)
      validate(c.sampler, named);
    else
      validate_values(c.sampler, named);
  } catch (const UsageError& e) {
    need(false, e.what());
  }
}

std::string text_of(const std::string& path) {
  try {
    return read_named_file(path);
  } catch (const Error& e) {
    fail_usage(e.what());
  }
}

}  // namespace

Config parse_config(const std::string& text, const std::string& name) {
  return parse_root<Config>(text, name, Origin::user);
}

Config parse_stored_config(const std::string& text, const std::string& name) {
  return parse_root<Config>(text, name, Origin::stored);
}

void apply_override(Config& config, const std::string& override_text) {
  const TrainConfig before = config.train;
  const DataConfig data_before = config.data;
  override_root(config, override_text);
  // Of what says the same in two ways, the one that was given last.
  if (config.data.sources != data_before.sources) {
    config.data.train = DataConfig::kDefaultTrain;
  } else if (config.data.train != data_before.train) {
    config.data.sources.clear();
    config.data.stages.clear();
  }
  // Which of the two says how long the run is.
  TrainConfig& train = config.train;
  if (train.steps != before.steps)
    train.epochs = 0;
  else if (train.epochs != before.epochs)
    train.steps = -1;
}

Config read_config(const std::string& path, const std::vector<std::string>& overrides,
                   const std::function<std::string(Config&)>& complete) {
  Config config = parse_config(text_of(path), path);
  for (const std::string& override_text : overrides) apply_override(config, override_text);
  const std::string completed = complete ? complete(config) : "";
  try {
    validate(config);
  } catch (const UsageError& e) {
    fail_usage(path + completed + ": " + e.what());
  }
  return config;
}

TaskConfig read_task(const std::string& path, const std::vector<std::string>& overrides) {
  auto task = parse_root<TaskConfig>(text_of(path), path, Origin::user);
  for (const std::string& override_text : overrides) override_root(task, override_text);
  validate_task(task, path);
  return task;
}

}  // namespace lacuna
