#include "tokenizer/cut.h"

#include <algorithm>
#include <map>

#include "core/check.h"
#include "tests/tokenizer/support.h"
#include "tokenizer/unicode.h"

namespace lacuna {
namespace {

using testing::golden;
using testing::golden_tokenizer;
using testing::Ids;
using testing::tokenizer_of;

std::size_t cut(const Tokenizer& tokenizer, std::string_view text, std::size_t limit) {
  return cut_between_words(tokenizer, Tokenizer::Special::as_token)(text, limit);
}

/// The ids of a text that is cut into pieces of about `wanted` bytes.
Ids in_pieces(const Tokenizer& tokenizer, std::string_view text, std::size_t wanted) {
  const CutText cut = cut_between_words(tokenizer, Tokenizer::Special::as_token);
  Ids ids;
  while (!text.empty()) {
    const auto ahead = [&](std::size_t bytes) { return text.substr(0, bytes); };
    const std::size_t length = piece_length(ahead, wanted, cut);
    EXPECT_GE(length, 1u);
    const Ids piece = tokenizer.encode(text.substr(0, length));
    ids.insert(ids.end(), piece.begin(), piece.end());
    text.remove_prefix(length);
  }
  return ids;
}

std::string repeated(std::string_view text, int times) {
  std::string all;
  for (int i = 0; i < times; ++i) all += text;
  return all;
}

/// A tokenizer whose words are those of `pattern`, with merges that make "123" one token, and eight
/// a's.
nlohmann::json with_pattern(const std::string& pattern) {
  nlohmann::json file = golden_tokenizer("llama3");
  auto& model = file["model"];
  int id = 2000;
  for (const auto& [left, right] :
       {std::pair("1", "2"), {"12", "3"}, {"a", "a"}, {"aa", "aa"}, {"aaaa", "aaaa"}}) {
    const std::string merged = std::string(left) + right;
    if (!model["vocab"].contains(merged)) model["vocab"][merged] = id++;
    model["merges"].push_back(model["merges"][0].is_string()
                                  ? nlohmann::json(std::string(left) + " " + right)
                                  : nlohmann::json{left, right});
  }
  file["added_tokens"].clear();
  file["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {{"Regex", pattern}};
  return file;
}

TEST(SafeCut, PrefersLinesThenWordsThenCharacters) {
  const Tokenizer gpt2 = tokenizer_of(golden_tokenizer("gpt2"));
  EXPECT_EQ(cut(gpt2, "one two\nthree four", 17), 8u);
  EXPECT_EQ(cut(gpt2, "one two\nthree four", 7), 3u);
  EXPECT_EQ(cut(gpt2, "one two three", 12), 7u);
  EXPECT_EQ(cut(gpt2, "\xc3\xa9\xc3\xa9", 3), 2u);
  EXPECT_EQ(cut(gpt2, "\x80\x80\x80\x80", 1), 1u);
}

// Two line ends are two words to GPT-2 before a letter, and one at a text's end.
TEST(SafeCut, KnowsThePattern) {
  nlohmann::json file = golden_tokenizer("gpt2");
  file["model"]["vocab"]["ĊĊ"] = 1000;
  file["model"]["merges"].push_back({"Ċ", "Ċ"});
  file["added_tokens"].clear();
  const std::string text = "one two\n\nthree";
  const Tokenizer gpt2 = tokenizer_of(file);
  EXPECT_EQ(cut(gpt2, text, 12), 3u);
  file["pre_tokenizer"] = golden_tokenizer("llama3")["pre_tokenizer"];
  const Tokenizer llama3 = tokenizer_of(file);
  EXPECT_EQ(cut(llama3, text, 12), 9u);
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
      const std::size_t at = cut(tokenizer, text, limit);
      ASSERT_GE(at, 1u);
      ASSERT_LE(at, limit);
      ASSERT_TRUE(begins_character(text, at));
      Ids parts = tokenizer.encode(std::string_view(text).substr(0, at));
      const Ids right = tokenizer.encode(std::string_view(text).substr(at));
      parts.insert(parts.end(), right.begin(), right.end());
      ASSERT_EQ(parts, whole) << variant << " cut at " << at;
    }
  }
}

// Groups of digits count from where the number begins, or from where it ends, so that a cut within
// them must know about either; letters without a break are one word, whatever their number.
TEST(PieceLength, LongRunsKeepTheIdsOfTheWhole) {
  const std::string rest =
      R"(|[^\r\n\p{L}\p{N}]?\p{L}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  const std::map<std::string, std::string> patterns = {
      {"threes from the left", R"(\p{N}{1,3})" + rest},
      {"threes from the right", R"(\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N})))" + rest},
      {"fours from the right", R"(\p{N}{1,4}(?=(?:\p{N}{4})*(?!\p{N})))" + rest},
      {"one by one", R"(\p{N})" + rest},
      {"whole numbers", R"(\p{N}+)" + rest}};
  const std::map<std::string, std::string> texts = {
      {"digits", repeated("123", 1200)},
      {"a number after words", "as for a number " + repeated("231", 1101) + "1"},
      {"digits of three bytes", repeated("\xef\xbc\x91\xef\xbc\x92\xef\xbc\x93", 400)},
      {"numbers, no words", repeated(repeated("123", 120) + "12-", 10)},
      {"letters", repeated("aaa", 1000)},
      {"letters of three bytes", repeated("\xe6\xbc\xa2", 1000)},
      {"spaces", str("a", repeated(" ", 3000), "a")},
      {"line ends", str(repeated("\n", 3000), "1")},
      {"punctuation", repeated("-", 3000)},
      {"bytes that are no text", repeated("\xff", 3000)}};
  for (const auto& [kind, pattern] : patterns) {
    nlohmann::json file = with_pattern(pattern);
    const Tokenizer plain = tokenizer_of(file);
    file["normalizer"] = {{"type", "NFC"}};
    const Tokenizer nfc = tokenizer_of(file);
    file["pre_tokenizer"]["pretokenizers"][1]["add_prefix_space"] = true;
    const Tokenizer prefixed = tokenizer_of(file);
    for (const auto& [name, text] : texts) {
      EXPECT_EQ(in_pieces(plain, text, 1000), plain.encode(text)) << name << ", " << kind;
      // With a character that NFC changes, so that bytes move.
      const std::string decomposed = "e\xcc\x81 " + text;
      EXPECT_EQ(in_pieces(nfc, decomposed, 1000), nfc.encode(decomposed)) << name << ", " << kind;
      EXPECT_EQ(in_pieces(prefixed, text, 1000), prefixed.encode(text)) << name << ", " << kind;
    }
  }
}

