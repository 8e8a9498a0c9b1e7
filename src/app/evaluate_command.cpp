#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "app/backend_options.h"
#include "app/commands.h"
#include "app/model_source.h"
#include "app/standard_io.h"
#include "checkpoint/hugging_face.h"
#include "config/task.h"
#include "core/atomic_file.h"
#include "core/check.h"
#include "core/log.h"
#include "core/stopwatch.h"
#include "core/text.h"
#include "data/sha256.h"
#include "evaluation/evaluator.h"
#include "training/model_io.h"

namespace lacuna {
namespace {

using Json = nlohmann::ordered_json;

struct Arguments {
  std::string checkpoint, json, outcomes, chat_template;
  std::vector<std::string> tasks, overrides;
  BackendOptions backend;
};

/// Names the weights of a checkpoint: the SHA-256 of each tensor's name, a NUL and its elements as
/// f32, in the order of the forward pass.
std::string hash_of(const CheckpointReader& reader, const ModelConfig& model) {
  Sha256 hash;
  std::vector<float> elements;
  for (const TensorInfo& t : hugging_face_tensors(model, DType::f32)) {
    elements.resize(std::size_t(t.shape.count()));
    reader.read("model", t.name, Tensor(elements.data(), t.shape));
    hash.update(t.name + '\0');
    hash.update({reinterpret_cast<const char*>(elements.data()), elements.size() * sizeof(float)});
  }
  return hash.finish();
}

std::string number(double value) {
  if (!std::isfinite(value)) return "-";
  char text[32];
  std::snprintf(text, sizeof text, "%.4f", value);
  return text;
}

Json number_or_null(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

/// Left-aligned texts, then right-aligned numbers.
std::string row(const std::string& task, const std::string& metric, const std::string& value,
                const std::string& error, const std::string& n, std::size_t width) {
  char text[256];
  std::snprintf(text, sizeof text, "%-*.*s  %-14s  %8s  %8s  %9s\n", int(width), int(width),
                task.c_str(), metric.c_str(), value.c_str(), error.c_str(), n.c_str());
  return text;
}

struct Report {
  std::string name, file;
  TaskConfig task;
  TaskResult result;
  double seconds = 0;
};

Json json_of(const Report& r) {
  Json metrics = Json::array();
  for (const Metric& m : r.result.metrics)
    metrics.push_back({{"name", m.name},
                       {"value", number_or_null(m.value)},
                       {"standard_error", number_or_null(m.standard_error)},
                       {"count", m.count}});
  return {{"name", r.name},
          {"file", r.file},
          {"records", r.result.records},
          {"cut_prompts", r.result.cut_prompts},
          {"metrics", metrics},
          {"seconds", r.seconds},
          {"settings", to_toml(r.task)}};
}

void run(const Arguments& a) {
  std::vector<Report> reports;
  for (const std::string& file : a.tasks) {  // every mistake before any work
    Report r{"", file, read_task(file, a.overrides), {}, 0};
    r.name =
        r.task.task.name.empty() ? std::filesystem::path(file).stem().string() : r.task.task.name;
    reports.push_back(std::move(r));
  }
  const ModelSource source(a.checkpoint);
  const Tokenizer& tokenizer = source.need_tokenizer("tasks are texts, which need one");
  const std::unique_ptr<Ops> backend = a.backend.make();
  Ops& ops = *backend;
  ModelTensors weights(ops.memory(), source.config, "weights", a.backend.type());
  read_tensors(source.reader, "model", weights, ops);
  const Subject subject{ops, source.config, weights, tokenizer,
                        load_chat_template(a.chat_template)};

  StandardOutput out;
  std::size_t width = 4;
  for (const Report& r : reports) width = std::max(width, std::min<std::size_t>(40, r.name.size()));
  out.write(row("task", "metric", "value", "+-", "n", width));
  out.flush();
  std::string outcomes;
  for (Report& r : reports) {
    const Stopwatch stopwatch;
    const auto observe = [&](const Outcome& o) {
      if (!a.outcomes.empty())
        outcomes += Json({{"task", r.name},
                          {"record", o.place},
                          {"output", printable(o.output)},
                          {"wanted", o.wanted},
                          {"right", o.right}})
                        .dump(-1, ' ', false, Json::error_handler_t::replace) +
                    "\n";
    };
    r.result = evaluate(subject, r.task, std::filesystem::path(r.file).parent_path(), observe);
    r.seconds = stopwatch.seconds();
    for (const Metric& m : r.result.metrics)
      out.write(row(r.name, m.name, number(m.value), number(m.standard_error), with_commas(m.count),
                    width));
    out.flush();
    if (r.result.cut_prompts > 0)
      log_warning(str(r.name, ": ", r.result.cut_prompts,
                      " prompts were longer than the model takes and lost their beginning"));
  }
  if (!a.outcomes.empty()) write_file(a.outcomes, outcomes);
  if (a.json.empty()) return;
  Json tasks = Json::array();
  for (const Report& r : reports) tasks.push_back(json_of(r));
  const CheckpointInfo& info = source.reader.info();
  const Json json = {{"model",
                      {{"checkpoint", source.reader.path()},
                       {"sha256", hash_of(source.reader, source.config)},
                       {"parameters", weights.parameters()},
                       {"step", info.step},
                       {"tokens", info.tokens},
                       {"attention", word_of(source.config.attention)},
                       {"device", a.backend.device},
                       {"dtype", a.backend.dtype}}},
                     {"program", "lacuna 0.1.0"},
                     {"tasks", tasks}};
  write_file(a.json, json.dump(2) + "\n");
}

}  // namespace

void add_evaluate_command(CLI::App& app) {
  auto a = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("evaluate", "Run tasks on a checkpoint");
  command->add_option("task", a->tasks, "task files, TOML (keys below)")->required();
  command->add_option("--checkpoint", a->checkpoint, "checkpoint file, or a run's folder")
      ->required();
  command
      ->add_option("--set", a->overrides,
                   "section.key=value instead of what the task says; may be repeated")
      ->allow_extra_args(false);
  command->add_option("--json", a->json,
                      "file to write: results, settings, and the hash of the weights");
  command->add_option("--outcomes", a->outcomes, "JSONL to write: what became of each record");
  command->add_option("--chat-template", a->chat_template,
                      "JSON file of begin, message and reply instead of LLaDA's template");
  a->backend.add_to(*command);
  command->footer("A task, with defaults:\n\n" + task_help());
  command->callback([a] { run(*a); });
}

}  // namespace lacuna
