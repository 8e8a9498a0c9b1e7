#include "evaluation/answers.h"

#include <gtest/gtest.h>

#include <cmath>

#include "decoding/generate.h"
#include "tests/evaluation/constant_model.h"
#include "tests/support/support.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

/// A task on a constant model, with its files in a folder of its own.
struct Asked {
  explicit Asked(const std::map<std::string, float>& words = {}, std::int64_t max_length = 64)
      : model(words, max_length),
        subject{model.ops, model.config, model.weights, model.tokenizer, {}} {
    task.task.prompt = "{q}";
    task.likelihood.samples = 4;
    task.sampler.gen_length = 4;
  }
  Answers answers() const { return Answers(subject, task, folder / ""); }
  std::string generated(const TaskText& prompt) const;

  Folder folder;
  ConstantModel model;
  EvalModel subject;
  TaskConfig task;
};

const Record kRecord(R"({"q": "ab", "choices": ["x", "yz"], "answer": 0})", "t:1");

std::string Asked::generated(const TaskText& prompt) const {
  Answers asking = answers();
  const DecodingRequest request = asking.question(prompt, kRecord, 0);
  const std::vector<DecodingResult> results = decode(asking.decoder(), {request});
  return asking.answer(results[0].tokens, request.tokens.size());
}

TEST(Answers, BoundsOfAUniformModel) {
  Asked asked;
  Answers answers = asked.answers();
  const double ln_v = std::log(double(asked.model.config.vocab_size));
  const auto bounds = answers.score(answers.prompt("{q}", kRecord), {"x", "yz", ""}, kRecord, 0);
  ASSERT_EQ(bounds.size(), 3u);  // each with the space before it
  EXPECT_NEAR(bounds[0].nats, 2 * ln_v, 1e-4);
  EXPECT_NEAR(bounds[1].nats, 3 * ln_v, 1e-4);
  EXPECT_NEAR(bounds[2].nats, 1 * ln_v, 1e-4);
}

TEST(Answers, SolvedExamplesStandBeforeThePrompt) {
  Asked asked;
  asked.folder.write("s.jsonl",
                     "{\"q\": \"1+1\", \"choices\": [\"1\", \"2\"], \"answer\": 1}\n"
                     "{\"q\": \"2+2\", \"choices\": [\"4\", \"5\"], \"answer\": \"A\"}\n");
  asked.task.task.shots = 2;
  asked.task.task.shots_data = "s.jsonl";
  asked.task.task.prompt = "Q: {q}\nA:";
  EXPECT_EQ(asked.answers().prompt(asked.task.task.prompt, kRecord).string(),
            "Q: 1+1\nA: 2\n\nQ: 2+2\nA: 4\n\nQ: ab\nA:");
}

// What lm-evaluation-harness 0.4.13 builds for mmlu_us_foreign_policy with two shots: description,
// doc_to_text, target_delimiter " " and fewshot_delimiter "\n\n".
TEST(Answers, SolvedExamplesStandWhereThePromptHasThem) {
  Asked asked;
  const char* const mmlu =
      "{\"subject\": \"us foreign policy\", \"question\": \"%s\\nA. w\\nB. x\\nC. y\\nD. z\", "
      "\"choices\": [\"A\", \"B\", \"C\", \"D\"], \"answer\": \"%c\"}";
  const auto line = [&](const char* question, char answer) {
    char text[300];
    std::snprintf(text, sizeof text, mmlu, question, answer);
    return std::string(text);
  };
  asked.folder.write("s.jsonl", line("Who?", 'B') + "\n" + line("When?", 'D') + "\n");
  asked.task.task.shots = 2;
  asked.task.task.shots_data = "s.jsonl";
  asked.task.task.shot_prompt = "{question}\nAnswer:";
  asked.task.task.prompt =
      "The following are multiple choice questions (with answers) about {subject}.\n\n{shots}"
      "{question}\nAnswer:";
  const Record record(line("Why?", 'A'), "t:1");
  EXPECT_EQ(asked.answers().prompt(asked.task.task.prompt, record).string(),
            "The following are multiple choice questions (with answers) about us foreign policy.\n"
            "\n"
            "Who?\nA. w\nB. x\nC. y\nD. z\nAnswer: B\n\n"
            "When?\nA. w\nB. x\nC. y\nD. z\nAnswer: D\n\n"
            "Why?\nA. w\nB. x\nC. y\nD. z\nAnswer:");
  asked.task.task.shots = 0;
  EXPECT_TRUE(asked.answers()
                  .prompt(asked.task.task.prompt, record)
                  .string()
                  .starts_with("The following are multiple choice questions (with answers) about "
                               "us foreign policy.\n\nWhy?"));
}

