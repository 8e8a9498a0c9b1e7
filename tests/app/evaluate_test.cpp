// lacuna evaluate, score and forward, as a user runs them, on a model whose results are known by
// hand.
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "core/atomic_file.h"
#include "tests/app/program.h"
#include "tests/evaluation/constant_model.h"
#include "tests/support/support.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

std::string save(const Folder& folder, const std::string& name, const ConstantModel& model) {
  Config config;
  config.model = model.config;
  CheckpointInfo info;
  info.config = to_toml(config);
  info.tokenizer = model.tokenizer.json();
  CheckpointTensors tensors;
  for (const NamedWeight& w : model.weights.named()) tensors.model.push_back({w.name, w.tensor});
  save_checkpoint(folder / name, info, tensors);
  return folder / name;
}

/// The path of a task on three records, of which choices 1, 1 and 0 are right.
std::string choice_task(const Folder& folder, const std::string& name, const std::string& more) {
  folder.write(
      "r.jsonl",
      "\xef\xbb\xbf{\"q\": \"\u2028?\", \"choices\": [\"0\", \"1\"], \"answer\": 1}\r\n\r\n"
      "{\"q\": \"?\", \"choices\": [\"a\", \"b\"], \"answer\": \"(B)\"}\r\n"
      "{\"q\": \"?\", \"choices\": [\"a\", \"b\"], \"answer\": 0}");
  return folder.write(name + ".toml", "[task]\ndata = \"r.jsonl\"\nprompt = \"{q}\"\n" + more);
}

TEST(EvaluateProgram, GroupsAreReportedByRecordsAndByTasks) {
  const Folder folder;
  const std::string model = save(folder, "m.h5", ConstantModel({{" 1", 9.0f}, {" b", 9.0f}}));
  const std::string one = choice_task(folder, "one", "group = \"both\"\nlimit = 1\n");
  const std::string three = choice_task(folder, "three", "group = \"both\"\n");
  Program program({"evaluate", one, three, "--checkpoint", model, "--json", folder / "r.json",
                   "--outcomes", folder / "o.jsonl", "--threads", "1"});
  ASSERT_EQ(program.wait(), 0) << program.err();
  EXPECT_TRUE(contains(program.out(), "acc (micro)"));
  EXPECT_TRUE(contains(program.out(), "acc_bytes (macro)"));
  const auto json = nlohmann::json::parse(read_file(folder / "r.json"));
  const auto& metrics = json["tasks"][1]["metrics"];
  EXPECT_EQ(metrics[0]["name"], "acc");
  EXPECT_EQ(metrics[1]["name"], "acc_norm");
  EXPECT_EQ(metrics[2]["name"], "acc_bytes");
  EXPECT_DOUBLE_EQ(metrics[0]["value"], 2.0 / 3);
  EXPECT_EQ(metrics[3]["name"], "accuracy");  // as earlier versions called it
  EXPECT_EQ(metrics[3]["same_as"], "acc");
  EXPECT_EQ(metrics[3]["value"], metrics[0]["value"]);
  ASSERT_EQ(json["groups"].size(), 1u);
  const auto& group = json["groups"][0];
  EXPECT_EQ(group["name"], "both");
  EXPECT_EQ(group["tasks"], 2);
  EXPECT_EQ(group["records"], 4);
  EXPECT_EQ(group["metrics"][0]["weight_by_size"], true);
  EXPECT_DOUBLE_EQ(group["metrics"][0]["value"], 3.0 / 4);
  EXPECT_EQ(group["metrics"][3]["average"], "macro");
  EXPECT_DOUBLE_EQ(group["metrics"][3]["value"], (1 + 2.0 / 3) / 2);
  EXPECT_TRUE(contains(read_file(folder / "o.jsonl"), "\"prompt\":\"\u2028?\""));
}

TEST(EvaluateProgram, ResultsNameTheAdapter) {
  const Folder folder;
  const ConstantModel model({{" 1", 9.0f}});
  const std::string base = save(folder, "m.h5", model), adapter = folder / "a.h5";
  Config config;
  config.model = model.config;
  config.lora.rank = 1;
  CheckpointInfo info;
  info.config = to_toml(config);
  CheckpointTensors tensors;
  std::vector<std::vector<float>> zeros;
  for (const ModelWeight& w : adapter_weights(config.model, config.lora)) {
    zeros.emplace_back(std::size_t(w.shape.count()));
    tensors.model.push_back({w.name, Tensor(zeros.back().data(), w.shape)});
  }
  save_checkpoint(adapter, info, tensors);
  const auto model_of = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"evaluate",     choice_task(folder, "t", ""),
                                          "--checkpoint", base,
                                          "--json",       folder / "r.json",
                                          "--threads",    "1"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    Program program(arguments);
    EXPECT_EQ(program.wait(), 0) << program.err();
    return nlohmann::json::parse(read_file(folder / "r.json"))["model"];
  };
  EXPECT_FALSE(model_of({}).contains("adapter"));
  const auto adapted = model_of({"--adapter", adapter});
  EXPECT_EQ(adapted["adapter"], adapter);
  EXPECT_EQ(adapted["checkpoint"], base);
}

