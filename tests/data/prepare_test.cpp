#include "data/prepare.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "tests/data/compressed.h"
#include "tests/data/support.h"
#include "tests/support/paths.h"
#include "tokenizer/tokenizer.h"

namespace lacuna {
namespace {

using testing::byte_tokenizer;
using testing::contains;
using testing::error_of;
using testing::Folder;
using testing::FullDisk;

class PrepareTest : public ::testing::Test {
 protected:
  PrepareTest() {
    options_.tokenizer = folder_.write("tokenizer.json", byte_tokenizer());
    options_.output = folder_ / "train.h5";
    options_.threads = 2;
  }

  std::string error() {
    return error_of([&] { prepare(options_); });
  }
  // The documents of a token file as text, each checked to end with the end token.
  std::vector<std::string> documents(const std::string& path) const {
    const TokenFile file(path);
    const Tokenizer tokenizer = Tokenizer::load(options_.tokenizer);
    EXPECT_EQ(file.tokenizer_json(), tokenizer.json());
    std::vector<std::string> texts;
    for (std::int64_t i = 0; i < file.documents(); ++i) {
      std::vector<std::int32_t> tokens(std::size_t(file.offset(i + 1) - file.offset(i)));
      file.read(file.offset(i), tokens);
      EXPECT_FALSE(tokens.empty());
      if (tokens.empty()) continue;
      EXPECT_EQ(tokens.back(), tokenizer.eos_token());
      tokens.pop_back();
      EXPECT_EQ(std::count(tokens.begin(), tokens.end(), tokenizer.eos_token()), 0);
      texts.push_back(tokenizer.decode(tokens));
    }
    return texts;
  }
  bool made(const std::string& name) const { return std::filesystem::exists(folder_ / name); }
  std::size_t partial_files() const {
    std::size_t n = 0;
    for (const std::string& name : folder_.files()) n += name.ends_with(".partial");
    return n;
  }
  // `n` JSONL documents.
  std::string jsonl(int n) const {
    std::string text;
    for (int i = 0; i < n; ++i)
      text += R"({"id": 1, "text": "document )" + std::to_string(i) + "\"}\n";
    return folder_.write("many.jsonl", text);
  }

  Folder folder_;
  PrepareOptions options_;
};

TEST_F(PrepareTest, TextFilesComeBackAsTheyWere) {
  const std::vector<std::string> texts = {
      "In the beginning\n\n  was the word,\r\nand \xe2\x82\xac 3.\n", "the second, without an end",
      "\n \n"};
  for (std::size_t i = 0; i < texts.size(); ++i)
    options_.inputs.push_back(folder_.write("in" + std::to_string(i), texts[i]));
  const PrepareResult result = prepare(options_);
  EXPECT_EQ(documents(options_.output), texts);
  EXPECT_EQ(result.train.documents, 3);
  EXPECT_EQ(result.train.tokens, TokenFile(options_.output).tokens());
  EXPECT_EQ(result.train.bytes, std::int64_t(texts[0].size() + texts[1].size() + texts[2].size()));
  EXPECT_EQ(result.invalid_bytes, 0);
  EXPECT_EQ(partial_files(), 0u);
}

TEST_F(PrepareTest, LongTextIsOneDocumentWithTheTokensOfTheWhole) {
  std::string text;
  for (int i = 0; text.size() < 2'500'000; ++i)
    text += "the line " + std::to_string(i % 977) + "\n";
  options_.inputs = {folder_.write("long", text)};
  prepare(options_);
  const TokenFile file(options_.output);
  ASSERT_EQ(file.documents(), 1);
  const Tokenizer tokenizer = Tokenizer::load(options_.tokenizer);
  std::vector<std::int32_t> whole = tokenizer.encode(text, Tokenizer::Special::as_text);
  whole.push_back(std::int32_t(tokenizer.eos_token()));
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(file.tokens()));
  file.read(0, tokens);
  EXPECT_EQ(tokens, whole);
}

