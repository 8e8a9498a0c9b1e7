#include "evaluation/evaluator.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "tests/evaluation/constant_model.h"
#include "tests/support/support.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

/// A task file's content on a model, with its results by name.
class Evaluation {
 public:
  Evaluation(const ConstantModel& model, TaskConfig task, const std::string& records) {
    folder_.write("r.jsonl", records);
    task.task.data = "r.jsonl";
    const EvalModel subject{
        const_cast<CpuOps&>(model.ops), model.config, model.weights, model.tokenizer, {}};
    result = evaluate(subject, task, folder_ / "",
                      [&](const Record&, const EvalSample& o) { outcomes.push_back(o); });
    for (const Metric& m : result.metrics) value[m.name] = m.value;
  }

  TaskResult result;
  std::vector<EvalSample> outcomes;
  std::map<std::string, double> value;

 private:
  Folder folder_;
};

TaskConfig task_of(TaskType type) {
  TaskConfig task;
  task.task.type = type;
  task.task.prompt = "{q}";
  task.likelihood.samples = 4;
  task.sampler.gen_length = 1;
  return task;
}

// lm-evaluation-harness 0.4.13 divides by len(choice) for acc_norm, by len(choice.encode()) for
// acc_bytes; the space before a choice counts in the likelihood only.
TEST(Evaluator, AccuraciesPerCharacterAndPerByte) {
  const ConstantModel uniform;
  const auto chosen = [&](const std::string& choices, int answer) {
    return Evaluation(uniform, task_of(TaskType::multiple_choice),
                      "{\"q\": \"?\", \"choices\": " + choices +
                          ", \"answer\": " + std::to_string(answer) + "}")
        .value;
  };
  // 9 tokens against 10: per character 9/8 and 10/3, per byte 9/8 and 10/9.
  auto value = chosen(R"(["abcdefgh", "你好吗"])", 0);
  EXPECT_EQ(value.at("acc"), 1);
  EXPECT_EQ(value.at("acc_norm"), 1);
  EXPECT_EQ(value.at("acc_bytes"), 0);
  // A combining mark is a character of its own: 4 tokens of 2 characters against 3 of 2.
  value = chosen(R"(["e\u0301", "xy"])", 0);
  EXPECT_EQ(value.at("acc_norm"), 0);
  EXPECT_EQ(value.at("acc_bytes"), 1);  // 4/3 against 3/2
  // 5 tokens of 1 character against 2 of 1.
  value = chosen(R"(["\ud83d\ude00", "x"])", 1);
  EXPECT_EQ(value.at("acc_norm"), 1);
  EXPECT_EQ(value.at("acc_bytes"), 0);
  // An empty choice is the likeliest, and never the likeliest per character.
  value = chosen(R"(["", "x"])", 0);
  EXPECT_EQ(value.at("acc"), 1);
  EXPECT_EQ(value.at("acc_norm"), 0);
  EXPECT_EQ(value.at("acc_bytes"), 0);
}

TEST(Evaluator, AnIntegerAnswerIsAnIndex) {
  const ConstantModel model({{" 4", 20.0f}});
  const Evaluation run(model, task_of(TaskType::multiple_choice),
                       R"({"q": "Sides?", "choices": ["1", "2", "3", "4"], "answer": 3})");
  EXPECT_EQ(run.value.at("acc"), 1);
  ASSERT_EQ(run.outcomes.size(), 1u);
  EXPECT_EQ(run.outcomes[0].wanted, "4");
  EXPECT_EQ(run.outcomes[0].output, "4");
  EXPECT_EQ(run.outcomes[0].prompt, "Sides?");
  EXPECT_TRUE(run.outcomes[0].right);
}

TEST(Evaluator, AccuracyAndItsError) {
  const ConstantModel model({{" b", 20.0f}});
  const Evaluation run(model, task_of(TaskType::multiple_choice),
                       "{\"q\": \"?\", \"choices\": [\"a\", \"b\"], \"answer\": 1}\n"
                       "{\"q\": \"?\", \"choices\": [\"a\", \"b\"], \"answer\": \"B\"}\n"
                       "{\"q\": \"?\", \"choices\": [\"a\", \"b\"], \"answer\": \"b\"}\n"
                       "{\"q\": \"?\", \"choices\": [\"a\", \"b\"], \"answer\": 0}\n");
  const Metric& acc = run.result.metrics[0];
  EXPECT_EQ(acc.name, "acc");
  EXPECT_EQ(acc.value, 0.75);
  EXPECT_DOUBLE_EQ(acc.standard_error, std::sqrt(0.75 * 0.25 / 3));
  EXPECT_EQ(acc.count, 4);
  EXPECT_EQ(run.result.records, 4);
}

