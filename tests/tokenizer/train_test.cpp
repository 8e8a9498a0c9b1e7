#include "tokenizer/train.h"

#include <algorithm>

#include "tests/tokenizer/support.h"
#include "tokenizer/bpe_trainer.h"

namespace lacuna {
namespace {

using testing::contains;
using testing::error_of;
using testing::golden;
using testing::Ids;

TrainTokenizerOptions options(std::int64_t vocab_size, SplitPattern split = SplitPattern::llama3) {
  TrainTokenizerOptions o;
  o.vocab_size = vocab_size;
  o.split = split;
  o.threads = 2;
  return o;
}

TrainedTokenizer train(const std::string& text, const TrainTokenizerOptions& o,
                       std::size_t pieces = 1) {
  // Cut before lines, of which none begins with a space.
  std::vector<std::string> parts(1);
  for (const char c : text) {
    if (!parts.back().empty() && parts.back().back() == '\n' && c != '\n' && c != ' ' &&
        parts.back().size() > text.size() / pieces)
      parts.emplace_back();
    parts.back() += c;
  }
  std::size_t next = 0;
  return train_tokenizer(
      [&](std::string& piece) {
        if (next == parts.size()) return false;
        piece = parts[next++];
        return true;
      },
      o);
}

std::vector<std::string> merged(const std::vector<WordCount>& words, std::int64_t tokens,
                                std::int64_t min_count = 1) {
  const LearnedBpe bpe = learn_bpe(words, tokens, min_count);
  std::vector<std::string> merges;
  for (const auto& [left, right] : bpe.merges)
    merges.push_back(bpe.tokens[std::size_t(left)] + "+" + bpe.tokens[std::size_t(right)]);
  return merges;
}

// The example of Sennrich et al., counted by hand: e s 9, es t 9, l o 7, lo w 7, then n e 6.
TEST(LearnBpe, MergesWhatIsMostFrequent) {
  const std::vector<WordCount> words = {{"low", 5}, {"lower", 2}, {"newest", 6}, {"widest", 3}};
  EXPECT_EQ(merged(words, 261), (std::vector<std::string>{"e+s", "es+t", "l+o", "lo+w", "e+w"}));
  // 5 low, 2 lower of low e r, 6 newest of n ew est, 3 widest of w i d est.
  EXPECT_EQ(learn_bpe(words, 261, 1).corpus_tokens, 5 + 2 * 3 + 6 * 3 + 3 * 4);
}

TEST(LearnBpe, BreaksTiesByTheSmallerIds) {
  EXPECT_EQ(merged({{"cd", 3}, {"ab", 3}, {"ba", 3}}, 259),
            (std::vector<std::string>{"a+b", "b+a", "c+d"}));
}

TEST(LearnBpe, CountsOverlappingPairsAsNeighbours) {
  // aaaa has three neighbouring pairs, merged to two tokens, then one.
  EXPECT_EQ(merged({{"aaaa", 2}, {"bc", 5}}, 300, 2),
            (std::vector<std::string>{"a+a", "b+c", "aa+aa"}));
  EXPECT_EQ(merged({{"aaa", 2}}, 300, 2), (std::vector<std::string>{"a+a", "aa+a"}));
}

TEST(LearnBpe, StopsAtTheLeastCount) {
  EXPECT_EQ(merged({{"ab", 3}, {"cd", 2}, {"ef", 1}}, 300, 2),
            (std::vector<std::string>{"a+b", "c+d"}));
  EXPECT_TRUE(merged({{"a", 100}, {"b", 100}}, 300).empty());
}

// What training leaves of each word is what encoding makes of it.
TEST(LearnBpe, CorpusTokensAreWhatEncodingGives) {
  std::mt19937 random(17);
  for (int round = 0; round < 20; ++round) {
    std::string text;
    for (int w = 0; w < 300; ++w) {
      for (std::uint32_t n = 1 + random() % 12; n > 0; --n) text += char('a' + random() % 3);
      text += w % 10 == 9 ? '\n' : ' ';
    }
    const TrainedTokenizer trained = train(text, options(350 + round * 20));
    const Tokenizer tokenizer = Tokenizer::from_json(trained.json, "trained");
    ASSERT_EQ(std::int64_t(tokenizer.encode(text).size()), trained.tokens);
  }
}

TEST(TrainTokenizer, MergesAreThoseOfThePackage) {
  const std::string text = golden()["text"];
  for (const auto& [name, split] :
       {std::pair{"gpt2", SplitPattern::gpt2}, std::pair{"llama3", SplitPattern::llama3}}) {
    const TrainedTokenizer trained = train(text, options(707, split));
    const auto json = nlohmann::json::parse(trained.json);
    EXPECT_EQ(json["model"]["merges"], golden()["trained"][name]) << name;
  }
}

TEST(TrainTokenizer, SpecialTokensComeLast) {
  TrainTokenizerOptions o = options(400);
  o.special_tokens = {"<|tool|>"};
  const std::string text = golden()["text"];
  const TrainedTokenizer trained = train(text, o);
  const Tokenizer tokenizer = Tokenizer::from_json(trained.json, "trained");
  EXPECT_EQ(trained.vocab_size, 400);
  EXPECT_EQ(tokenizer.vocab_size(), 400);
  EXPECT_EQ(trained.merges, 400 - 256 - 8);
  EXPECT_EQ(trained.bytes, std::int64_t(text.size()));
  const char* const expected[] = {
      "<|mdm_mask|>",        "<|endoftext|>",     "<|pad|>",    "<|startoftext|>",
      "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|tool|>"};
  for (std::int32_t i = 0; i < 8; ++i) {
    EXPECT_EQ(tokenizer.id_of(expected[i]), 392 + i);
    EXPECT_TRUE(tokenizer.is_special(392 + i));
  }
  for (std::int32_t id = 0; id < 400; ++id) EXPECT_TRUE(tokenizer.has(id));
  EXPECT_EQ(tokenizer.mask_token(), 392);
  EXPECT_EQ(tokenizer.eos_token(), 393);
  EXPECT_EQ(tokenizer.pad_token(), 394);
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
}

TEST(TrainTokenizer, TheResultDoesNotDependOnThreadsOrPieces) {
  std::string text;
  for (int i = 0; i < 30; ++i) text += golden()["text"].get<std::string>();
  const std::string expected = train(text, options(700)).json;
  for (const int threads : {1, 2, 3, 8})
    for (const std::size_t pieces : {1, 7, 50}) {
      TrainTokenizerOptions o = options(700);
      o.threads = threads;
      EXPECT_EQ(train(text, o, pieces).json, expected);
    }
}

TEST(TrainTokenizer, BytesThatAreNotUtf8AreTrainedOn) {
  std::mt19937 random(19);
  const std::string noise = testing::random_bytes(random, 20'000);
  const TrainedTokenizer trained = train(noise, options(300));
  const Tokenizer tokenizer = Tokenizer::from_json(trained.json, "trained");
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(noise)), noise);
}

TEST(TrainTokenizer, TooLittleTextGivesFewerTokens) {
  const TrainedTokenizer trained = train("aaab aaab", options(5000));
  EXPECT_EQ(trained.vocab_size, 256 + trained.merges + 7);
  EXPECT_LT(trained.merges, 5);
  const Tokenizer tokenizer = Tokenizer::from_json(trained.json, "trained");
  EXPECT_EQ(tokenizer.vocab_size(), trained.vocab_size);
  EXPECT_TRUE(contains(error_of([] { train("", options(5000)); }), "holds no text"));
}

TEST(TrainTokenizer, NonsenseIsRefused) {
  const auto refusal = [](const TrainTokenizerOptions& o) {
    return error_of<UsageError>([&] { train("some text", o); });
  };
  EXPECT_TRUE(contains(refusal(options(262)), "262 tokens: it must have between 263"));
  EXPECT_TRUE(contains(refusal(options(-5)), "a vocabulary of -5 tokens"));
  EXPECT_TRUE(contains(refusal(options(1'000'000'000)), "16777216"));
  EXPECT_EQ(refusal(options(263)), "");
  TrainTokenizerOptions o = options(300);
  o.min_count = 0;
  EXPECT_TRUE(contains(refusal(o), "least count of 0"));
  o = options(300);
  o.special_tokens = {"<|pad|>"};
  EXPECT_TRUE(contains(refusal(o), "<|pad|> is there already"));
  o.special_tokens = {""};
  EXPECT_TRUE(contains(refusal(o), "without text"));
  o.special_tokens = {"\xff"};
  EXPECT_TRUE(contains(refusal(o), "not valid UTF-8"));
  o.special_tokens = {"a"};
  EXPECT_TRUE(contains(refusal(o), "a is also learned"));
}

}  // namespace
}  // namespace lacuna
