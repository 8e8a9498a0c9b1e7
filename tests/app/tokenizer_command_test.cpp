// lacuna tokenizer, run as a user runs it.
#include <random>

#include "tests/app/program.h"
#include "tokenizer/tokenizer.h"

namespace lacuna {
namespace {

using testing::contains;
using testing::fails;
using testing::Folder;
using testing::Program;

class TokenizerCommand : public ::testing::Test {
 protected:
  TokenizerCommand() {
    for (int i = 0; corpus_.size() < 2'500'000; ++i)
      corpus_ += "verse " + std::to_string(i % 1009) + ": and God said, Let there be light.\n" +
                 (i % 7 == 0 ? "\n  \xe2\x82\xac \xff" : "");
    input_ = folder_.write("corpus.txt", corpus_);
    Program train(
        {"tokenizer", "train", "--input", input_, "--vocab-size", "320", "--output", file_});
    EXPECT_EQ(train.wait(), 0) << train.err();
    trained_ = train.out();
  }
  std::string encoded(const std::string& text, std::vector<std::string> more = {}) const {
    std::vector<std::string> arguments{"tokenizer", "encode", "--tokenizer", file_};
    arguments.insert(arguments.end(), more.begin(), more.end());
    Program encode(arguments, RLIM_INFINITY, folder_.write("text", text));
    EXPECT_EQ(encode.wait(), 0) << encode.err();
    return encode.out();
  }
  std::string decoded(const std::string& ids, std::vector<std::string> more = {}) const {
    std::vector<std::string> arguments{"tokenizer", "decode", "--tokenizer", file_};
    arguments.insert(arguments.end(), more.begin(), more.end());
    Program decode(arguments, RLIM_INFINITY, folder_.write("ids", ids));
    EXPECT_EQ(decode.wait(), 0) << decode.err();
    return decode.out();
  }

  Folder folder_;
  std::string corpus_, input_, file_ = folder_ / "tokenizer.json", trained_;
};

TEST_F(TokenizerCommand, TrainsEncodesAndDecodes) {
  EXPECT_TRUE(contains(trained_, "tokenizer.json: 320 tokens (256 bytes, 57 merges, 7 special)"));
  const Tokenizer tokenizer = Tokenizer::load(file_);
  std::string expected;
  for (const std::int32_t id : tokenizer.encode(corpus_)) expected += std::to_string(id) + " ";
  expected.back() = '\n';
  EXPECT_EQ(encoded(corpus_), expected);
  EXPECT_EQ(encoded(corpus_, {"--threads", "1"}), expected);
  EXPECT_EQ(encoded(corpus_, {"--threads", "5"}), expected);
  EXPECT_EQ(decoded(expected), corpus_);
}

TEST_F(TokenizerCommand, AnyBytesComeBack) {
  std::mt19937 random(23);
  std::string bytes(100'000, '\0');
  for (char& b : bytes) b = char(random());
  EXPECT_EQ(decoded(encoded(bytes)), bytes);
  EXPECT_EQ(encoded(""), "\n");
  EXPECT_EQ(decoded(" \n"), "");
  EXPECT_EQ(decoded("  0\n\t1\r\n2"), "!\"#");
}

TEST_F(TokenizerCommand, SpecialTokensAsAsked) {
  EXPECT_EQ(encoded("<|mdm_mask|>"), "313\n");
  EXPECT_EQ(decoded(encoded("<|mdm_mask|>", {"--special", "as_text"})), "<|mdm_mask|>");
  EXPECT_NE(encoded("<|mdm_mask|>", {"--special", "as_text"}), "313\n");
  EXPECT_EQ(decoded("0 313 1"), "!<|mdm_mask|>\"");
  EXPECT_EQ(decoded("0 313 1", {"--skip-special"}), "!\"");
}

TEST_F(TokenizerCommand, BadIdsAreNamed) {
  const auto refuses = [&](const std::string& ids, const std::string& message) {
    return fails({"tokenizer", "decode", "--tokenizer", file_}, 1, message, RLIM_INFINITY,
                 folder_.write("ids", ids));
  };
  EXPECT_TRUE(refuses("1 2 320", "number 3, \"320\", is not an id"));
  EXPECT_TRUE(refuses("1 -2", "number 2, \"-2\", is not an id"));
  EXPECT_TRUE(refuses("1 2,3", "number 2, \"2,3\", is not an id"));
  EXPECT_TRUE(refuses("99999999999999", "number 1, \"99999999999999\", is not an id"));
  EXPECT_TRUE(refuses(std::string(100'000, '7'), "number 1, \"7777777"));
}

TEST_F(TokenizerCommand, MistakesAreNamed) {
  const auto train = [&](const std::string& input, const std::string& size,
                         const std::string& output) {
    return std::vector<std::string>{"tokenizer",    "train", "--input",  input,
                                    "--vocab-size", size,    "--output", output};
  };
  const std::string other = folder_ / "other.json";
  EXPECT_TRUE(fails(train(input_, "200", other), 2, "200 tokens: it must have between 263"));
  EXPECT_TRUE(fails(train(input_, "many", other), 2, "--vocab-size"));
  EXPECT_TRUE(fails(train(folder_ / "none", "300", other), 1, "none: no such file"));
  EXPECT_TRUE(fails(train(folder_.write("e", ""), "300", other), 1, "e: is empty"));
  EXPECT_TRUE(fails(train(folder_ / "", "300", other), 1, "is a folder"));
  EXPECT_TRUE(fails(train(input_, "300", input_ + "/t.json"), 1, "corpus.txt"));
  EXPECT_TRUE(fails(train(input_, "300", input_), 2, "corpus.txt is both an input and the output"));
  EXPECT_EQ(read_file(input_), corpus_);
  EXPECT_TRUE(fails({"tokenizer", "encode", "--tokenizer", other}, 1, "other.json"));
  EXPECT_TRUE(fails({"tokenizer", "encode", "--tokenizer", input_}, 1, "malformed JSON"));
  EXPECT_TRUE(fails({"tokenizer"}, 2, "subcommand"));
  EXPECT_FALSE(std::filesystem::exists(other));
}

TEST_F(TokenizerCommand, AFullDiskKeepsTheOldTokenizer) {
  const std::string before = read_file(file_);
  EXPECT_TRUE(
      fails({"tokenizer", "train", "--input", input_, "--vocab-size", "310", "--output", file_}, 1,
            "tokenizer.json", 2000));
  EXPECT_EQ(read_file(file_), before);
  EXPECT_TRUE(
      fails({"tokenizer", "encode", "--tokenizer", file_}, 1, "standard output", 2000, input_));
}

TEST_F(TokenizerCommand, TrainsOnJsonLines) {
  const std::string lines =
      folder_.write("a.jsonl", "{\"body\": \"aa aa\"}\n\n{\"body\": \"aa\"}\n");
  const std::string other = folder_ / "other.json";
  const auto train = [&](const std::string& field) {
    return std::vector<std::string>{"tokenizer",    "train", "--input",      lines,
                                    "--format",     "jsonl", "--text-field", field,
                                    "--vocab-size", "300",   "--output",     other};
  };
  Program program(train("body"));
  ASSERT_EQ(program.wait(), 0) << program.err();
  EXPECT_TRUE(contains(program.err(), "gives no more than 264 tokens"));  // with aa
  EXPECT_TRUE(fails(train("txt"), 1, "a.jsonl:1: has no field \"txt\""));
}

}  // namespace
}  // namespace lacuna