TEST_F(PrepareTest, ThreadsDoNotChangeTheResult) {
  options_.inputs = {jsonl(5000)};
  prepare(options_);
  const auto two = documents(options_.output);
  options_.threads = 1;
  prepare(options_);
  EXPECT_EQ(documents(options_.output), two);
  EXPECT_EQ(two.size(), 1u);  // as text, the file is one document
}

TEST_F(PrepareTest, JsonLines) {
  options_.format = CorpusFormat::jsonl;
  options_.text_field = "body";
  options_.inputs = {folder_.write(
      "a.jsonl",
      "{\"body\": \"one\\n\\u20ac\", \"x\": [1]}\n\n{\"body\": \"\"}\r\n{\"body\":\"two\"}")};
  const PrepareResult result = prepare(options_);
  EXPECT_EQ(documents(options_.output), (std::vector<std::string>{"one\n\xe2\x82\xac", "two"}));
  EXPECT_EQ(result.empty_documents, 1);
  EXPECT_EQ(result.train.documents, 2);
}

TEST_F(PrepareTest, SpecialTokensInTheTextAreText) {
  const std::string text = "a <|endoftext|> and a <|mdm_mask|> that somebody wrote";
  options_.inputs = {folder_.write("in", text)};
  prepare(options_);
  EXPECT_EQ(documents(options_.output), std::vector<std::string>{text});
}

// One number, of which a cut at a MiB would shift every group of three that follows.
TEST_F(PrepareTest, ALongNumberHasTheTokensOfTheWhole) {
  auto file = nlohmann::json::parse(byte_tokenizer());
  file["model"]["vocab"]["12"] = 257;
  file["model"]["vocab"]["123"] = 258;
  for (auto& token : file["added_tokens"]) token["id"] = token["id"].get<int>() + 2;
  file["model"]["merges"].push_back("1 2");
  file["model"]["merges"].push_back("12 3");
  file["pre_tokenizer"] = {{"type", "Sequence"},
                           {"pretokenizers",
                            {{{"type", "Split"},
                              {"pattern", {{"Regex", R"(\p{N}{1,3})"}}},
                              {"behavior", "Isolated"},
                              {"invert", false}},
                             file["pre_tokenizer"]}}};
  options_.tokenizer = folder_.write("threes.json", file.dump());
  std::string number;
  while (number.size() < 2'500'000) number += "123";
  options_.inputs = {folder_.write("in", number)};
  EXPECT_EQ(prepare(options_).train.tokens, std::int64_t(number.size() / 3 + 1));
}

TEST_F(PrepareTest, WhatIsNoTextIsRefused) {
  const auto with = [&](const std::string& bytes) {
    options_.inputs = {folder_.write("in", bytes)};
    return error();
  };
  for (const CorpusFormat format : {CorpusFormat::text, CorpusFormat::jsonl}) {
    options_.format = format;
    EXPECT_TRUE(contains(with(std::string("\xfd\x37zXZ\0", 6)), "in: is compressed (xz)"));
    EXPECT_TRUE(contains(with("PAR1..."), "in: is a Parquet file"));
    EXPECT_TRUE(contains(with(std::string("\xff\xfe{\0\n\0", 6)), "in: is UTF-16 text"));
    EXPECT_TRUE(contains(with(std::string("abc\0def", 7)), "in: is binary: byte 3 is NUL"));
  }
  EXPECT_FALSE(made("train.h5"));
}

