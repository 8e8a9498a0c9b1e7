#include "data/token_file.h"

#include "core/tensor_of.h"
#include "data/sha256.h"
#include "formats/hdf5.h"
#include "tests/data/support.h"

namespace lacuna {
namespace {

using testing::contains;
using testing::error_of;
using testing::Folder;
using testing::FullDisk;
using testing::write_counting;

std::string open_error(const std::string& path) {
  return error_of([&] { TokenFile file(path); });
}

TEST(TokenFile, KeepsWhatWasWritten) {
  const Folder folder;
  const std::string path = folder / "t.h5";
  TokenFileWriter writer(path, {300, 298, 299, "{\"a\": 1}"});
  writer.append(std::vector<std::int32_t>{1, 2});
  writer.append(std::vector<std::int32_t>{3, 299});
  writer.end_document();
  writer.append(std::vector<std::int32_t>{0, 299});
  writer.end_document();
  writer.finish();
  EXPECT_EQ(folder.files(), std::vector<std::string>{"t.h5.partial"});
  writer.commit();
  EXPECT_EQ(folder.files(), std::vector<std::string>{"t.h5"});

  const TokenFile file(path);
  EXPECT_EQ(file.path(), path);
  EXPECT_EQ(file.tokens(), 6);
  EXPECT_EQ(file.documents(), 2);
  EXPECT_EQ(file.vocab_size(), 300);
  EXPECT_EQ(file.mask_token(), 298);
  EXPECT_EQ(file.eos_token(), 299);
  EXPECT_EQ(file.tokenizer_json(), "{\"a\": 1}");
  EXPECT_EQ(h5::File::open(path).string_attribute("tokenizer_sha256"), sha256("{\"a\": 1}"));
  EXPECT_EQ(file.offset(0), 0);
  EXPECT_EQ(file.offset(1), 4);
  EXPECT_EQ(file.offset(2), 6);
  std::vector<std::int32_t> tokens(4);
  file.read(2, tokens);
  EXPECT_EQ(tokens, (std::vector<std::int32_t>{3, 299, 0, 299}));
  EXPECT_TRUE(contains(error_of([&] { file.read(3, tokens); }), "it holds 6"));
  EXPECT_TRUE(contains(error_of([&] { file.offset(3); }), "it holds 2"));
  file.verify();
}

TEST(TokenFile, GrowsPastItsBuffers) {
  const Folder folder;
  const std::vector<std::int64_t> lengths(70'000, 31);
  write_counting(folder / "t.h5", lengths);
  const TokenFile file(folder / "t.h5");
  ASSERT_EQ(file.tokens(), 70'000 * 31);
  ASSERT_EQ(file.documents(), 70'000);
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(file.tokens()));
  file.read(0, tokens);
  for (std::size_t i = 0; i < tokens.size(); ++i) ASSERT_EQ(tokens[i], std::int32_t(i % 1000));
  for (std::int64_t i = 0; i <= file.documents(); ++i) ASSERT_EQ(file.offset(i), 31 * i);
}

TEST(TokenFile, LeavesNothingUnfinished) {
  const Folder folder;
  {
    TokenFileWriter writer(folder / "t.h5", {10, 9, 8, "{}"});
    writer.append(std::vector<std::int32_t>{1});
    EXPECT_TRUE(contains(error_of([&] { writer.append(std::vector<std::int32_t>{10}); }),
                         "token 10 lies outside the vocabulary of 10"));
    EXPECT_TRUE(contains(error_of([&] { writer.finish(); }), "no document"));
  }
  EXPECT_TRUE(folder.files().empty());
  EXPECT_TRUE(contains(error_of([&] {
                         TokenFileWriter(folder / "t.h5", {10, 10, 8, "{}"});
                       }),
                       "special token 10"));
  EXPECT_TRUE(folder.files().empty());
}

TEST(TokenFile, RefusesOtherFiles) {
  const Folder folder;
  EXPECT_TRUE(contains(open_error(folder / "none.h5"), "none.h5"));
  EXPECT_TRUE(contains(open_error(folder.write("text.h5", "not HDF5")), "text.h5"));

  const auto make = [&](const std::string& name, const std::string& format, std::int64_t version,
                        std::vector<std::int64_t> offsets, std::vector<std::int32_t> tokens) {
    h5::FileWriter file(folder / name);
    file.set_attribute("format", format);
    file.set_attribute("version", version);
    file.set_attribute("vocab_size", std::int64_t{100});
    file.set_attribute("mask_token", std::int64_t{-1});
    file.set_attribute("eos_token", std::int64_t{99});
    file.set_attribute("tokenizer", "{}");
    file.set_attribute("tokenizer_sha256", sha256("{}"));
    file.write("/tokens", tensor_of(tokens));
    file.write("/offsets", tensor_of(offsets));
    file.close();
    return folder / name;
  };
  EXPECT_EQ(open_error(make("good.h5", "lacuna-tokens", 1, {0, 2, 3}, {1, 99, 99})), "");
  EXPECT_TRUE(contains(open_error(make("f.h5", "lacuna-checkpoint", 1, {0, 1}, {1})),
                       "f.h5: is not a token file"));
  EXPECT_TRUE(contains(open_error(make("v.h5", "lacuna-tokens", 3, {0, 1}, {1})),
                       "v.h5: is a token file of version 3; this program reads versions 1 and 2"));
  EXPECT_TRUE(contains(open_error(make("o.h5", "lacuna-tokens", 1, {0, 3, 2, 4}, {1, 1, 1, 1})),
                       "/offsets falls from 3 to 2 at document 1"));
  EXPECT_TRUE(contains(open_error(make("e.h5", "lacuna-tokens", 1, {0, 3}, {1, 1, 1, 1})),
                       "/offsets runs from 0 to 3, not from 0 to the 4 tokens"));

  const TokenFile ids(make("ids.h5", "lacuna-tokens", 1, {0, 4}, {1, 99, 100, 2}));
  std::vector<std::int32_t> out(2);
  ids.read(0, out);
  EXPECT_TRUE(contains(error_of([&] { ids.read(1, out); }),
                       "ids.h5: token 2 is 100, not an id of its vocabulary of 100"));
}

TEST(TokenFile, NoticesDamage) {
  const Folder folder;
  write_counting(folder / "t.h5", {5000, 5000});
  const std::string good = read_file(folder / "t.h5");
  const std::string cut = folder.write("cut.h5", good.substr(0, good.size() / 2));
  EXPECT_TRUE(contains(open_error(cut), "cut.h5"));

  // One bit of a token that stays a valid id: only the checksum can tell. Tokens 700 and 701 as
  // they lie in the file.
  const std::string pattern("\xbc\x02\xbd\x02", 4);
  const std::size_t at = good.find(pattern);
  ASSERT_NE(at, std::string::npos);
  std::string flipped = good;
  flipped[at] = char(flipped[at] ^ 1);
  const std::string error = open_error(folder.write("flipped.h5", flipped));
  EXPECT_TRUE(contains(error, "flipped.h5"));
  EXPECT_TRUE(contains(error, "/tokens"));
}

TEST(TokenFile, FullDiskLeavesNothing) {
  const Folder folder;
  for (const rlim_t room : {0, 1000, 4096, 50'000, 300'000}) {
    std::string error;
    {
      const FullDisk disk(room);
      error = error_of([&] { write_counting(folder / "t.h5", {100'000}); });
    }
    EXPECT_TRUE(contains(error, "t.h5")) << room;
    EXPECT_TRUE(folder.files().empty()) << room;
  }
}

}  // namespace
}  // namespace lacuna
