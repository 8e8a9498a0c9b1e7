#include "data/token_manifest.h"

#include "data/sha256.h"
#include "tests/data/support.h"

namespace lacuna {
namespace {

using testing::contains;
using testing::error_of;
using testing::Folder;
using testing::write_counting;

class ManifestTest : public ::testing::Test {
 protected:
  ManifestTest() {
    write_counting(folder_ / "0.h5", {500, 1});
    write_counting(folder_ / "1.h5", {502, 40, 9});
    manifest_.tokenizer_sha256 = sha256("{}");
    manifest_.shards = {
        {"0.h5", "a.txt", 2, 501}, {"", "empty.txt", 0, 0}, {"1.h5", "b.txt", 3, 551}};
  }
  std::string open_error() {
    folder_.write(kManifestName, manifest_text(manifest_));
    return error_of([&] { TokenFile(folder_ / ""); });
  }
  Folder folder_;
  TokenManifest manifest_;
};

TEST_F(ManifestTest, FilesAreOneText) {
  folder_.write(kManifestName, manifest_text(manifest_));
  for (const std::string& path : {folder_ / "", folder_ / kManifestName}) {
    const TokenFile all(path);
    ASSERT_EQ(all.tokens(), 1052);
    ASSERT_EQ(all.documents(), 5);
    EXPECT_EQ(all.files().size(), 2u);
    const std::vector<std::int64_t> offsets = {0, 500, 501, 1003, 1043, 1052};
    for (std::int64_t i = 0; i <= 5; ++i) EXPECT_EQ(all.offset(i), offsets[std::size_t(i)]);
    EXPECT_EQ(all.document_of(500), 1);
    EXPECT_EQ(all.document_of(501), 2);
    EXPECT_EQ(all.document_of(1051), 4);
    std::vector<std::int32_t> tokens(20);
    all.read(490, tokens);
    for (std::int32_t i = 0; i < 20; ++i)
      EXPECT_EQ(tokens[std::size_t(i)], i < 11 ? 490 + i : i - 11);
    all.verify();
  }
  EXPECT_EQ(parse_manifest(manifest_text(manifest_), "m"), manifest_);
}

TEST_F(ManifestTest, MustBeRight) {
  EXPECT_TRUE(contains(error_of([&] { TokenFile(folder_ / ""); }), "without a manifest.json"));
  EXPECT_EQ(open_error(), "");
  manifest_.shards[0].tokens = 500;
  EXPECT_TRUE(contains(open_error(), "0.h5: has 501 tokens in 2 documents"));
  manifest_.shards[0].tokens = 501;
  manifest_.shards[0].file = "1.h5";
  EXPECT_TRUE(contains(open_error(), "shard 2: 1.h5 is there twice"));
  for (const char* name : {"../0.h5", "/etc/passwd", "..", "a/b"}) {
    manifest_.shards[0].file = name;
    EXPECT_TRUE(contains(open_error(), "is not a file's name")) << name;
  }
  manifest_.shards[0].file = "2.h5";
  EXPECT_TRUE(contains(open_error(), "2.h5: No such file"));
  manifest_.shards[0].file = "0.h5";
  manifest_.tokenizer_sha256 = sha256("other");
  EXPECT_TRUE(contains(open_error(), "another tokenizer"));
}

TEST_F(ManifestTest, PairsAndExamplesDoNotMix) {
  const auto write = [&](const std::string& name, bool pairs) {
    TokenFileWriter writer(
        folder_ / name,
        {.vocab_size = 1000, .tokenizer_json = "{}", .responses = true, .pairs = pairs});
    for (int i = 0; i < 2; ++i) {
      writer.append(std::vector<std::int32_t>{1}, false);
      writer.append(std::vector<std::int32_t>{2}, true);
      writer.end_document();
    }
    writer.finish();
    writer.commit();
  };
  write("0.h5", true);
  write("1.h5", true);
  manifest_.shards = {{"0.h5", "a.jsonl", 2, 4}, {"1.h5", "b.jsonl", 2, 4}};
  EXPECT_EQ(open_error(), "");
  write("1.h5", false);
  EXPECT_TRUE(contains(open_error(), "1.h5: was prepared in another way"));
}

TEST(Manifest, MalformedText) {
  const std::string head = R"({"format": "lacuna-token-manifest", "version": 1, )"
                           R"("tokenizer_sha256": "", "shards": )";
  const auto parse_error = [](const std::string& text) {
    return error_of([&] { parse_manifest(text, "m.json"); });
  };
  EXPECT_TRUE(contains(parse_error("{}"), "m.json: has no 'format'"));
  EXPECT_TRUE(contains(parse_error("[]"), "m.json"));
  EXPECT_TRUE(contains(parse_error(R"({"format": "x"})"), "is not a manifest"));
  EXPECT_TRUE(contains(parse_error(R"({"format": "lacuna-token-manifest", "version": 2})"),
                       "manifest of version 2"));
  EXPECT_TRUE(contains(parse_error(head + "{}}"), "'shards' is not a list"));
  EXPECT_TRUE(contains(parse_error(head + "[]}"), "names no file"));
  EXPECT_TRUE(contains(parse_error(head + "[3]}"), "shard 0: has no 'file'"));
  const auto shard = [&](const std::string& documents, const std::string& tokens) {
    return parse_error(head + R"([{"file": "a", "input": "", "documents": )" + documents +
                       R"(, "tokens": )" + tokens + "}]}");
  };
  EXPECT_EQ(shard("1", "7"), "");
  EXPECT_TRUE(contains(shard("1", "0"), "has 0 tokens and a file"));
  for (const char* bad : {"-1", "1.5", "\"1\"", "99999999999999999999", "9223372036854775807"})
    EXPECT_TRUE(contains(shard("1", bad), "is not a whole number")) << bad;
}

}  // namespace
}  // namespace lacuna
