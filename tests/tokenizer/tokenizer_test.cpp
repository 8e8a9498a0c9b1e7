#include "tokenizer/tokenizer.h"

#include <algorithm>
#include <thread>

#include "tests/tokenizer/support.h"

namespace lacuna {
namespace {

using testing::contains;
using testing::error_of;
using testing::golden;
using testing::golden_tokenizer;
using testing::Ids;
using testing::random_bytes;
using testing::tokenizer_of;

TEST(Tokenizer, EveryTextComesBackByteForByte) {
  std::mt19937 random(7);
  for (const char* variant : {"gpt2", "llama3", "llada", "o200k", "deepseek", "bloom",
                              "merged_with_next", "look_around", "odd", "no_pattern"}) {
    const Tokenizer tokenizer = tokenizer_of(golden_tokenizer(variant));
    std::string all;
    for (int b = 0; b < 256; ++b) all += char(b);
    std::vector<std::string> texts{"", all, golden()["text"]};
    for (int i = 0; i < 200; ++i) texts.push_back(random_bytes(random, random() % 80));
    // Valid text with single bytes broken, and cut anywhere.
    for (int i = 0; i < 200; ++i) {
      std::string text = texts[2].substr(random() % 1000, random() % 300);
      if (!text.empty()) text[random() % text.size()] = char(random());
      texts.push_back(text);
    }
    for (const std::string& text : texts)
      for (const auto special : {Tokenizer::Special::as_token, Tokenizer::Special::as_text}) {
        const Ids ids = tokenizer.encode(text, special);
        ASSERT_EQ(tokenizer.decode(ids, false), text) << variant;
        for (const std::int32_t id : ids) ASSERT_TRUE(tokenizer.has(id));
      }
  }
}

TEST(Tokenizer, InvalidBytesAreByteTokens) {
  const Tokenizer tokenizer = tokenizer_of(golden_tokenizer("llama3"));
  // E2 82 AC is the euro sign; without its end it is two bytes, each by itself.
  EXPECT_EQ(tokenizer.encode(" the\xe2\x82 the"),
            (Ids{tokenizer.id_of("Ġthe").value(), tokenizer.id_of("â").value(),
                 tokenizer.id_of("Ĥ").value(), tokenizer.id_of("Ġthe").value()}));
}

TEST(Tokenizer, SpecialTokensAreIdsOrText) {
  const Tokenizer tokenizer = tokenizer_of(golden_tokenizer("llama3"));
  const std::string text = " the<|endoftext|><|mdm_mask|> the";
  const auto eos = std::int32_t(tokenizer.eos_token()), mask = std::int32_t(tokenizer.mask_token());
  const Ids ids = tokenizer.encode(text);
  EXPECT_EQ(ids,
            (Ids{tokenizer.id_of("Ġthe").value(), eos, mask, tokenizer.id_of("Ġthe").value()}));
  EXPECT_EQ(tokenizer.decode(ids), " the the");
  EXPECT_EQ(tokenizer.decode(ids, false), text);
  for (const std::int32_t id : tokenizer.encode(text, Tokenizer::Special::as_text))
    EXPECT_FALSE(tokenizer.is_special(id));
  EXPECT_TRUE(tokenizer.is_special(eos));
  EXPECT_FALSE(tokenizer.is_special(0));
  EXPECT_FALSE(tokenizer.is_special(-1));
  EXPECT_FALSE(tokenizer.is_special(1'000'000));
}

// Which tokens are structure does not hang on a flag that tools forget to set.
TEST(Tokenizer, MaskEndAndPaddingAreSpecialWithoutTheFlag) {
  nlohmann::json file = golden_tokenizer("llama3");
  for (auto& token : file["added_tokens"]) token["special"] = false;
  const Tokenizer tokenizer = tokenizer_of(file);
  const std::string text = "<|endoftext|><|mdm_mask|><|pad|>";
  const Ids ids = tokenizer.encode(text);
  EXPECT_EQ(ids.size(), 3u);
  for (const std::int32_t id : ids) EXPECT_TRUE(tokenizer.is_special(id));
  EXPECT_EQ(tokenizer.decode(ids), "");
  const Ids as_text = tokenizer.encode(text, Tokenizer::Special::as_text);
  for (const std::int32_t id : as_text) EXPECT_FALSE(tokenizer.is_special(id));
  EXPECT_EQ(tokenizer.decode(as_text), text);
}

TEST(Tokenizer, AddedTokensCanBeMadeSpecial) {
  nlohmann::json file = golden_tokenizer("llama3");
  file["model"]["ignore_merges"] = true;
  const auto id = std::int32_t(file["model"]["vocab"].size() + file["added_tokens"].size());
  for (const auto& [content, number] : {std::pair("<|im_end|>", id), {"word", id + 1}})
    file["added_tokens"].push_back({{"id", number},
                                    {"content", content},
                                    {"single_word", false},
                                    {"lstrip", false},
                                    {"rstrip", false},
                                    {"normalized", true},
                                    {"special", false}});
  const Tokenizer plain = tokenizer_of(file);
  EXPECT_TRUE(plain.is_added(id));
  EXPECT_FALSE(plain.is_added(0));
  EXPECT_FALSE(plain.is_special(id));
  const std::int32_t closing[] = {id};
  const Tokenizer closed = plain.with_special(closing);
  EXPECT_TRUE(closed.is_special(id));
  EXPECT_FALSE(closed.is_special(id + 1));
  EXPECT_FALSE(plain.is_special(id));  // which stays as it was
  const auto ids = [](const Tokenizer& t) {
    return t.encode("<|im_end|>word", Tokenizer::Special::as_text);
  };
  EXPECT_EQ(ids(plain), (Ids{id, id + 1}));
  const Ids as_text = ids(closed);
  EXPECT_EQ(std::count(as_text.begin(), as_text.end(), id), 0);
  EXPECT_EQ(as_text.back(), id + 1);
  EXPECT_EQ(closed.encode("<|im_end|>word"), (Ids{id, id + 1}));
  EXPECT_EQ(closed.json(), plain.json());
}

// With ignore_merges a word that is a token becomes it: a special token must not, when it is text.
TEST(Tokenizer, NoTextForgesASpecialToken) {
  nlohmann::json file = golden_tokenizer("no_pattern");
  file["model"]["ignore_merges"] = true;
  file["added_tokens"] = nlohmann::json::array();
  const auto id = std::int32_t(file["model"]["vocab"].size());
  file["model"]["vocab"]["<|endoftext|>"] = id;
  file["added_tokens"].push_back({{"id", id},
                                  {"content", "<|endoftext|>"},
                                  {"single_word", false},
                                  {"lstrip", false},
                                  {"rstrip", false},
                                  {"normalized", false},
                                  {"special", true}});
  const Tokenizer tokenizer = tokenizer_of(file);
  EXPECT_EQ(tokenizer.encode("<|endoftext|>"), Ids{id});
  const Ids as_text = tokenizer.encode("<|endoftext|>", Tokenizer::Special::as_text);
  EXPECT_GT(as_text.size(), 1u);
  EXPECT_EQ(tokenizer.decode(as_text), "<|endoftext|>");
}

TEST(Tokenizer, TokensByName) {
  const Tokenizer tokenizer = tokenizer_of(golden_tokenizer("llama3"));
  EXPECT_EQ(tokenizer.vocab_size(), 523);
  EXPECT_EQ(tokenizer.eos_token(), 520);
  EXPECT_EQ(tokenizer.mask_token(), 521);
  EXPECT_EQ(tokenizer.pad_token(), 522);
  EXPECT_EQ(tokenizer.id_of("<|pad|>"), 522);
  EXPECT_EQ(tokenizer.id_of("!"), 0);
  EXPECT_EQ(tokenizer.id_of("no such token"), std::nullopt);

  nlohmann::json file = golden_tokenizer("llama3");
  file["added_tokens"].erase(2);
  EXPECT_EQ(tokenizer_of(file).pad_token(), 520) << "the end of text, without a token of its own";
  file["added_tokens"].clear();
  EXPECT_EQ(tokenizer_of(file).mask_token(), -1);
  EXPECT_EQ(tokenizer_of(file).eos_token(), -1);
  EXPECT_EQ(tokenizer_of(file).pad_token(), -1);
}

TEST(Tokenizer, AFileIsKeptByteForByte) {
  const testing::Folder folder;
  const std::string json = golden_tokenizer("gpt2").dump(3) + "\n\n ";
  EXPECT_EQ(Tokenizer::load(folder.write("t.json", json)).json(), json);
  EXPECT_TRUE(contains(error_of([&] { Tokenizer::load(folder / "none.json"); }), "none.json"));
  EXPECT_TRUE(contains(error_of([&] { Tokenizer::load(folder / ""); }), "is a folder"));
}

TEST(Tokenizer, IdsOfNoTokenAreNamed) {
  nlohmann::json file = golden_tokenizer("gpt2");
  file["added_tokens"].clear();
  file["model"]["vocab"]["the end"] = 600;
  const Tokenizer tokenizer = tokenizer_of(file);
  EXPECT_EQ(tokenizer.vocab_size(), 601);
  const auto decode = [&](const Ids& ids) { return error_of([&] { tokenizer.decode(ids); }); };
  EXPECT_EQ(decode({1, 2, 600}), "");
  EXPECT_TRUE(contains(decode({1, 601}), "id 601 (number 2 of 2)"));
  EXPECT_TRUE(contains(decode({-1}), "id -1 (number 1 of 1)"));
  EXPECT_TRUE(contains(decode({550, 1}), "id 550 (number 1 of 2)")) << "a gap";
  EXPECT_FALSE(tokenizer.has(550));
}

TEST(Tokenizer, ManyThreadsShareOne) {
  const Tokenizer tokenizer = tokenizer_of(golden_tokenizer("gpt2_added"));
  const std::string text = golden()["text"];
  const Ids expected = tokenizer.encode(text);
  std::vector<std::thread> threads;
  std::vector<int> same(8);
  for (std::size_t t = 0; t < same.size(); ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 20; ++i) {
        const Ids ids = tokenizer.encode(text);
        same[t] += ids == expected;
        same[t] += tokenizer.decode(ids, false).size() > 0;
      }
    });
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(same, std::vector<int>(8, 40));
}

// Added tokens that strip may even take what a token before them has taken; nothing may break.
TEST(Tokenizer, StrippingTokensSideBySide) {
  const Tokenizer tokenizer = tokenizer_of(golden_tokenizer("gpt2_added"));
  std::mt19937 random(11);
  const std::vector<std::string> parts = {"<r>",      "  ",  "\n\n", "<mask>", " ",
                                          "light of", "foo", "\n",   "é",      "<|end|>",
                                          "<|end",    "don", "\xe9"};
  for (int i = 0; i < 3000; ++i) {
    std::string text;
    for (int k = 0; k < 6; ++k) text += parts[random() % parts.size()];
    for (const std::int32_t id : tokenizer.encode(text)) ASSERT_TRUE(tokenizer.has(id));
  }
}

}  // namespace
}  // namespace lacuna