TEST(Evaluator, GenerationIsMatched) {
  const ConstantModel model({{"It is \u2212$1,234.", 20.0f}});
  TaskConfig task = task_of(TaskType::generation);
  task.task.match = MatchRule::number;
  const std::string records =
      "{\"q\": \"?\", \"answer\": \"#### -1234\"}\n{\"q\": \"?\", \"answer\": 1234}\n";
  EXPECT_EQ(Evaluation(model, task, records).value.at("accuracy"), 0.5);
  task.task.match = MatchRule::regex;
  task.task.pattern = "is (.)";
  EXPECT_EQ(Evaluation(model, task, "{\"q\": \"\", \"answer\": \"\u2212\"}").value.at("accuracy"),
            1);
}

TEST(Evaluator, ASearchWithoutEndIsReported) {
  const ConstantModel model({{std::string(60, 'a') + "!", 20.0f}});
  TaskConfig task = task_of(TaskType::generation);
  task.task.match = MatchRule::regex;
  task.task.pattern = "^(a+)+$";
  const Evaluation run(model, task, R"({"q": "?", "answer": "a"})");
  EXPECT_EQ(run.value.at("accuracy"), 0);
  EXPECT_EQ(run.result.unfinished_searches, 1);
}

TEST(Evaluator, PerplexityOfAUniformModel) {
  const ConstantModel uniform;
  TaskConfig task = task_of(TaskType::perplexity);
  task.task.answer = "{text}";
  // 70 bytes, of which 64 fit at a time, and two characters of 3 bytes.
  const Evaluation run(uniform, task,
                       "{\"text\": \"" + std::string(70, 'x') + "\"}\n{\"text\": \"你好\"}\n");
  const double v = double(uniform.config.vocab_size);
  EXPECT_NEAR(run.value.at("bits_per_byte"), std::log2(v), 1e-5);
  EXPECT_NEAR(run.value.at("nats_per_token"), std::log(v), 1e-5);
  EXPECT_EQ(run.result.metrics[0].count, 76);
}

TEST(Evaluator, InfillingCountsGapsAndRecords) {
  ConstantModel model;
  model.set_logit('x', 20);
  TaskConfig task = task_of(TaskType::infilling);
  task.task.prompt = "<|endoftext|>{text}, {gap}";
  const Evaluation run(model, task,
                       "{\"text\": \"a {gap} b\", \"answers\": [\"xx\", \"x\"]}\n"
                       "{\"text\": \"a {gap} b\", \"answers\": [\"xy\", \"x\"]}\n");
  EXPECT_EQ(run.value.at("gaps"), 0.75);
  EXPECT_EQ(run.value.at("records"), 0.5);
  EXPECT_EQ(run.outcomes[1].output, "xx | x");
  EXPECT_EQ(run.outcomes[1].wanted, "xy | x");
  EXPECT_TRUE(contains(
      error_of([&] { Evaluation(model, task, R"({"text": "a", "answers": ["x", "y"]})"); }),
      "r.jsonl:1: 1 gaps and 2 answers"));
}

TEST(Evaluator, ReversalAsksBothDirections) {
  const ConstantModel model;
  model.set_logit('x', 20);
  TaskConfig task = task_of(TaskType::reversal);
  task.task.reverse_prompt = "{answer}";
  task.task.reverse_answer = "{q}";
  const Evaluation run(model, task, "{\"q\": \"a\", \"answer\": \"x\"}\n");
  EXPECT_EQ(run.value.at("forward"), 1);
  EXPECT_EQ(run.value.at("reverse"), 0);
  task.task.distractors = 1;
  const Evaluation chosen(model, task,
                          "{\"q\": \"a\", \"answer\": \"x\"}\n{\"q\": \"b\", \"answer\": \"y\"}\n");
  EXPECT_EQ(chosen.value.at("forward"), 0.5);  // " x" is chosen before " y" in both
}

TEST(Evaluator, WhatATaskAsksWrongly) {
  TaskConfig task = task_of(TaskType::multiple_choice);
  task.task.prompt = "{shots}{q}";
  task.task.shots = 1;
  EXPECT_TRUE(contains(error_of<UsageError>([&] { check_task(task); }), "task.shot_prompt"));
  task.task.shot_prompt = "{q}";
  EXPECT_EQ(error_of([&] { check_task(task); }), "");
  task.task.match = MatchRule::regex;
  task.task.pattern = "(";
  EXPECT_TRUE(contains(error_of<UsageError>([&] { check_task(task); }), "task.pattern"));
}

}  // namespace
}  // namespace lacuna