// A stray one in a large corpus must not end hours of work.
TEST_F(PrepareTest, NulBytesFarWithinATextAreKeptAndCounted) {
  std::string text;
  while (text.size() < 200'000) text += "a line\n";
  text += '\0';
  options_.inputs = {folder_.write("in", text)};
  EXPECT_EQ(prepare(options_).nul_bytes, 1);
  EXPECT_EQ(documents(options_.output), std::vector<std::string>{text});
}

TEST_F(PrepareTest, AnEndTokenWithoutItsFlagCannotBeForged) {
  auto file = nlohmann::json::parse(byte_tokenizer());
  for (auto& token : file["added_tokens"]) token["special"] = false;
  options_.tokenizer = folder_.write("plain.json", file.dump());
  const std::string text = "a <|endoftext|> and a <|mdm_mask|> that somebody wrote";
  options_.inputs = {folder_.write("in", text)};
  prepare(options_);
  EXPECT_EQ(documents(options_.output), std::vector<std::string>{text});
}

TEST_F(PrepareTest, AnArrayOfDocuments) {
  options_.format = CorpusFormat::jsonl;
  options_.inputs = {folder_.write("a.json", "[\n{\"text\": \"one\"},\n{\"text\":\n\"two\"}\n]\n")};
  prepare(options_);
  EXPECT_EQ(documents(options_.output), (std::vector<std::string>{"one", "two"}));
  options_.inputs = {folder_.write("a.json", "[{\"text\": \"one\"},\n{\"txt\": \"two\"}]")};
  EXPECT_TRUE(contains(error(), "a.json:2 (element 2 of the array): has no field \"text\""));
}

// What gzip and zstd made is read like the files themselves, the held-out parts of a text too.
TEST_F(PrepareTest, CompressedFiles) {
  std::string text;
  for (int i = 0; i < 20'000; ++i) text += "line " + std::to_string(i) + "\n";
  const std::string record = R"({"text": "one"})", records = record + "\n" + record;
  const auto all = [&](const std::string& plain) {
    std::vector<std::vector<std::string>> found;
    for (const std::string& bytes : {plain, testing::gzip(plain), testing::zstd(plain)}) {
      options_.inputs = {folder_.write("in", bytes)};
      const PrepareResult result = prepare(options_);
      found.push_back(documents(options_.output));
      if (options_.validation.empty()) continue;
      for (const std::string& held : documents(options_.validation)) found.back().push_back(held);
      EXPECT_EQ(result.train.bytes + result.validation.bytes, std::int64_t(plain.size()));
    }
    EXPECT_EQ(found[0], found[1]);
    EXPECT_EQ(found[0], found[2]);
    return found[0].size();
  };
  EXPECT_EQ(all(text), 1u);
  options_.validation = folder_ / "validation.h5";
  EXPECT_EQ(all(text), 4u);  // two parts of 4 KiB are 5 % of it, each at the end of its half
  options_.validation.clear();
  options_.format = CorpusFormat::jsonl;
  EXPECT_EQ(all(records), 2u);
  EXPECT_EQ(all("[" + record + "," + record + "," + record + "]"), 3u);
  options_.inputs = {folder_.write("in", testing::gzip("PAR1..."))};
  EXPECT_TRUE(contains(error(), "in: is a Parquet file"));
  options_.inputs = {folder_.write("in", testing::gzip(""))};
  EXPECT_TRUE(contains(error(), "in: is empty when unpacked"));
}

TEST_F(PrepareTest, RowsOfParquetFiles) {
  options_.format = CorpusFormat::parquet;
  options_.inputs = {testing::golden_path("parquet_snappy.parquet"),
                     testing::golden_path("parquet_delta_byte_array.parquet")};
  const PrepareResult result = prepare(options_);
  const auto texts =
      nlohmann::json::parse(read_file(testing::golden_path("parquet.json")))["texts"];
  std::vector<std::string> expected;
  for (int file = 0; file < 2; ++file)
    for (const auto& text : texts)
      if (text.is_string() && !text.get<std::string>().empty()) expected.push_back(text);
  EXPECT_EQ(documents(options_.output), expected);
  EXPECT_EQ(result.empty_documents, std::int64_t(2 * texts.size() - expected.size()));
  options_.text_field = "txt";
  EXPECT_TRUE(contains(error(), "parquet_snappy.parquet: has no column \"txt\""));
  options_.inputs = {folder_.write("in", "a text, and no Parquet file")};
  EXPECT_TRUE(contains(error(), "in: damaged: does not end as a Parquet file does"));
}

TEST_F(PrepareTest, MalformedRecordsAreLeftOutUpToALimit) {
  options_.format = CorpusFormat::jsonl;
  options_.inputs = {folder_.write("a.jsonl", R"({"text": "one"}
{"text": 2}
{"text": "three"
{"txt": "four"}
{"text": "five"}
)")};
  EXPECT_TRUE(contains(error(), "a.jsonl:2: field \"text\" is not a string"));
  options_.max_malformed = 3;
  EXPECT_EQ(prepare(options_).malformed, 3);
  EXPECT_EQ(documents(options_.output), (std::vector<std::string>{"one", "five"}));
  std::filesystem::remove(options_.output);
  options_.max_malformed = 2;
  const std::string message = error();
  EXPECT_TRUE(contains(message, "a.jsonl:4: has no field \"text\""));
  EXPECT_TRUE(contains(message, "2 malformed records before it were left out"));
  EXPECT_FALSE(made("train.h5"));
}

TEST_F(PrepareTest, TheFirstFaultOfTheCorpusIsTold) {
  options_.format = CorpusFormat::jsonl;
  options_.inputs = {folder_.write("a.json", "[{\"text\": 3},\n{\"text\": \"x\"}"),
                     folder_.write("z", "\x1f\x9d")};
  EXPECT_TRUE(contains(error(), "a.json:1 (element 1 of the array): field"));
  options_.inputs[0] = folder_.write("a.json", "[{\"text\": \"x\"},\n{\"text\": \"x}]\n");
  EXPECT_TRUE(contains(error(), "a.json:2 (element 2 of the array): malformed JSON, line "));
  options_.inputs[0] = folder_.write("a.json", "[{\"text\": \"x\"}]\n");
  EXPECT_TRUE(contains(error(), "z: is compressed"));
}

TEST_F(PrepareTest, InvalidUtf8IsKeptAndCounted) {
  const std::string text = "caf\xe9 and \xff\xfe";
  options_.inputs = {folder_.write("in", text)};
  const PrepareResult result = prepare(options_);
  EXPECT_EQ(result.invalid_bytes, 3);
  EXPECT_EQ(documents(options_.output), std::vector<std::string>{text});
}

TEST_F(PrepareTest, SplitIsReproducibleAndDisjoint) {
  options_.format = CorpusFormat::jsonl;
  options_.inputs = {jsonl(2000)};
  options_.validation = folder_ / "validation.h5";
  const PrepareResult result = prepare(options_);
  EXPECT_EQ(result.train.documents + result.validation.documents, 2000);
  EXPECT_NEAR(double(result.validation.documents), 100, 40);  // four standard deviations
  const auto train = documents(options_.output), validation = documents(options_.validation);
  std::set<std::string> all(train.begin(), train.end());
  all.insert(validation.begin(), validation.end());
  EXPECT_EQ(all.size(), 2000u);
  options_.threads = 1;
  prepare(options_);
  EXPECT_EQ(documents(options_.validation), validation);
  options_.seed = 2;
  prepare(options_);
  EXPECT_NE(documents(options_.validation), validation);
}

TEST_F(PrepareTest, FewTextsGiveAtLeastOneToValidation) {
  for (int i = 0; i < 3; ++i)
    options_.inputs.push_back(folder_.write("in" + std::to_string(i), "text"));
  options_.validation = folder_ / "validation.h5";
  for (const double fraction : {0.01, 0.99}) {
    options_.validation_fraction = fraction;
    const PrepareResult result = prepare(options_);
    EXPECT_EQ(result.validation.documents, fraction < 0.5 ? 1 : 2);
    EXPECT_EQ(result.train.documents, fraction < 0.5 ? 2 : 1);
  }
}

TEST_F(PrepareTest, OneTextGivesItsTailToValidation) {
  std::string text;
  for (int i = 0; i < 1000; ++i) text += "line " + std::to_string(i) + "\n";
  options_.inputs = {folder_.write("in", text)};
  options_.validation = folder_ / "validation.h5";
  options_.validation_fraction = 0.1;
  prepare(options_);
  const auto train = documents(options_.output), validation = documents(options_.validation);
  ASSERT_EQ(train.size(), 1u);
  ASSERT_EQ(validation.size(), 1u);
  EXPECT_EQ(train[0] + validation[0], text);
  EXPECT_NEAR(double(validation[0].size()), 0.1 * double(text.size()), 12);
  EXPECT_TRUE(validation[0].starts_with("line "));
}

TEST_F(PrepareTest, OneLongTextGivesPartsAllOverIt) {
  std::string text;
  std::vector<std::size_t> lines = {0};
  for (int i = 0; text.size() < 800'000; ++i) {
    text +=
        "line " + std::to_string(i) + " of a text" + std::string(std::size_t(i % 97), 'x') + "\n";
    lines.push_back(text.size());
  }
  options_.inputs = {folder_.write("in", text)};
  options_.validation = folder_ / "validation.h5";
  const PrepareResult result = prepare(options_);
  const auto train = documents(options_.output), validation = documents(options_.validation);
  // 5 % are 40,000 bytes: nine parts of 4 KiB or more, of 800,000 / 9 bytes each 1/20.
  ASSERT_EQ(validation.size(), 9u);
  ASSERT_EQ(train.size(), 9u);
  EXPECT_EQ(result.validation.documents, 9);
  EXPECT_NEAR(double(result.validation.bytes), 0.05 * double(text.size()), 9 * 120);
  std::string whole;
  for (std::size_t i = 0; i < 9; ++i) {
    whole += train[i];
    EXPECT_NEAR(double(whole.size()), double(text.size()) * (double(i) + 0.95) / 9, 120);
    EXPECT_TRUE(std::binary_search(lines.begin(), lines.end(), whole.size()));
    whole += validation[i];
    EXPECT_TRUE(std::binary_search(lines.begin(), lines.end(), whole.size()));
  }
  EXPECT_EQ(whole, text);

  options_.validation_parts = 3;
  prepare(options_);
  EXPECT_EQ(documents(options_.validation).size(), 3u);
  options_.threads = 1;
  options_.validation_parts = 0;
  prepare(options_);
  EXPECT_EQ(documents(options_.validation), validation);
}

// The pieces that are read, of 1 MiB, hold several splits or none.
TEST_F(PrepareTest, PartsOfALongerTextThanAPiece) {
  std::string text;
  for (int i = 0; text.size() < 3'000'000; ++i) text += "line " + std::to_string(i) + "\n";
  options_.inputs = {folder_.write("in", text)};
  options_.validation = folder_ / "validation.h5";
  for (const int parts : {1, 2, 64}) {
    options_.validation_parts = parts;
    prepare(options_);
    const auto train = documents(options_.output), validation = documents(options_.validation);
    ASSERT_EQ(validation.size(), std::size_t(parts));
    std::string whole;
    for (std::size_t i = 0; i < train.size(); ++i) whole += train[i] + validation[i];
    EXPECT_EQ(whole, text);
  }
}

TEST_F(PrepareTest, TextWithoutLinesIsCutBetweenWords) {
  std::string text;
  while (text.size() < 200'000) text += "word ";
  options_.inputs = {folder_.write("in", text)};
  options_.validation = folder_ / "validation.h5";
  options_.validation_parts = 4;
  prepare(options_);
  const auto train = documents(options_.output), validation = documents(options_.validation);
  ASSERT_EQ(validation.size(), 4u);
  for (const std::string& part : validation)
    EXPECT_TRUE(part.starts_with(" word ")) << part.substr(0, 9);
}

TEST_F(PrepareTest, BadLinesAreNamed) {
  options_.format = CorpusFormat::jsonl;
  const auto with = [&](const std::string& line) {
    options_.inputs = {folder_.write("a.jsonl", "{\"text\": \"fine\"}\n\n" + line + "\n{broken")};
    return error();
  };
  EXPECT_TRUE(contains(with("{\"text\": "), "a.jsonl:3: malformed JSON, column 10"));
  EXPECT_TRUE(contains(with("{\"text\": \"\xff\"}"), "a.jsonl:3: malformed JSON"));
  EXPECT_TRUE(contains(with("[1]"), "a.jsonl:3: is not a JSON object but array"));
  EXPECT_TRUE(contains(with("{\"txt\": \"a\"}"),
                       "a.jsonl:3: has no field \"text\"; did you mean "
                       "--text-field txt?"));
  EXPECT_TRUE(
      contains(with("{\"text\": 5}"), "a.jsonl:3: field \"text\" is not a string but number"));
  EXPECT_TRUE(contains(with("{\"text\": \"ok\"}"), "a.jsonl:4: malformed JSON"));
  EXPECT_FALSE(made("train.h5"));
  EXPECT_EQ(partial_files(), 0u);
}

TEST_F(PrepareTest, BadInputsAreNamed) {
  options_.inputs = {folder_ / "none"};
  EXPECT_TRUE(contains(error(), "none: no such file"));
  options_.inputs = {folder_.write("empty", "")};
  EXPECT_TRUE(contains(error(), "empty: is empty"));
  options_.inputs = {};
  EXPECT_TRUE(contains(error(), "no input files"));

  options_.inputs = {folder_.write("in", "x")};
  options_.validation = folder_ / "validation.h5";
  EXPECT_TRUE(contains(error(), "1 byte cannot be cut into 1 validation part"));
  options_.format = CorpusFormat::jsonl;
  options_.inputs = {folder_.write("blank", " \n\n")};
  EXPECT_TRUE(contains(error(), "blank: hold no text"));
  options_.inputs = {jsonl(3)};
  options_.validation_fraction = 1e-9;
  EXPECT_TRUE(contains(error(), "validation.h5: would be empty: none of 3 documents"));
  options_.validation_fraction = 1 - 1e-9;
  EXPECT_TRUE(contains(error(), "train.h5: would be empty"));

  options_.validation.clear();
  options_.tokenizer = folder_.write("no_end.json", byte_tokenizer({"<|mdm_mask|>"}));
  EXPECT_TRUE(contains(error(), "no_end.json: has no end token"));
  options_.tokenizer = folder_ / "absent.json";
  EXPECT_TRUE(contains(error(), "absent.json"));
  EXPECT_FALSE(made("train.h5"));
  EXPECT_FALSE(made("validation.h5"));
  EXPECT_EQ(partial_files(), 0u);
}

TEST_F(PrepareTest, OptionsThatContradictAreUsageErrors) {
  options_.inputs = {folder_.write("in", "text")};
  const auto usage = [&] { return error_of<UsageError>([&] { prepare(options_); }); };
  options_.validation = options_.output;
  EXPECT_TRUE(contains(usage(), "name the same file"));
  options_.validation = folder_ / "v.h5";
  for (const double fraction : {0.0, 1.0, -1.0, std::nan("")}) {
    options_.validation_fraction = fraction;
    EXPECT_TRUE(contains(usage(), "must lie between 0 and 1"));
  }
  options_.validation_fraction = 0.5;
  options_.validation_parts = 2;
  options_.inputs.push_back(folder_.write("in2", "text"));
  EXPECT_TRUE(contains(usage(), "--validation-parts is for a single text"));
  options_.inputs.pop_back();
  options_.validation_parts = 0;
  options_.validation.clear();
  options_.output = options_.inputs[0];
  EXPECT_TRUE(contains(usage(), "is both an input and an output"));
  options_.output = options_.tokenizer;
  EXPECT_TRUE(contains(usage(), "is both the tokenizer and an output"));
}

TEST_F(PrepareTest, FullDiskKeepsTheOldFile) {
  options_.inputs = {folder_.write("in", "old")};
  prepare(options_);
  std::string text;
  while (text.size() < 1'000'000) text += "a line of text\n";
  options_.inputs = {folder_.write("in", text)};
  std::string message;
  {
    const FullDisk disk(100'000);
    message = error();
  }
  EXPECT_TRUE(contains(message, "train.h5"));
  EXPECT_EQ(partial_files(), 0u);
  EXPECT_EQ(documents(options_.output), std::vector<std::string>{"old"});
}

}  // namespace
}  // namespace lacuna