TEST(Answers, AMissingExampleIsAnError) {
  Asked asked;
  asked.folder.write("s.jsonl", "{\"q\": \"1\", \"choices\": [\"1\", \"2\"], \"answer\": 1}\n");
  asked.task.task.shots = 2;
  asked.task.task.shots_data = "s.jsonl";
  EXPECT_TRUE(contains(error_of([&] { asked.answers(); }), "holds 1 records; task.shots is 2"));
}

TEST(Answers, ALongPromptLosesItsBeginningAndCountsOnce) {
  Asked asked({}, 8);
  Answers answers = asked.answers();
  const TaskText prompt = TaskText::written("0123456789");
  answers.score(prompt, {"x", "yz"}, kRecord, 0);
  EXPECT_EQ(answers.cut_prompts(), 1);
  answers.score(TaskText::written("01234"), {"x", "y"}, kRecord, 1);
  EXPECT_EQ(answers.cut_prompts(), 1);
  (void)answers.question(prompt, kRecord, 2);
  EXPECT_EQ(answers.cut_prompts(), 2);
  EXPECT_TRUE(contains(error_of([&] { answers.score(prompt, {"0123456"}, kRecord, 0); }),
                       "t:1: an answer of 8 tokens leaves no room for its prompt"));
}

TEST(Answers, SpecialTokensThatTheTaskWritesAreTokens) {
  Asked asked({}, 16);
  Answers answers = asked.answers();
  std::string ends;
  for (int i = 0; i < 12; ++i) ends += "<|endoftext|>";
  answers.score(answers.prompt(ends + "{q}", kRecord), {"x"}, kRecord, 0);
  EXPECT_EQ(answers.cut_prompts(), 0);  // 12 + 2 + 2 tokens
  const Record forged("{\"q\": \"" + ends + "\"}", "t:2");
  answers.score(answers.prompt("{q}", forged), {"x"}, forged, 0);
  EXPECT_EQ(answers.cut_prompts(), 1);  // 156 bytes
}

TEST(Answers, GenerationEndsAtTheStopAndAtTheEndToken) {
  Asked asked({{"so 18. Question:", 9.0f}});
  asked.task.sampler.gen_length = 2;
  const TaskText prompt = TaskText::written("q");
  EXPECT_EQ(asked.generated(prompt), "so 18. Question:so 18. Question:");
  asked.task.task.stop = "Question:";
  EXPECT_EQ(asked.generated(prompt), "so 18. ");
  asked.model.set_logit(kByteEnd, 12);
  EXPECT_EQ(asked.generated(prompt), "");
}

TEST(Answers, EmptyChoices) {
  Asked asked;
  asked.task.task.choice_prefix = "";
  Answers answers = asked.answers();
  EXPECT_TRUE(contains(error_of([&] {
                         answers.score(TaskText::written("q"), {"a", ""}, kRecord, 0);
                       }),
                       "t:1: a choice is empty"));
}

TEST(Answers, LogitsThatAreNotFiniteAreAnError) {
  const auto error = [](const Asked& asked) {
    return error_of([&] { asked.answers().score(TaskText::written("q"), {"a", "b"}, kRecord, 0); });
  };
  Asked asked;
  EXPECT_EQ(error(asked), "");
  // One logit, of a token that is not asked for.
  asked.model.set_logit(7, std::numeric_limits<float>::infinity());
  EXPECT_TRUE(contains(error(asked), "logits are not finite"));
  asked.model.set_logit(7, std::numeric_limits<float>::quiet_NaN());
  EXPECT_TRUE(contains(error(asked), "logits are not finite"));
  asked.model.set_logit(7, 0);
  asked.model.break_weights();
  EXPECT_TRUE(contains(error(asked), "logits are not finite"));
  EXPECT_TRUE(contains(error_of([&] { asked.generated(TaskText::written("q")); }),
                       "logits are not finite"));
  EXPECT_TRUE(contains(error_of([&] {
                         Answers answers = asked.answers();
                         decode(answers.decoder(), {answers.gaps({'a', kByteMask}, 0)});
                       }),
                       "logits are not finite"));
}

}  // namespace
}  // namespace lacuna
