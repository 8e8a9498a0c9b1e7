#include "data/prepare_shards.h"

#include <chrono>
#include <cmath>
#include <map>
#include <thread>

#include "data/token_manifest.h"
#include "tests/data/support.h"

namespace lacuna {
namespace {

namespace fs = std::filesystem;
using testing::byte_tokenizer;
using testing::contains;
using testing::error_of;
using testing::Folder;

class PrepareShards : public ::testing::Test {
 protected:
  PrepareShards() {
    fs::create_directories(folder_ / "in/sub");
    folder_.write("in/b.jsonl", records(300, "b"));
    folder_.write("in/a.jsonl", records(50, "a"));
    folder_.write("in/sub/c.jsonl", records(120, "c"));
    folder_.write("in/.hidden", "no JSON");
    folder_.write("in/_SUCCESS", "");
    options_.each.tokenizer = folder_.write("tokenizer.json", byte_tokenizer());
    options_.each.format = CorpusFormat::jsonl;
    options_.each.threads = 1;
    options_.inputs = input_list({folder_ / "in"});
    options_.output = folder_ / "out";
  }
  static std::string records(int n, const std::string& name) {
    std::string text;
    for (int i = 0; i < n; ++i)
      text += "{\"text\": \"" + name + ' ' + std::string(std::size_t(i * 37 % 101), 'x') + "\"}\n";
    return text;
  }
  /// Every file of a folder with its bytes.
  static std::map<std::string, std::string> content(const std::string& folder) {
    std::map<std::string, std::string> files;
    for (const auto& entry : fs::directory_iterator(folder))
      files[entry.path().filename()] = read_file(entry.path());
    return files;
  }
  std::string prepare_error() const {
    return error_of([&] { prepare_shards(options_); });
  }

  Folder folder_;
  ShardOptions options_;
};

TEST_F(PrepareShards, OneSourceInTheOrderOfTheInputs) {
  const ShardsResult result = prepare_shards(options_);
  EXPECT_EQ(result.inputs, 3);
  EXPECT_EQ(result.prepared.train.documents, 470);
  const TokenFile all(folder_ / "out");
  EXPECT_EQ(all.documents(), 470);
  EXPECT_EQ(all.files().size(), 3u);
  // As one file of all of them.
  PrepareOptions one = options_.each;
  for (const CorpusInput& input : options_.inputs) one.inputs.push_back(input.path);
  one.output = folder_ / "one.h5";
  prepare(one);
  const TokenFile single(folder_ / "one.h5");
  ASSERT_EQ(single.tokens(), all.tokens());
  std::vector<std::int32_t> a(std::size_t(all.tokens())), b(a.size());
  all.read(0, a);
  single.read(0, b);
  EXPECT_EQ(a, b);
  for (std::int64_t i = 0; i <= 470; ++i) EXPECT_EQ(all.offset(i), single.offset(i));
  const TokenManifest manifest =
      parse_manifest(read_file(folder_ / "out/manifest.json"), "manifest");
  EXPECT_EQ(manifest.shards[2].input, "sub/c.jsonl");
  EXPECT_EQ(manifest.shards[1].documents, 300);
}

TEST_F(PrepareShards, WhatIsDoneStaysAndTheResultIsTheSame) {
  options_.validation = options_.each.validation = folder_ / "held";
  options_.each.validation_fraction = 0.2;
  prepare_shards(options_);
  const auto out = content(folder_ / "out"), held = content(folder_ / "held");
  EXPECT_EQ(out.size(), 4u);
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));  // no time of day is in a file
  const std::vector<std::vector<std::string>> killed = {
      {"out/shard-00001.h5"},
      {"out/shard-00001.h5", "held/shard-00001.h5"},
      {"held/shard-00002.h5", "out/manifest.json", "held/manifest.json"},
      {"out/shard-00000.h5", "out/shard-00001.h5", "out/shard-00002.h5"}};
  for (const auto& files : killed) {
    for (const std::string& file : files) fs::remove(folder_ / file);
    folder_.write("out/shard-00001.h5.partial", "left by a killed run");
    fs::remove(folder_ / "out/shard-00001.h5");
    const ShardsResult again = prepare_shards(options_);
    EXPECT_EQ(again.inputs + again.kept, 3);
    EXPECT_EQ(content(folder_ / "out"), out);
    EXPECT_EQ(content(folder_ / "held"), held);
  }
  const TokenFile train(folder_ / "out"), validation(folder_ / "held");
  EXPECT_EQ(train.documents() + validation.documents(), 470);
  EXPECT_NEAR(double(validation.documents()), 94, 4 * std::sqrt(470 * 0.16));
}