TEST(PieceLength, OfWhatPretokenizersOtherwiseDo) {
  const std::string text = golden()["text"];
  const std::string digits = repeated("123", 1500);
  for (const auto& [variant, json] : golden()["variants"].items()) {
    const Tokenizer tokenizer = tokenizer_of(golden_tokenizer(variant));
    for (const std::string& whole : {digits + text, text + digits, digits + text + digits})
      EXPECT_EQ(in_pieces(tokenizer, whole, 1000), tokenizer.encode(whole)) << variant;
  }
}

// Where no cut is safe there is one all the same, so that memory stays bounded.
TEST(PieceLength, AnEndlessWordIsCutBetweenCharacters) {
  std::string word = "a";
  while (word.size() < kLongestPiece + 4096) word += "\xe6\xbc\xa2";
  std::size_t longest = 0;
  const auto ahead = [&](std::size_t bytes) {
    longest = std::max(longest, bytes);
    return std::string_view(word).substr(0, bytes);
  };
  const CutText never = [](std::string_view, std::size_t) { return std::size_t{0}; };
  // 2^24 bytes: one, and characters of three.
  EXPECT_EQ(piece_length(ahead, 1 << 20, never), kLongestPiece);
  EXPECT_EQ((kLongestPiece - 1) % 3, 0u);
  EXPECT_EQ(longest, kLongestPiece + kCutContext);
  EXPECT_EQ(cut_anywhere("\xe6\xbc\xa2\xe6\xbc\xa2", 5), 3u);
  EXPECT_EQ(cut_anywhere("\xe6\xbc\xa2", 1), 1u);
  const auto all = [](std::size_t) { return std::string_view("abc"); };
  EXPECT_EQ(piece_length(all, 3, never), 3u);
}

TEST(WordEnds, AreThoseOfWordsAndAddedTokens) {
  using Ends = std::vector<std::size_t>;
  nlohmann::json file = golden_tokenizer("gpt2");
  const Tokenizer gpt2 = tokenizer_of(file);
  EXPECT_EQ(gpt2.word_ends("one two, 33"), (Ends{3, 7, 8, 11}));
  EXPECT_EQ(gpt2.word_ends(""), Ends{});
  file["pre_tokenizer"]["add_prefix_space"] = true;  // it is no byte of the text
  EXPECT_EQ(tokenizer_of(file).word_ends("one two, 33"), (Ends{3, 7, 8, 11}));
  file["normalizer"] = {{"type", "NFC"}};
  file["added_tokens"].clear();
  const Tokenizer nfc = tokenizer_of(file);
  EXPECT_EQ(nfc.word_ends("e\xcc\x81t\xc3\xa9 two"), (Ends{6, 10}));
}

}  // namespace
}  // namespace lacuna
