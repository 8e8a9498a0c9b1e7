#include "data/source_loader.h"

#include <map>

#include "tests/data/support.h"

namespace lacuna {
namespace {

using testing::contains;
using testing::error_of;
using testing::Folder;

/// A token file whose tokens are first, first + 1 …
void write_run(const std::string& path, std::int32_t first, std::int64_t tokens,
               const std::string& tokenizer = "{}") {
  TokenFileWriter writer(path, {100'000, 99'999, 99'998, tokenizer});
  std::vector<std::int32_t> ids;
  for (std::int64_t i = 0; i < tokens; ++i) ids.push_back(first + std::int32_t(i));
  writer.append(ids);
  writer.end_document();
  writer.finish();
  writer.commit();
}

class SourceLoaderTest : public ::testing::Test {
 protected:
  SourceLoaderTest() {
    write_run(folder_ / "a.h5", 0, 16'000);
    write_run(folder_ / "b.h5", 20'000, 1'600);
    config_.data.sources = {{folder_ / "a.h5", 3}, {folder_ / "b.h5", 1}};
    config_.data.sequence_length = 16;
    config_.train.batch_size = 8;
  }
  static std::vector<std::int32_t> batch(const SourceLoader& loader, std::int64_t first,
                                         std::int64_t count) {
    std::vector<std::int32_t> out(std::size_t(count * loader.sequence_length()));
    std::vector<RowDocuments> documents;
    loader.batch(first, count, Tensor(out.data(), Shape{count, loader.sequence_length()}),
                 documents);
    EXPECT_TRUE(documents.empty());
    return out;
  }
  std::string open_error() const {
    return error_of<UsageError>([&] { open_sources(config_); });
  }

  Folder folder_;
  Config config_;
};

TEST_F(SourceLoaderTest, MixesByTokens) {
  const auto files = open_sources(config_);
  const SourceLoader loader(config_, files);
  EXPECT_EQ(loader.windows(), 1'100);
  const std::int64_t n = 4096;
  const auto tokens = batch(loader, 0, n);
  std::map<std::int32_t, int> seen;
  std::int64_t of_b = 0;
  for (const std::int32_t token : tokens) {
    ++seen[token];
    of_b += token >= 20'000;
  }
  EXPECT_EQ(of_b, n / 4 * 16);
  // 1,024 samples of b's 100 windows are ten epochs and a part of one, of a ring without a rest.
  for (const auto& [token, times] : seen) {
    const int least = token < 20'000 ? 3 : 10;
    EXPECT_TRUE(times == least || times == least + 1) << token;
  }
  const auto uses = loader.use_of(n);
  EXPECT_EQ(uses[0].samples, 3072);
  EXPECT_DOUBLE_EQ(uses[0].epochs, 3.072);
  EXPECT_DOUBLE_EQ(uses[1].epochs, 10.24);
}

TEST_F(SourceLoaderTest, ResumesAndSplitsAnywhere) {
  config_.data.stages = {{40, {1, 1}}};
  const auto files = open_sources(config_);
  const SourceLoader loader(config_, files);
  const auto whole = batch(loader, 0, 400);
  const auto reopened = open_sources(config_);
  const SourceLoader resumed(config_, reopened);
  std::vector<std::int32_t> parts;
  for (std::int64_t first = 0; first < 400; first += 7) {
    const auto part = batch(resumed, first, std::min<std::int64_t>(7, 400 - first));
    parts.insert(parts.end(), part.begin(), part.end());
  }
  EXPECT_EQ(parts, whole);
}

TEST_F(SourceLoaderTest, ASingleFileIsReadAsByALoader) {
  config_.data.sources = {};
  config_.data.train = folder_ / "a.h5";
  const auto files = open_sources(config_);
  const SourceLoader loader(config_, files);
  const Loader plain(files.front(), 16, std::uint64_t(config_.train.seed));
  std::vector<std::int32_t> tokens(2'500 * 16);
  plain.batch(0, 2'500, Tensor(tokens.data(), {2'500, 16}));
  EXPECT_EQ(batch(loader, 0, 2'500), tokens);
}

TEST_F(SourceLoaderTest, TheSameTextTwiceIsAnError) {
  std::filesystem::create_symlink(folder_ / "a.h5", folder_ / "link.h5");
  config_.data.sources[1].path = folder_ / "link.h5";
  EXPECT_TRUE(contains(open_error(), "is in both"));
}

TEST_F(SourceLoaderTest, TokenizersMustAgree) {
  write_run(folder_ / "c.h5", 0, 100, "{\"other\": 1}");
  config_.data.sources.push_back({folder_ / "c.h5", 1});
  EXPECT_TRUE(contains(open_error(), "different tokenizers"));
}

TEST_F(SourceLoaderTest, MaxEpochsIsALimitOfTheRun) {
  config_.data.sources[1].max_epochs = 10;
  const auto files = open_sources(config_);
  const SourceLoader loader(config_, files);
  EXPECT_EQ(error_of([&] { check_max_epochs(loader.use_of(3'900)); }), "");
  EXPECT_TRUE(contains(error_of<UsageError>([&] { check_max_epochs(loader.use_of(4'200)); }),
                       "b.h5 would be read 10.5 times in this run, more than its max_epochs = 10"));
}

/// Documents of 5, 1, 9 and 6 tokens.
class SeparateDocumentsTest : public ::testing::Test {
 protected:
  SeparateDocumentsTest() { testing::write_counting(folder_ / "t.h5", {5, 1, 9, 6}); }
  Folder folder_;
};

TEST_F(SeparateDocumentsTest, AWindowKnowsItsDocuments) {
  const TokenFile file(folder_ / "t.h5");
  EXPECT_EQ(file.document_of(4), 0);
  EXPECT_EQ(file.document_of(5), 1);
  EXPECT_EQ(file.document_of(6), 2);
  EXPECT_EQ(file.document_of(20), 3);
  const Loader loader(file, 8, 1, Documents::separate);
  const std::vector<std::int64_t> begins = {0, 5, 6, 15};
  for (std::int64_t index = 0; index < 20; ++index) {
    std::vector<std::int32_t> tokens(8);
    RowDocuments documents;
    loader.sample(index, tokens.data(), documents);
    EXPECT_EQ(documents.length, 8);
    std::vector<std::int32_t> starts;
    for (std::int32_t k = 1; k < 8; ++k)
      if (std::count(begins.begin(), begins.end(), tokens[std::size_t(k)])) starts.push_back(k);
    EXPECT_EQ(documents.starts, starts) << index;
  }
}

TEST_F(SeparateDocumentsTest, RowsAreTheWindows) {
  {
    TokenFileWriter writer(folder_ / "rows.h5", {50, -1, -1, "{}", false, false, 8});
    std::int32_t next = 0;
    for (const std::vector<int>& row : {std::vector<int>{5, 3}, {8}, {2, 2, 3}}) {
      for (const int length : row) {
        std::vector<std::int32_t> tokens;
        for (int i = 0; i < length; ++i) tokens.push_back(next++);
        writer.append(tokens);
        writer.end_document();
      }
      writer.end_row();
    }
    writer.finish();
    writer.commit();
  }
  const TokenFile file(folder_ / "rows.h5");
  EXPECT_EQ(file.rows(), 3);
  EXPECT_EQ(file.row(3), 23);
  const Loader loader(file, 8, 1, Documents::separate);
  ASSERT_EQ(loader.windows(), 3);
  std::map<std::int32_t, RowDocuments> rows;
  for (std::int64_t i = 0; i < 3; ++i) {
    std::vector<std::int32_t> tokens(8);
    RowDocuments documents;
    loader.sample(i, tokens.data(), documents);
    rows[tokens[0]] = documents;
    EXPECT_EQ(tokens[7], tokens[0] == 16 ? 0 : tokens[0] + 7);  // 0: padding
  }
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].starts, std::vector<std::int32_t>{5});
  EXPECT_EQ(rows[8].starts, std::vector<std::int32_t>{});
  EXPECT_EQ(rows[16].starts, (std::vector<std::int32_t>{2, 4}));
  EXPECT_EQ(rows[16].length, 7);
  EXPECT_TRUE(contains(error_of<UsageError>([&] { Loader(file, 4, 1, Documents::separate); }),
                       "was prepared with --row-length 8"));
  EXPECT_EQ(Loader(file, 4, 1).windows(), 5);  // joined: a text like any other
}

}  // namespace
}  // namespace lacuna