TEST_F(PrepareShards, SeveralProcessesShareTheInputs) {
  prepare_shards(options_);
  const auto whole = content(folder_ / "out");
  options_.output = folder_ / "parts";
  options_.shards = 2;
  options_.shard = 2;
  const ShardsResult second = prepare_shards(options_);
  EXPECT_EQ(second.inputs, 1);
  EXPECT_EQ(second.missing, 2);
  EXPECT_FALSE(fs::exists(folder_ / "parts/manifest.json"));
  EXPECT_TRUE(contains(error_of([&] { TokenFile(folder_ / "parts"); }), "without a manifest.json"));
  options_.shard = 1;
  const ShardsResult first = prepare_shards(options_);
  EXPECT_EQ(first.inputs, 2);
  EXPECT_EQ(first.missing, 0);
  EXPECT_EQ(content(folder_ / "parts"), whole);
  options_.shard = 3;
  EXPECT_TRUE(contains(prepare_error(), "--shard 3/2"));
}

TEST_F(PrepareShards, OtherInputsOrOptionsAreRefused) {
  prepare_shards(options_);
  options_.each.text_field = "other";
  EXPECT_TRUE(contains(prepare_error(), "shard-00000.h5: was made of "));
  options_.each.text_field = "text";
  folder_.write("in/a.jsonl", records(51, "a"));
  EXPECT_TRUE(contains(prepare_error(), "remove it, or name another --output-dir"));
}

TEST_F(PrepareShards, AnInputWithoutADocumentIsDone) {
  folder_.write("in/a.jsonl", "{\"text\": \"\"}\n");
  options_.inputs = input_list({folder_ / "in"});
  EXPECT_EQ(prepare_shards(options_).prepared.empty_documents, 1);
  EXPECT_EQ(prepare_shards(options_).kept, 3);
  const TokenFile all(folder_ / "out");
  EXPECT_EQ(all.documents(), 420);
  EXPECT_EQ(all.files().size(), 2u);
}

TEST_F(PrepareShards, WholeTextsAreHeldOut) {
  fs::create_directories(folder_ / "texts");
  for (int i = 0; i < 40; ++i)
    folder_.write("texts/" + std::to_string(i), "text " + std::to_string(i));
  options_.each.format = CorpusFormat::text;
  options_.inputs = input_list({folder_ / "texts"});
  options_.validation = options_.each.validation = folder_ / "held";
  options_.each.validation_fraction = 0.5;
  prepare_shards(options_);
  const TokenFile train(folder_ / "out"), validation(folder_ / "held");
  EXPECT_EQ(train.documents() + validation.documents(), 40);
  EXPECT_GT(train.documents(), 5);
  EXPECT_GT(validation.documents(), 5);
}

TEST_F(PrepareShards, InputsAreNamedOnce) {
  EXPECT_TRUE(contains(error_of<UsageError>([&] {
                         input_list({folder_ / "in", folder_ / "in/sub/c.jsonl"});
                       }),
                       "c.jsonl"));
  fs::create_directories(folder_ / "empty");
  EXPECT_TRUE(contains(error_of([&] { input_list({folder_ / "empty"}); }), "without a file"));
}

TEST_F(PrepareShards, RowsArePackedAlmostFull) {
  options_.each.row_length = 64;
  const ShardsResult result = prepare_shards(options_);
  const TokenFile all(folder_ / "out");
  EXPECT_EQ(all.row_length(), 64);
  EXPECT_EQ(all.rows(), result.prepared.train.rows);
  EXPECT_EQ(all.row(all.rows()), all.tokens());
  // Documents of up to 107 tokens: of the longer ones a row is cut off.
  std::int64_t long_ones = 0;
  for (std::int64_t i = 0; i < all.documents(); ++i)
    long_ones += all.offset(i + 1) - all.offset(i) == 64;
  EXPECT_GT(long_ones, 100);
  EXPECT_LT(1 - double(all.tokens()) / double(64 * all.rows()), 0.02);
}

TEST_F(PrepareShards, MegatronDatasets) {
  const auto bytes = [](const auto& values) {
    return std::string(reinterpret_cast<const char*>(values.data()),
                       values.size() * sizeof(values[0]));
  };
  // Documents "ab<end>", "" and "c".
  fs::create_directories(folder_ / "meg");
  folder_.write("meg/x.bin", bytes(std::vector<std::uint16_t>{97, 98, 258, 99}));
  folder_.write("meg/x.idx", std::string("MMIDIDX\0\0", 9) + bytes(std::vector<std::uint64_t>{1}) +
                                 char(8) + bytes(std::vector<std::uint64_t>{3, 4}) +
                                 bytes(std::vector<std::int32_t>{3, 0, 1}) +
                                 bytes(std::vector<std::int64_t>{0, 6, 6, 0, 1, 2, 3}));
  options_.each.format = CorpusFormat::megatron;
  options_.inputs = input_list({folder_ / "meg"}, ".idx");
  EXPECT_EQ(prepare_shards(options_).prepared.empty_documents, 1);
  const TokenFile all(folder_ / "out");
  std::vector<std::int32_t> tokens(std::size_t(all.tokens()));
  all.read(0, tokens);
  EXPECT_EQ(tokens, (std::vector<std::int32_t>{97, 98, 258, 99, 258}));
  EXPECT_EQ(all.documents(), 2);
}

}  // namespace
}  // namespace lacuna
