#include "evaluation/encode_pair.h"

#include <gtest/gtest.h>

#include "tests/app/byte_tokenizer.h"
#include "tests/support/support.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

TEST(EncodePair, SpacesThatEndThePromptGoToTheResponse) {
  const Tokenizer tokenizer = Tokenizer::from_json(byte_tokenizer_json(), "t.json");
  const PromptedText text = encode_pair(tokenizer, "ab ", "c");
  EXPECT_EQ(text.tokens, (std::vector<std::int32_t>{'a', 'b', ' ', 'c'}));
  EXPECT_EQ(text.prompt, 2);
  EXPECT_EQ(encode_pair(tokenizer, "", "c").prompt, 0);
  EXPECT_EQ(encode_pair(tokenizer, "  ", "c").prompt, 0);
  EXPECT_EQ(encode_pair(tokenizer, "<|endoftext|>", "c").tokens,
            (std::vector<std::int32_t>{kByteEnd, 'c'}));
  EXPECT_TRUE(contains(error_of([&] { encode_pair(tokenizer, "a", ""); }), "empty"));
}

// "a" and "b" merge to one token: of the whole nothing is left for the response.
TEST(EncodePair, AResponseThatMergedIntoThePromptIsTokenisedOnItsOwn) {
  std::string json = byte_tokenizer_json();
  json.replace(json.find(R"("merges":[])"), 11, R"("merges":["a b"])");
  json.replace(json.find(R"("vocab":{)"), 9, R"("vocab":{"ab":258,)");
  const Tokenizer tokenizer = Tokenizer::from_json(json, "t.json");
  const PromptedText text = encode_pair(tokenizer, "a", "b");
  EXPECT_EQ(text.tokens, (std::vector<std::int32_t>{'a', 'b'}));
  EXPECT_EQ(text.prompt, 1);
}

}  // namespace
}  // namespace lacuna
