#include "tokenizer/cut.h"

#include "tests/tokenizer/support.h"
#include "tokenizer/unicode.h"

namespace lacuna {
namespace {

using testing::golden;
using testing::golden_tokenizer;
using testing::Ids;
using testing::tokenizer_of;

EncodeText ids_of(const Tokenizer& tokenizer) {
  return [&tokenizer](std::string_view text) { return tokenizer.encode(text); };
}

TEST(SafeCut, PrefersLinesThenWordsThenCharacters) {
  const Tokenizer gpt2 = tokenizer_of(golden_tokenizer("gpt2"));
  const auto cut = [&](std::string_view text, std::size_t limit) {
    return safe_cut(text, limit, ids_of(gpt2));
  };
  EXPECT_EQ(cut("one two\nthree four", 17), 8u);
  EXPECT_EQ(cut("one two\nthree four", 7), 3u);
  EXPECT_EQ(cut("one two three", 12), 7u);
  EXPECT_EQ(cut("\xc3\xa9\xc3\xa9", 3), 2u);
  EXPECT_EQ(cut("\x80\x80\x80\x80", 1), 1u);
}

// Two line ends are two words to GPT-2 before a letter, and one at a text's end.
TEST(SafeCut, KnowsThePattern) {
  nlohmann::json file = golden_tokenizer("gpt2");
  file["model"]["vocab"]["ĊĊ"] = 1000;
  file["model"]["merges"].push_back({"Ċ", "Ċ"});
  file["added_tokens"].clear();
  const std::string text = "one two\n\nthree";
  const Tokenizer gpt2 = tokenizer_of(file);
  EXPECT_EQ(safe_cut(text, 12, ids_of(gpt2)), 3u);
  file["pre_tokenizer"] = golden_tokenizer("llama3")["pre_tokenizer"];
  const Tokenizer llama3 = tokenizer_of(file);
  EXPECT_EQ(safe_cut(text, 12, ids_of(llama3)), 9u);
}

TEST(SafeCut, PartsHaveTheIdsOfTheWhole) {
  const std::string text = golden()["text"];
  for (const auto& [variant, json] : golden()["variants"].items()) {
    if (variant == "no_pattern" || variant == "contiguous" || variant == "string" ||
        variant == "gpt2_added" || variant == "nfc")
      continue;
    const Tokenizer tokenizer = tokenizer_of(golden_tokenizer(variant));
    const Ids whole = tokenizer.encode(text);
    for (std::size_t limit = 300; limit < text.size(); limit += 97) {
      const std::size_t cut = safe_cut(text, limit, ids_of(tokenizer));
      ASSERT_GE(cut, 1u);
      ASSERT_LE(cut, limit);
      ASSERT_TRUE(begins_character(text, cut));
      Ids parts = tokenizer.encode(std::string_view(text).substr(0, cut));
      const Ids right = tokenizer.encode(std::string_view(text).substr(cut));
      parts.insert(parts.end(), right.begin(), right.end());
      ASSERT_EQ(parts, whole) << variant << " cut at " << cut;
    }
  }
}

// Where no cut is safe there is one all the same, so that memory stays bounded.
TEST(SafeCut, AnEndlessWordIsCutBetweenCharacters) {
  std::string word;
  while (word.size() < 3000) word += "\xe6\xbc\xa2";
  const EncodeText never = [](std::string_view text) {
    return Ids{std::int32_t(text.size())};  // any cut is seen
  };
  EXPECT_EQ(safe_cut(word, 2000, never), 1998u);
  EXPECT_EQ(safe_cut(word, 3000, never), 3000u);
  EXPECT_EQ(safe_cut(word, 1, never), 1u);
}

}  // namespace
}  // namespace lacuna
