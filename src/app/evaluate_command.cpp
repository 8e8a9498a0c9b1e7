#include <algorithm>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "app/backend_options.h"
#include "app/chat_template_option.h"
#include "app/checkpoint_option.h"
#include "app/command_line.h"
#include "app/commands.h"
#include "app/evaluation_report.h"
#include "app/model_on_ranks.h"
#include "app/standard_io.h"
#include "comm/work_queue.h"
#include "config/task.h"
#include "core/atomic_file.h"
#include "core/check.h"
#include "core/json.h"
#include "core/log.h"
#include "core/stopwatch.h"
#include "core/text.h"
#include "core/version.h"
#include "data/chat_template.h"
#include "data/sha256.h"
#include "evaluation/evaluator.h"
#include "model/weight_spec.h"

namespace lacuna {
namespace {

using Json = nlohmann::ordered_json;

struct EvaluateArguments {
  std::string checkpoint, adapter, json, outcomes, chat_template;
  std::vector<std::string> tasks, overrides;
  std::int64_t tensor_parallel = 1;
  BackendOptions backend;

  /// What must be the same on all ranks beside the tasks.
  std::string agreed() const {
    return str("--checkpoint ", checkpoint, "\n--adapter ", adapter, "\n--outcomes ",
               outcomes.empty() ? "no" : "yes", "\n--chat-template ", chat_template,
               "\n--tensor-parallel ", tensor_parallel, "\n", backend.agreed());
  }
};

/// Names the weights of a checkpoint: the SHA-256 of each tensor's name, a NUL and its elements as
/// f32, in the order of the forward pass.
std::string hash_of(const ModelReader& reader, const ModelConfig& model) {
  Sha256 hash;
  std::vector<float> elements;
  for (const ModelWeight& t : model_weights(model)) {
    elements.resize(std::size_t(t.shape.count()));
    reader.read("model", t.name, Tensor(elements.data(), t.shape));
    hash.update(t.name + '\0');
    hash.update({reinterpret_cast<const char*>(elements.data()), elements.size() * sizeof(float)});
  }
  return hash.finish();
}

/// Of tasks that are dialogues; else it is not used.
ChatTemplate chat_of(const EvaluateArguments& a, const ModelSource& source,
                     const std::vector<TaskReport>& tasks) {
  const bool chats =
      std::any_of(tasks.begin(), tasks.end(), [](const TaskReport& t) { return t.task.task.chat; });
  if (!chats) return {};
  return load_chat_template(a.chat_template, source.chat_template(), source.reader.path());
}

/// Every task, read and checked before any work.
std::vector<TaskReport> read_tasks(const EvaluateArguments& a) {
  std::vector<TaskReport> tasks;
  for (const std::string& file : a.tasks) {
    TaskReport t{"", file, read_task(file, a.overrides), {}};
    t.name =
        t.task.task.name.empty() ? std::filesystem::path(file).stem().string() : t.task.task.name;
    try {
      check_task(t.task);
    } catch (const UsageError& e) {
      fail_usage(str(file, ": ", e.what()));
    }
    tasks.push_back(std::move(t));
  }
  check_groups(tasks);
  return tasks;
}

/// The outcome, and the record's own fields beside it, so that programs that grade outputs find
/// what they name records by. `completion` is what they read: the output as it is.
std::string json_line(const TaskReport& task, const Record& record, const EvalSample& o) {
  Json line = {{"task", task.name},
               {"record", o.place},
               {"prompt", printable(o.prompt)},
               {"output", printable(o.output)},
               {"completion", o.output},
               {"wanted", o.wanted},
               {"right", o.right}};
  for (const auto& [field, value] : record.json().items())
    if (!line.contains(field)) line[field] = value;
  return json_text(line) + "\n";
}

/// What a reader of the figures must know.
void warn_about(const TaskReport& task) {
  const TaskResult& r = task.result;
  if (r.cut_prompts > 0)
    log_warning(str(task.name, ": ", counted(r.cut_prompts, "prompt was", "prompts were"),
                    " longer than the model takes and lost ", r.cut_prompts == 1 ? "its" : "their",
                    " beginning"));
  if (r.unfinished_searches > 0)
    log_warning(str(task.name, ": the search of task.pattern was given up in ",
                    counted(r.unfinished_searches, "output"), ", counted as wrong: it took more ",
                    "steps or memory than a pattern is allowed"));
}

std::string agreed(const EvaluateArguments& a, const std::vector<TaskReport>& tasks) {
  std::string text = a.agreed();
  for (const TaskReport& t : tasks) text += to_toml(t.task);
  return text;
}

Json json_of(const EvaluateArguments& a, const ModelSource& source,
             const std::vector<TaskReport>& tasks, const std::vector<GroupReport>& groups) {
  Json task_list = Json::array(), group_list = Json::array();
  for (const TaskReport& t : tasks) task_list.push_back(json_of(t));
  for (const GroupReport& group : groups) group_list.push_back(json_of(group));
  const CheckpointInfo& info = source.reader.info();
  Json model = {{"checkpoint", source.reader.path()},
                {"sha256", hash_of(source.reader, source.config)},
                {"parameters", count_parameters(source.config)},
                {"step", info.step},
                {"tokens", info.tokens},
                {"attention", word_of(source.config.attention)},
                {"device", a.backend.device},
                {"dtype", a.backend.dtype}};
  // The fields above are of the model that it adapts.
  for (const auto& [name, stored] : source.adapters) model["adapter"] = stored.reader->path();
  return {{"model", model},
          {"program", program_version()},
          {"tasks", task_list},
          {"groups", group_list}};
}

/// What rank 0 alone does: the table on standard output, and the files.
class Report {
 public:
  Report(const EvaluateArguments& a, const std::vector<TaskReport>& tasks)
      : arguments_(a), tasks_(tasks), table_(tasks) {
    print(table_.heading());
  }
  void observe(const TaskReport& task, const Record& record, const EvalSample& sample) {
    outcomes_ += json_line(task, record, sample);
  }
  void add(const TaskReport& task) {
    print(table_.lines(task));
    warn_about(task);
  }
  void finish(const ModelSource& source) {
    const std::vector<GroupReport> groups = groups_of(tasks_);
    for (const GroupReport& group : groups) print(table_.lines(group));
    if (!arguments_.outcomes.empty()) write_file(arguments_.outcomes, outcomes_);
    if (!arguments_.json.empty())
      write_file(arguments_.json, json_of(arguments_, source, tasks_, groups).dump(2) + "\n");
  }