TEST(EvaluateProgram, OutcomesHoldTheRecordsOwnFieldsAndTheOutputAsItIs) {
  const Folder folder;
  const std::string model = save(folder, "m.h5", ConstantModel({{"\tx\ndef g\n#", 9.0f}}));
  folder.write("r.jsonl",
               R"({"task_id": "T/0", "prompt": "def f", "tests": ["a", 1], "right": 3})");
  const std::string task =
      folder.write("t.toml",
                   "[task]\ntype = \"generation\"\ndata = \"r.jsonl\"\nprompt = \"{prompt}\"\n"
                   "answer = \"no\"\nstop = [\"\\n#\", \"\\ndef\"]\n[sampler]\ngen_length = 1\n");
  Program program({"evaluate", task, "--checkpoint", model, "--outcomes", folder / "o.jsonl",
                   "--threads", "1"});
  ASSERT_EQ(program.wait(), 0) << program.err();
  const auto outcome = nlohmann::json::parse(read_file(folder / "o.jsonl"));
  EXPECT_EQ(outcome["completion"], "\tx");  // up to the first of the stops
  EXPECT_EQ(outcome["task_id"], "T/0");
  EXPECT_EQ(outcome["tests"], (nlohmann::json{"a", 1}));
  EXPECT_EQ(outcome["right"], false);  // of the outcome, whatever the record says
}

TEST(EvaluateProgram, WhatAReaderMustKnowIsSaid) {
  const Folder folder;
  const std::string model =
      save(folder, "m.h5", ConstantModel({{"It goes on and on without an end.!", 9.0f}}, 8));
  const std::string task = choice_task(
      folder, "t",
      "type = \"generation\"\nmatch = \"regex\"\npattern = '(([\\s\\S])*)*\\x01!'\nlimit = 1\n"
      "[sampler]\ngen_length = 6\n");
  Program program({"evaluate", task, "--set", "task.prompt=A long prompt.", "--checkpoint", model,
                   "--threads", "1"});
  ASSERT_EQ(program.wait(), 0) << program.err();
  EXPECT_TRUE(contains(program.err(), "t: 1 prompt was longer than the model takes and lost its "));
  EXPECT_TRUE(contains(program.err(), "task.pattern was given up in 1 output, counted as wrong"));
}

TEST(EvaluateProgram, Mistakes) {
  const Folder folder;
  const std::string model = save(folder, "m.h5", ConstantModel());
  const auto wrong = [&](const std::string& more, int code, const std::string& part) {
    return fails(
        {"evaluate", choice_task(folder, "t", more), "--checkpoint", model, "--threads", "1"}, code,
        part);
  };
  const std::string regex = "type = \"generation\"\nmatch = \"regex\"\n";
  EXPECT_TRUE(wrong(regex + "pattern = \"(\"\n", 2, "t.toml: task.pattern = (: missing closing"));
  EXPECT_TRUE(wrong(regex + "pattern = \"" + std::string(60000, '(') + "\"\n", 2, "longer than"));
  EXPECT_TRUE(wrong("shots = 1\nshots_data = \"r.jsonl\"\nprompt_ = 1", 2, "unknown key"));
  EXPECT_TRUE(wrong("type = \"perplexity\"\ngroup = \"g\"\n", 2, "task.group is for"));
  const std::string generation = choice_task(folder, "g", "type = \"generation\"\ngroup = \"x\"\n");
  EXPECT_TRUE(fails(
      {"evaluate", generation, choice_task(folder, "t", "group = \"x\"\n"), "--checkpoint", model},
      2, "task.group \"x\" is of generation tasks"));
}

TEST(EvaluateProgram, LogitsThatAreNotFiniteAreAnErrorOfEveryCommand) {
  const Folder folder;
  const ConstantModel broken;
  broken.break_weights();
  const std::string model = save(folder, "m.h5", broken);
  const std::string reason = "logits are not finite; its weights are damaged";
  EXPECT_TRUE(fails({"evaluate", choice_task(folder, "t", ""), "--checkpoint", model, "--json",
                     folder / "r.json"},
                    1, reason));
  EXPECT_TRUE(fails({"score", "--checkpoint", model, "--text", "ab"}, 1, reason));
  EXPECT_TRUE(
      fails({"sample", "--checkpoint", model, "--prompt", "a", "--gen-length", "2"}, 1, reason));
  EXPECT_TRUE(
      fails({"forward", "--checkpoint", model, "--tokens", "1 2", "--output", folder / "l.h5"}, 1,
            reason));
  EXPECT_EQ(folder.files(), (std::vector<std::string>{"m.h5", "r.jsonl", "t.toml"}));
}

}  // namespace
}  // namespace lacuna
