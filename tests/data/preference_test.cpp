// Pairs of replies: their records, their token file, and as they are read for training.
#include "data/preference_pairs.h"
#include "data/preference_record.h"
#include "data/prepare_chat.h"
#include "data/sft_examples.h"
#include "tests/data/support.h"

namespace lacuna {
namespace {

using testing::byte_tokenizer;
using testing::contains;
using testing::error_of;
using testing::Folder;

// --- records ---------------------------------------------------------------------------------

PreferenceRecord parsed(const std::string& record) {
  std::set<std::string> ignored;
  return parse_preference(record, "f:1", ignored);
}
std::string refusal(const std::string& record) {
  return error_of([&] { parsed(record); });
}

const Dialogue kYes = {{"user", "q"}, {"assistant", "yes"}};
const Dialogue kNo = {{"user", "q"}, {"assistant", "no"}};

TEST(PreferenceRecord, EveryFormThatPeopleHave) {
  for (
      const char* record : {
          // TRL
          R"({"prompt": "q", "chosen": "yes", "rejected": "no"})",
          R"({"prompt": [{"role": "user", "content": "q"}],
               "chosen": [{"role": "assistant", "content": "yes"}],
               "rejected": [{"role": "assistant", "content": "no"}]})",
          R"({"chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "yes"}],
               "rejected": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "no"}]})",
          // UltraFeedback
          R"({"prompt": "q", "prompt_id": "1", "score_chosen": 8.5,
               "chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "yes"}],
               "rejected": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "no"}]})",
          // Alpaca
          R"({"instruction": "q", "input": "", "chosen": "yes", "rejected": "no"})",
          // ShareGPT
          R"({"conversations": [{"from": "human", "value": "q"}],
               "chosen": {"from": "gpt", "value": "yes"}, "rejected": {"from": "gpt", "value": "no"}})",
          // OpenAI
          R"({"input": {"messages": [{"role": "user", "content": "q"}], "tools": []},
               "preferred_output": [{"role": "assistant", "content": "yes"}],
               "non_preferred_output": [{"role": "assistant", "content": "no"}]})",
          // Orca
          R"({"question": "q", "chosen": "yes", "rejected": "no"})",
      }) {
    const PreferenceRecord pair = parsed(record);
    EXPECT_EQ(pair.chosen, kYes) << record;
    EXPECT_EQ(pair.rejected, kNo) << record;
  }
}

TEST(PreferenceRecord, ASystemMessageIsPartOfBoth) {
  const PreferenceRecord pair =
      parsed(R"({"system": "s", "question": "q", "chosen": "yes", "rejected": "no"})");
  EXPECT_EQ(pair.chosen, (Dialogue{{"system", "s"}, kYes[0], kYes[1]}));
  EXPECT_EQ(pair.rejected, (Dialogue{{"system", "s"}, kNo[0], kNo[1]}));
}

TEST(PreferenceRecord, WhatIsNoPair) {
  EXPECT_TRUE(contains(refusal(R"({"prompt": "q", "chosen": "yes"})"),
                       "f:1: is no pair of replies: it has no \"rejected\""));
  EXPECT_TRUE(contains(refusal(R"({"prompt": "q", "response": "yes"})"), "has no \"chosen\""));
  EXPECT_TRUE(contains(refusal(R"({"preferred_output": "a", "non_preferred_output": "b"})"),
                       "no \"messages\" in \"input\""));
  EXPECT_TRUE(contains(refusal(R"({"chosen": "yes", "rejected": "no"})"), "no \"prompt\""));
  EXPECT_TRUE(contains(refusal(R"({"prompt": 3, "chosen": "yes", "rejected": "no"})"),
                       "\"prompt\" is not a string but number"));
  EXPECT_TRUE(contains(refusal("{\"prompt\": \"q\", \"chosen\": \"yes\""), "f:1"));
}

TEST(PreferenceRecord, DialoguesThatDifferBeforeTheLastReply) {
  const std::string chosen =
      R"([{"role": "user", "content": "q"}, {"role": "assistant", "content": "yes"}])";
  EXPECT_TRUE(contains(
      refusal(
          R"({"chosen": )" + chosen +
          R"(, "rejected": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "no"}]})"),
      "differ before their last reply"));
  EXPECT_TRUE(contains(
      refusal(R"({"chosen": )" + chosen + R"(, "rejected": [{"role": "user", "content": "q"}]})"),
      "\"rejected\" does not end with a reply"));
  EXPECT_TRUE(contains(
      refusal(R"({"prompt": "other", "chosen": )" + chosen + R"(, "rejected": )" + chosen + "}"),
      "is not their first message"));
}

TEST(PreferenceRecord, KeysThatWouldChangeTheMeaning) {
  EXPECT_TRUE(contains(
      refusal(R"({"prompt": "q", "chosen": "yes", "rejected": "no", "images": ["a.png"]})"),
      "\"images\" of the record would be dropped"));
  EXPECT_TRUE(contains(
      refusal(R"({"input": {"messages": [{"role": "user", "content": "q"}], "tools": [{"a": 1}]},
                  "preferred_output": [{"role": "assistant", "content": "yes"}],
                  "non_preferred_output": [{"role": "assistant", "content": "no"}]})"),
      "\"tools\" of the record would be dropped"));
}

// --- files -----------------------------------------------------------------------------------