 private:
  void print(const std::string& lines) {
    out_.write(lines);
    out_.flush();
  }

  const EvaluateArguments& arguments_;
  const std::vector<TaskReport>& tasks_;
  const EvaluationTable table_;
  StandardOutput out_;
  std::string outcomes_;
};

void run(const EvaluateArguments& a, const MpiSession& mpi) {
  std::vector<TaskReport> tasks = read_tasks(a);
  ModelSource opened(a.checkpoint, adapters_of(a.adapter));
  (void)opened.need_tokenizer("tasks are texts, which need one");
  const ModelOnRanks loaded =
      load_on_ranks(mpi, std::move(opened), a.backend, a.tensor_parallel, agreed(a, tasks));
  WorkQueue queue(mpi, *loaded.mesh);
  const ModelSource& source = loaded.model.source;
  const EvalModel subject{*loaded.model.ops,         source.config,
                          loaded.model.weights,      *source.tokenizer,
                          chat_of(a, source, tasks), {loaded.mesh.get(), &queue}};

  std::optional<Report> report;
  if (loaded.is_first_rank()) report.emplace(a, tasks);
  for (TaskReport& t : tasks) {
    const Stopwatch stopwatch;
    const auto observe = [&](const Record& record, const EvalSample& o) {
      if (report) report->observe(t, record, o);
    };
    const RecordObserver observer = a.outcomes.empty() ? RecordObserver() : observe;
    t.result = evaluate(subject, t.task, std::filesystem::path(t.file).parent_path(), observer);
    t.seconds = stopwatch.seconds();
    t.decoders = loaded.data().size();
    if (report) report->add(t);
  }
  if (report) report->finish(source);
}

/// `lacuna evaluate CHECKPOINT TASK…`, as other commands take a checkpoint first.
void take_first_as_checkpoint(EvaluateArguments& a) {
  if (a.checkpoint.empty() && !a.tasks.empty() && !a.tasks.front().ends_with(".toml")) {
    a.checkpoint = a.tasks.front();
    a.tasks.erase(a.tasks.begin());
  }
  if (a.checkpoint.empty() || a.tasks.empty())
    fail_usage(str("a checkpoint and at least one task file (TOML) are required: lacuna evaluate ",
                   a.checkpoint.empty() ? "CHECKPOINT" : a.checkpoint, " ",
                   a.tasks.empty() ? "TASK.toml" : a.tasks.front()));
}

}  // namespace

void add_evaluate_command(Command app, const MpiSession& session) {
  auto a = std::make_shared<EvaluateArguments>();
  const Command command = app.add_subcommand("evaluate", "Run tasks on a checkpoint");
  command.add_option("task", a->tasks,
                     "task files, TOML (keys below); without --checkpoint, the checkpoint first");
  command.add_option("--checkpoint", a->checkpoint, kCheckpointHelp);
  add_adapter_option(command, a->adapter);
  command
      .add_option("--set", a->overrides,
                  "section.key=value instead of what the task says; may be repeated")
      .one_value_per_use();
  command.add_option("--json", a->json,
                     "file to write: results, settings, and the hash of the weights");
  command.add_option(
      "--outcomes", a->outcomes,
      "JSONL to write: each record's prompt, output, whether it was right, and its own fields");
  command.add_option("--chat-template", a->chat_template, kChatTemplateHelp);
  a->backend.add_to(command);
  add_tensor_parallel_option(command, a->tensor_parallel);
  command.footer("A task, with defaults:\n\n" + task_help());
  command.callback([a, &session] {
    take_first_as_checkpoint(*a);
    run(*a, session);
  });
}

}  // namespace lacuna
