#include "evaluation/encode_text.h"

#include <gtest/gtest.h>

#include "tests/app/byte_tokenizer.h"
#include "tests/support/support.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

PromptedText encode_pair(const Tokenizer& tokenizer, const std::string& prompt,
                         const std::string& response) {
  return lacuna::encode_pair(tokenizer, TaskText::written(prompt), TaskText::written(response));
}

TEST(EncodeText, SpecialTokensAreTokensWhereTheTaskWritesThem) {
  const Tokenizer tokenizer = Tokenizer::from_json(byte_tokenizer_json(), "t.json");
  const std::string end = "<|endoftext|>";
  TaskText text = TaskText::written(end + "a" + end + end);
  text += TaskText::from_record("b" + end);
  text += TaskText::written("c" + end);
  std::vector<std::int32_t> wanted = {kByteEnd, 'a', kByteEnd, kByteEnd, 'b'};
  wanted.insert(wanted.end(), end.begin(), end.end());
  wanted.insert(wanted.end(), {'c', kByteEnd});
  EXPECT_EQ(encode_text(tokenizer, text), wanted);
  // Not even put together from both.
  text = TaskText::written("<|endof");
  text += TaskText::from_record("text|>");
  EXPECT_EQ(encode_text(tokenizer, text), std::vector<std::int32_t>(end.begin(), end.end()));
}

// What a task and a record say is one text to the tokenizer.
TEST(EncodeText, MergesReachAcross) {
  std::string json = byte_tokenizer_json();
  json.replace(json.find(R"("merges":[])"), 11, R"("merges":["a b"])");
  json.replace(json.find(R"("vocab":{)"), 9, R"("vocab":{"ab":256,)");
  json.replace(json.find(R"("id":257)"), 8, R"("id":258)");
  json.replace(json.find(R"("id":256)"), 8, R"("id":257)");
  const Tokenizer tokenizer = Tokenizer::from_json(json, "t.json");
  TaskText text = TaskText::written("a");
  text += TaskText::from_record("b");
  EXPECT_EQ(encode_text(tokenizer, text), (std::vector<std::int32_t>{256}));
}

TEST(EncodePair, SpacesThatEndThePromptGoToTheResponse) {
  const Tokenizer tokenizer = Tokenizer::from_json(byte_tokenizer_json(), "t.json");
  const PromptedText text = encode_pair(tokenizer, "ab ", "c");
  EXPECT_EQ(text.tokens, (std::vector<std::int32_t>{'a', 'b', ' ', 'c'}));
  EXPECT_EQ(text.prompt, 2);
  EXPECT_EQ(encode_pair(tokenizer, "", "c").prompt, 0);
  EXPECT_EQ(encode_pair(tokenizer, "  ", "c").prompt, 0);
  EXPECT_EQ(encode_pair(tokenizer, "<|endoftext|>", "c").tokens,
            (std::vector<std::int32_t>{kByteEnd, 'c'}));
  // As a chat template ends: the line ends are not part of the answer.
  EXPECT_EQ(encode_pair(tokenizer, "a<|endoftext|>\n\n", "c").prompt, 4);
  EXPECT_EQ(encode_pair(tokenizer, "<|endoftext|>", " c").prompt, 1);
  // White space is Python's, whose str.rstrip() lm-evaluation-harness cuts with.
  EXPECT_EQ(encode_pair(tokenizer, "a\u3000\u0085", "c").prompt, 1);
  EXPECT_EQ(encode_pair(tokenizer, "a\u200b", "c").prompt, 4);
  EXPECT_TRUE(contains(error_of([&] { encode_pair(tokenizer, "a", ""); }), "empty"));
}

// "a" and "b" merge to one token: of the whole nothing is left for the response.
TEST(EncodePair, AResponseThatMergedIntoThePromptIsTokenisedOnItsOwn) {
  std::string json = byte_tokenizer_json();
  json.replace(json.find(R"("merges":[])"), 11, R"("merges":["a b"])");
  json.replace(json.find(R"("vocab":{)"), 9, R"("vocab":{"ab":256,)");
  // One token more than bytes: the special tokens move up by one.
  json.replace(json.find(R"("id":257)"), 8, R"("id":258)");
  json.replace(json.find(R"("id":256)"), 8, R"("id":257)");
  const Tokenizer tokenizer = Tokenizer::from_json(json, "t.json");
  const PromptedText text = encode_pair(tokenizer, "a", "b");
  EXPECT_EQ(text.tokens, (std::vector<std::int32_t>{'a', 'b'}));
  EXPECT_EQ(text.prompt, 1);
}

}  // namespace
}  // namespace lacuna
