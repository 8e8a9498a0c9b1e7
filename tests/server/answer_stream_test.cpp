#include "server/answer_stream.h"

#include <gtest/gtest.h>

#include "server/completion_answer.h"
#include "tests/app/byte_tokenizer.h"

namespace lacuna {
namespace {

using testing::byte_tokenizer_json;
using testing::kByteEnd;
using testing::kByteMask;

const Tokenizer& bytes() {
  static const Tokenizer tokenizer = Tokenizer::from_json(byte_tokenizer_json(), "bytes");
  return tokenizer;
}
std::vector<std::int32_t> ids(const std::string& text) {
  std::vector<std::int32_t> out;
  for (const char c : text) out.push_back(static_cast<unsigned char>(c));
  return out;
}
AnswerEnds ends(std::vector<std::string> stops = {}, std::int64_t most = 1000) {
  return {.tokens = {kByteEnd}, .stops = std::move(stops), .max_tokens = most};
}

TEST(AnswerStream, HoldsBackHalfCharacters) {
  AnswerStream stream(bytes(), ends());
  EXPECT_EQ(stream.add(ids("a\xe2\x82")), "a");
  EXPECT_EQ(stream.add(ids("\xac")), "\xe2\x82\xac");
  EXPECT_EQ(stream.add(ids("\xf0\x9f")), "");
  EXPECT_EQ(stream.finish(), "\xef\xbf\xbd\xef\xbf\xbd");
  EXPECT_EQ(stream.text(), "a\xe2\x82\xac\xef\xbf\xbd\xef\xbf\xbd");
  EXPECT_STREQ(stream.finish_reason(), "length");
}

TEST(AnswerStream, BytesThatAreNoCharacterWaitForNothing) {
  AnswerStream stream(bytes(), ends());
  EXPECT_EQ(stream.add(ids("\xff")), "\xef\xbf\xbd");
  EXPECT_EQ(stream.add(ids("\x80\x80")), "\xef\xbf\xbd\xef\xbf\xbd");
}

TEST(AnswerStream, StopsAtTheFirstStopText) {
  AnswerStream stream(bytes(), ends({"END", "\n\n"}));
  EXPECT_EQ(stream.add(ids("one\n")), "one");
  EXPECT_EQ(stream.add(ids("two E")), "\ntwo ");
  EXPECT_EQ(stream.add(ids("N")), "");
  EXPECT_EQ(stream.add(ids("E")), "EN");
  EXPECT_FALSE(stream.complete());
  EXPECT_EQ(stream.add(ids("NDmore")), "");
  EXPECT_TRUE(stream.complete());
  EXPECT_STREQ(stream.finish_reason(), "stop");
  EXPECT_EQ(stream.text(), "one\ntwo EN");
}

TEST(AnswerStream, EndsAtTheEndTokenAndAtTheMostTokens) {
  AnswerStream stream(bytes(), ends());
  std::vector<std::int32_t> tokens = ids("ab");
  tokens.push_back(kByteEnd);
  tokens.push_back('c');
  EXPECT_EQ(stream.add(tokens), "ab");
  EXPECT_EQ(stream.tokens(), 2);
  EXPECT_STREQ(stream.finish_reason(), "stop");
  AnswerStream limited(bytes(), ends({"zz"}, 3));
  EXPECT_EQ(limited.add(ids("abz")), "abz");
  EXPECT_TRUE(limited.complete());
  EXPECT_STREQ(limited.finish_reason(), "length");
  EXPECT_EQ(limited.add(ids("z")), "");
}

// However the tokens are grouped, the text is the same.
TEST(AnswerStream, GroupingChangesNothing) {
  const std::vector<std::int32_t> all =
      ids("h\xc3\xa9llo \xf0\x9f\x98\x80 w\xff"
          "orld STO STOP tail");
  for (std::size_t group = 1; group <= all.size(); ++group) {
    AnswerStream stream(bytes(), ends({"STOP"}));
    std::string text;
    for (std::size_t at = 0; at < all.size(); at += group)
      text += stream.add(std::span(all).subspan(at, std::min(group, all.size() - at)));
    text += stream.finish();
    EXPECT_EQ(text,
              "h\xc3\xa9llo \xf0\x9f\x98\x80 w\xef\xbf\xbd"
              "orld STO ")
        << group;
    EXPECT_EQ(text, stream.text());
  }
}

TEST(SettledTokens, AreContiguousAndFinal) {
  ModelConfig config;
  config.mask_token = kByteMask;
  DecodingOptions options;
  options.gen_length = 8;
  options.block_length = 4;
  options.strategy = StrategyKind::fixed;
  const std::int32_t m = kByteMask;
  const std::vector<std::int32_t> tokens = {1, 2, 3, 4, m, 6, m, m, m, m};
  const DecodingStep step{.block = 0, .tokens = tokens};
  EXPECT_EQ(settled_tokens(step, 2, options, config), 2);
  EXPECT_EQ(settled_tokens(step, 4, options, config), 0);
  // A strategy that revises has settled the blocks before the present one.
  options.strategy = StrategyKind::wino;
  EXPECT_EQ(settled_tokens(step, 2, options, config), 0);
  const std::vector<std::int32_t> more = {1, 2, 3, 4, 5, 6, 7, 8, m, m};
  EXPECT_EQ(settled_tokens({.block = 1, .tokens = more}, 2, options, config), 4);
  // The mask token may be left in a block that is done.
  options.strategy = StrategyKind::fixed;
  EXPECT_EQ(settled_tokens({.block = 1, .tokens = tokens}, 2, options, config), 4);
  options.strategy = StrategyKind::wino;
  // Blocks of a block-causal model begin at position 0, before the prompt's end.
  config.attention = Attention::block_causal;
  EXPECT_EQ(settled_tokens({.block = 1, .tokens = more}, 2, options, config), 2);
  config.attention = Attention::causal;
  EXPECT_EQ(settled_tokens({.tokens = std::span(more).first(8)}, 2, options, config), 6);
}

}  // namespace
}  // namespace lacuna
