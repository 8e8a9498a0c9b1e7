// Files that are damaged, contradict themselves, or ask for what is not there.
#include "tests/tokenizer/support.h"

namespace lacuna {
namespace {

using Json = nlohmann::json;
using testing::contains;
using testing::error_of;
using testing::golden_tokenizer;

std::string refusal(const std::string& text) {
  return error_of([&] { Tokenizer::from_json(text, "tokenizer.json"); });
}
std::string refusal(const Json& file) { return refusal(file.dump()); }

// With `value` at `pointer`, or without what is there.
Json with(const std::string& pointer, const Json& value, const std::string& variant = "llada") {
  Json file = golden_tokenizer(variant);
  file[Json::json_pointer(pointer)] = value;
  return file;
}
Json without(const std::string& parent, const std::string& key) {
  Json file = golden_tokenizer("llada");
  file[Json::json_pointer(parent)].erase(key);
  return file;
}

TEST(MalformedTokenizer, EveryTruncationIsAnError) {
  Json file = golden_tokenizer("llada");
  file["model"]["merges"].clear();
  for (auto token = file["model"]["vocab"].begin(); token != file["model"]["vocab"].end();)
    token = token.value() < 256 ? ++token : file["model"]["vocab"].erase(token);
  file["added_tokens"].clear();
  const std::string text = file.dump();
  ASSERT_EQ(refusal(text), "");
  for (std::size_t length = 0; length < text.size(); ++length)
    ASSERT_TRUE(contains(refusal(text.substr(0, length)), "tokenizer.json: malformed JSON"));
}

TEST(MalformedTokenizer, DamagedBytesAreErrorsOrTokenizers) {
  const std::string text = golden_tokenizer("gpt2_added").dump();
  std::mt19937 random(13);
  for (int i = 0; i < 300; ++i) {
    std::string damaged = text;
    for (int k = 0; k < 3; ++k) damaged[random() % damaged.size()] = char(random());
    const std::string message = refusal(damaged);  // anything but Error would end the test
    EXPECT_TRUE(message.empty() || contains(message, "tokenizer.json: "));
  }
}

TEST(MalformedTokenizer, OtherJsonIsNamed) {
  EXPECT_TRUE(contains(refusal(std::string("")), "malformed JSON"));
  EXPECT_TRUE(contains(refusal(std::string("[]")), "the file is not an object but array"));
  EXPECT_TRUE(contains(refusal(std::string("{}")), "the file has no \"model\""));
  EXPECT_EQ(refusal(std::string(100'000, '[')), "tokenizer.json: is nested more than 100 deep");
  EXPECT_TRUE(contains(refusal(std::string("{\"model\": \"\xff\"}")), "malformed JSON"));
}

TEST(MalformedTokenizer, TheKeyIsNamed) {
  const std::pair<Json, const char*> cases[] = {
      {with("/version", "2.0"), "version is 2.0"},
      {with("/model/type", "WordPiece"), "model.type is WordPiece; only BPE"},
      {with("/model/dropout", 0.1), "model.dropout is set"},
      {with("/model/end_of_word_suffix", "</w>"), "model.end_of_word_suffix is set"},
      {with("/model/continuing_subword_prefix", "##"), "model.continuing_subword_prefix is set"},
      {with("/model/ignore_merges", 1), "model.ignore_merges is not true or false but number"},
      {without("/model", "vocab"), "model has no \"vocab\""},
      {without("/model", "merges"), "model has no \"merges\""},
      {with("/model/vocab", Json::array()), "model.vocab is not an object but array"},
      {with("/model/vocab/the", "5"), "model.vocab.the is not an id but string"},
      {with("/model/vocab/the", 1.5), "model.vocab.the is not an id but number"},
      {with("/model/vocab/the", -1), "model.vocab.the is -1; ids lie from 0 to 16777215"},
      {with("/model/vocab/the", 4'000'000'000), "model.vocab.the is 4000000000"},
      {with("/model/vocab/the", 18'446'744'073'709'551'615u),
       "model.vocab.the is 18446744073709551615"},
      {with("/model/vocab/the", 0), "model.vocab gives the id 0 to"},
      {without("/model/vocab", "Ġ"), "model.vocab has no token \"Ġ\" for byte 32"},
      {with("/model/merges", Json::object()), "model.merges is not a list but object"},
      {with("/model/merges/3", "t"), "model.merges[3] is \"t\", not two tokens"},
      {with("/model/merges/3", "t h e"), "model.merges[3] is \"t h e\", not two tokens"},
      {with("/model/merges/3", {"t", "h", "e"}), "model.merges[3] does not hold two tokens"},
      {with("/model/merges/3", {"t", 5}), "model.merges[3][1] is not a string but number"},
      {with("/model/merges/3", 5), "model.merges[3] is not a string but number"},
      {with("/model/merges/3", "t 漢"), "model.merges[3] needs \"漢\", which is no token"},
      {with("/model/merges/3", "! !"), "model.merges[3] needs \"!!\", which is no token"},
      {with("/added_tokens", Json::object()), "added_tokens is not a list but object"},
      {with("/added_tokens/1/id", 600), "added_tokens[1].id is 600, but the next free one"},
      {with("/added_tokens/1/content", "Ġthe"), "added_tokens[1].id is 521, but model.vocab gives"},
      {with("/added_tokens/1/special", "yes"), "added_tokens[1].special is not true or false"},
      {without("/added_tokens/1", "lstrip"), "added_tokens[1] has no \"lstrip\""},
      {with("/normalizer", {{"type", "Lowercase"}}), "normalizer.type is Lowercase; only NFC"},
      {with("/normalizer", Json::object()), "normalizer has no \"type\""},
      {with("/normalizer", {{"type", "Sequence"}, {"normalizers", {{{"type", "NFKC"}}}}}),
       "normalizer.normalizers[0].type is NFKC"},
      {with("/pre_tokenizer", nullptr),
       "is not byte-level BPE: pre_tokenizer has no ByteLevel; only byte-level BPE is supported"},
      {with("/pre_tokenizer/pretokenizers", Json::array()), "is not byte-level BPE"},
      {with("/pre_tokenizer/type", "Metaspace"), "is not byte-level BPE"},
      {with("/pre_tokenizer/pretokenizers/0", {{"type", "Punctuation"}}),
       "pre_tokenizer.pretokenizers[0].type is Punctuation"},
      {with("/pre_tokenizer/pretokenizers/2", {{"type", "Digits"}, {"individual_digits", true}}),
       "pre_tokenizer.pretokenizers[2] follows ByteLevel"},
      {with("/pre_tokenizer/pretokenizers/0/behavior", "Shattered"),
       "pre_tokenizer.pretokenizers[0].behavior is \"Shattered\""},
      {with("/pre_tokenizer/pretokenizers/0/pattern", {{"Regex", "(a"}}),
       "pre_tokenizer.pretokenizers[0].pattern cannot be used: the pattern (a holds a ( without"},
      {with("/pre_tokenizer/pretokenizers/0/pattern", {{"Glob", "*"}}),
       "pre_tokenizer.pretokenizers[0].pattern has no \"Regex\""},
      {with("/decoder", {{"type", "WordPiece"}}), "decoder.type is WordPiece"},
  };
  for (const auto& [file, message] : cases) {
    const std::string refused = refusal(file);
    EXPECT_TRUE(contains(refused, std::string("tokenizer.json: ") + message)) << message;
    EXPECT_EQ(refused.find('\n'), std::string::npos);
  }
}

/// `inner` within so many Sequences.
std::string sequences(int depth, const std::string& list, const std::string& inner) {
  std::string text;
  for (int i = 0; i < depth; ++i) text += R"({"type":"Sequence",")" + list + "\":[";
  text += inner;
  for (int i = 0; i < depth; ++i) text += "]}";
  return text;
}

TEST(MalformedTokenizer, NestingHasALimit) {
  const Json file = golden_tokenizer("gpt2");
  const auto with_text = [&](const char* key, const std::string& value) {
    Json changed = file;
    changed[key] = "HERE";
    std::string text = changed.dump();
    return text.replace(text.find("\"HERE\""), 6, value);
  };
  const std::string nfc = R"({"type":"NFC"})", bytes = file["pre_tokenizer"].dump(),
                    decoder = R"({"type":"ByteLevel"})";
  EXPECT_EQ(refusal(with_text("normalizer", sequences(40, "normalizers", nfc))), "");
  EXPECT_EQ(refusal(with_text("pre_tokenizer", sequences(40, "pretokenizers", bytes))), "");
  EXPECT_EQ(refusal(with_text("decoder", sequences(40, "decoders", decoder))), "");
  for (const int depth : {50, 20'000})
    for (const std::string& text :
         {with_text("normalizer", sequences(depth, "normalizers", nfc)),
          with_text("pre_tokenizer", sequences(depth, "pretokenizers", bytes)),
          with_text("decoder", sequences(depth, "decoders", decoder)),
          with_text("post_processor", sequences(depth, "processors", decoder)),
          with_text("unknown", sequences(depth, "x", "1"))})
      EXPECT_EQ(refusal(text), "tokenizer.json: is nested more than 100 deep");
}

/// As SentencePiece models are converted: Llama 2's, and later ones with Metaspace.
TEST(MalformedTokenizer, SentencePieceIsSaidToBeIt) {
  Json file = golden_tokenizer("gpt2");
  file["model"]["byte_fallback"] = true;
  file["model"]["vocab"] = {{"<unk>", 0}, {"<0x00>", 1}, {"\u2581", 2}, {"a", 3}, {"\u2581a", 4}};
  file["model"]["merges"] = {"\u2581 a"};
  file["added_tokens"].clear();
  const std::string said =
      "tokenizer.json: is not byte-level BPE: pre_tokenizer has no ByteLevel, and other keys are "
      "those of a SentencePiece tokenizer; only byte-level BPE is supported";
  file["pre_tokenizer"] = nullptr;
  EXPECT_EQ(refusal(file), said);
  file["model"]["byte_fallback"] = false;
  file["normalizer"] = {
      {"type", "Sequence"},
      {"normalizers",
       {{{"type", "Prepend"}, {"prepend", "\u2581"}},
        {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "\u2581"}}}}};
  EXPECT_EQ(refusal(file), said);
  file["normalizer"] = nullptr;
  file["pre_tokenizer"] = {
      {"type", "Metaspace"}, {"replacement", "\u2581"}, {"prepend_scheme", "first"}};
  EXPECT_EQ(refusal(file), said);
  file["model"]["type"] = "Unigram";
  EXPECT_TRUE(contains(refusal(file), "model.type is Unigram; only BPE"));
}

// The ids and flags are those that the tokenizers package 0.23.3 gives for the same files.
TEST(MalformedTokenizer, AnAddedTokenGivenTwiceIsOneToken) {
  Json file = golden_tokenizer("gpt2");
  const std::int32_t free = std::int32_t(file["model"]["vocab"].size());
  const auto token = [](std::int32_t id, const char* content, bool special, bool strip) {
    return Json{{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", strip},
                {"rstrip", strip}, {"normalized", false}, {"special", special}};
  };
  file["added_tokens"] = {token(free, "<X>", true, false), token(free + 1, "<Y>", false, false),
                          token(free, "<X>", true, false), token(free, "", true, false)};
  const Tokenizer twice = testing::tokenizer_of(file);
  EXPECT_EQ(twice.encode("<X><Y>"), (testing::Ids{free, free + 1}));
  EXPECT_EQ(twice.vocab_size(), free + 2);
  // The flags of the last hold, but a special token stays one.
  file["added_tokens"] = {token(free, "<X>", true, false), token(free, "<X>", false, true)};
  const Tokenizer strips = testing::tokenizer_of(file);
  EXPECT_EQ(strips.encode("! <X> !"),
            (testing::Ids{twice.encode("!")[0], free, twice.encode("!")[0]}));
  EXPECT_TRUE(strips.is_special(free));
  file["added_tokens"] = {token(free, "<X>", false, true), token(free, "<X>", true, false)};
  const Tokenizer keeps = testing::tokenizer_of(file);
  EXPECT_EQ(keeps.encode("! <X>!").size(), 4u);
  EXPECT_TRUE(keeps.is_special(free));
  // Another id the second time counts for nothing.
  file["added_tokens"] = {token(free, "<X>", true, false), token(free + 1, "<X>", true, false),
                          token(free + 1, "<Y>", true, false)};
  ::testing::internal::CaptureStderr();
  const Tokenizer other = testing::tokenizer_of(file);
  EXPECT_TRUE(contains(::testing::internal::GetCapturedStderr(),
                       "tokenizer.json: added_tokens[1]: \"<X>\" is given twice"));
  EXPECT_EQ(other.encode("<X><Y>"), (testing::Ids{free, free + 1}));
}

TEST(MalformedTokenizer, WhatDoesNotChangeIdsIsAccepted) {
  Json file = golden_tokenizer("llada");
  file["model"]["unk_token"] = "<unk>";
  file["model"]["byte_fallback"] = true;
  file["model"]["fuse_unk"] = true;
  file["model"]["dropout"] = 0.0;
  file["model"]["end_of_word_suffix"] = "";
  file["model"].erase("ignore_merges");
  file["decoder"] = {{"type", "Sequence"},
                     {"decoders", {{{"type", "ByteLevel"}}, {{"type", "Fuse"}}}}};
  file["post_processor"] = {{"type", "TemplateProcessing"}, {"single", Json::array()}};
  file["normalizer"] = {{"type", "Sequence"}, {"normalizers", Json::array()}};
  // Bytes that no valid text has.
  for (const char* token : {"À", "Á", "õ", "ÿ"}) {
    file["model"]["vocab"][std::string("unused ") + token] = file["model"]["vocab"][token];
    file["model"]["vocab"].erase(token);
  }
  const std::string text = testing::golden()["text"];
  const Tokenizer tokenizer = testing::tokenizer_of(file);
  EXPECT_EQ(tokenizer.encode(text), testing::tokenizer_of(golden_tokenizer("llada")).encode(text));
  EXPECT_TRUE(contains(error_of([&] { tokenizer.encode("\xff"); }), "no token for byte 255"));
}

}  // namespace
}  // namespace lacuna