class Preferences : public ::testing::Test {
 protected:
  Preferences() {
    options_.tokenizer =
        folder_.write("tokenizer.json",
                      byte_tokenizer({"<|mdm_mask|>", "<|endoftext|>", "<|startoftext|>",
                                      "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"}));
    options_.output = folder_ / "pairs.h5";
    options_.threads = 2;
  }
  PrepareChatResult prepare(const std::string& lines,
                            ChatRecords records = ChatRecords::preferences) {
    options_.inputs = {folder_.write("pairs.jsonl", lines)};
    return prepare_chat(options_, {}, records);
  }
  std::string response(const PromptedText& text) const {
    return Tokenizer::load(options_.tokenizer)
        .decode(std::span(text.tokens).subspan(std::size_t(text.prompt)), false);
  }

  Folder folder_;
  PrepareOptions options_;
};

const std::string kPair = R"({"prompt": "question", "chosen": "good", "rejected": "bad one"})";

TEST_F(Preferences, ARecordGivesTheChosenAndTheRejectedResponseToOnePrompt) {
  const PrepareChatResult r = prepare(kPair + "\n" + kPair);
  EXPECT_EQ(r.dialogues, 2);
  EXPECT_EQ(r.train.documents, 4);
  const TokenFile file(options_.output);
  EXPECT_TRUE(file.has_pairs());
  const PreferencePairs pairs(file, 100, 1);
  ASSERT_EQ(pairs.size(), 2);
  const PreferencePair pair = pairs.at(1);
  EXPECT_EQ(response(pair.chosen), "good<|eot_id|><|endoftext|>");
  EXPECT_EQ(response(pair.rejected), "bad one<|eot_id|><|endoftext|>");
  EXPECT_EQ(pair.chosen.prompt, pair.rejected.prompt);
  EXPECT_GT(pair.chosen.prompt, 0);
}

TEST_F(Preferences, EqualAndEmptyRepliesAreSkippedAndCounted) {
  const PrepareChatResult r = prepare(
      kPair + "\n" + R"({"prompt": "q", "chosen": "same ", "rejected": " same"})" + "\n" +
      R"({"prompt": "q", "chosen": " ", "rejected": "x"})" + "\n" +
      R"({"prompt": [{"role": "assistant", "content": "q"}], "chosen": "a", "rejected": "x"})");
  EXPECT_EQ(r.train.documents, 2);
  EXPECT_EQ(r.skipped[std::size_t(ChatSkip::same_replies)], 1);
  EXPECT_EQ(r.skipped[std::size_t(ChatSkip::empty_response)], 1);
  EXPECT_EQ(r.skipped[std::size_t(ChatSkip::roles_out_of_order)], 1);
  EXPECT_TRUE(contains(r.first_skipped[std::size_t(ChatSkip::same_replies)], "pairs.jsonl:2"));
}

TEST_F(Preferences, ValidationTakesWholePairs) {
  options_.validation = folder_ / "validation.h5";
  options_.validation_fraction = 0.3;
  std::string lines;
  for (int i = 0; i < 40; ++i) lines += kPair + "\n";
  const PrepareChatResult r = prepare(lines);
  EXPECT_EQ(r.train.documents + r.validation.documents, 80);
  for (const std::string& path : {options_.output, options_.validation})
    EXPECT_GT(PreferencePairs(TokenFile(path), 100, 1).size(), 0);
}

TEST_F(Preferences, LongPromptsAreCutOffBothTexts) {
  prepare(kPair);
  const TokenFile file(options_.output);
  const PreferencePairs whole(file, 1000, 1);
  EXPECT_EQ(whole.cut_prompts(), 0);
  const PreferencePair all = whole.at(0);
  const auto longest = std::int64_t(all.rejected.tokens.size());
  EXPECT_EQ(whole.longest(), longest);
  const PreferencePairs pairs(file, longest - 3, 1);
  EXPECT_EQ(pairs.cut_prompts(), 1);
  EXPECT_EQ(pairs.longest(), longest - 3);
  const PreferencePair cut = pairs.at(0);
  EXPECT_EQ(cut.chosen.prompt, all.chosen.prompt - 3);
  EXPECT_EQ(cut.rejected.prompt, cut.chosen.prompt);
  EXPECT_EQ(cut.chosen.tokens, std::vector(all.chosen.tokens.begin() + 3, all.chosen.tokens.end()));
  // The rejected response alone is 9 tokens: no room is left for a token of prompt.
  EXPECT_TRUE(contains(error_of([&] { PreferencePairs(file, 9, 1); }),
                       "longer than data.sequence_length = 9"));
}

TEST_F(Preferences, AreNoExamplesOfFineTuningAndExamplesAreNoPairs) {
  prepare(kPair);
  EXPECT_TRUE(contains(error_of([&] { SftExamples(TokenFile(options_.output), 100, 1); }),
                       "for lacuna dpo"));
  prepare(R"({"prompt": "q", "response": "a"})", ChatRecords::dialogues);
  EXPECT_TRUE(contains(error_of([&] { PreferencePairs(TokenFile(options_.output), 100, 1); }),
                       "--format preference"));
}

TEST_F(Preferences, PairsOfDifferentPromptsAreDamage) {
  TokenFileWriter writer(options_.output, {20, 18, 19, "", true, true});
  for (const std::int32_t prompt : {3, 4}) {
    writer.append(std::vector<std::int32_t>{1, prompt}, false);
    writer.append(std::vector<std::int32_t>{5, 19}, true);
    writer.end_document();
  }
  writer.finish();
  writer.commit();
  EXPECT_TRUE(contains(error_of([&] { PreferencePairs(TokenFile(options_.output), 100, 1); }),
                       "documents 0 and 1 are a pair of responses, but to different prompts"));
}

}  // namespace
}  // namespace lacuna
