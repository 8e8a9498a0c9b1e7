#include "data/megatron_tokens.h"

#include <cstring>

#include "tests/data/support.h"

namespace lacuna {
namespace {

using testing::contains;
using testing::error_of;
using testing::Folder;

template <class T>
std::string bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

/// The index that Megatron-LM's IndexedDatasetBuilder writes.
std::string index_of(int dtype, const std::vector<std::int32_t>& lengths,
                     const std::vector<std::int64_t>& documents) {
  std::vector<std::int64_t> pointers;
  std::int64_t at = 0;
  for (const std::int32_t length : lengths) {
    pointers.push_back(at);
    at += length * (dtype == 8 ? 2 : 4);
  }
  return std::string("MMIDIDX\0\0", 9) + bytes_of(std::vector<std::uint64_t>{1}) + char(dtype) +
         bytes_of(std::vector<std::uint64_t>{lengths.size(), documents.size()}) +
         bytes_of(lengths) + bytes_of(pointers) + bytes_of(documents);
}

TEST(MegatronTokens, BothTypesByAnyName) {
  const Folder folder;
  folder.write("narrow.bin", bytes_of(std::vector<std::uint16_t>{1, 2, 3, 65'535, 4, 5}));
  folder.write("narrow.idx", index_of(8, {2, 2, 2}, {0, 2, 3}));
  folder.write("wide.bin", bytes_of(std::vector<std::int32_t>{1, 2, 70'000}));
  folder.write("wide.idx", index_of(4, {1, 2}, {0, 1, 2}) + "modes of multimodal data");
  for (const char* name : {"narrow", "narrow.bin", "narrow.idx"}) {
    const TokenFile file(folder / name, 65'536);
    EXPECT_EQ(file.tokens(), 6);
    EXPECT_EQ(file.documents(), 2);
    EXPECT_EQ(file.offset(1), 4);
    EXPECT_EQ(file.offset(2), 6);
    EXPECT_EQ(file.vocab_size(), 65'536);
    EXPECT_EQ(file.eos_token(), -1);
    std::vector<std::int32_t> tokens(6);
    file.read(0, tokens);
    EXPECT_EQ(tokens, (std::vector<std::int32_t>{1, 2, 3, 65'535, 4, 5}));
    file.verify();
  }
  const TokenFile wide(folder / "wide", 1'000);
  std::vector<std::int32_t> tokens(3);
  EXPECT_TRUE(contains(error_of([&] { wide.read(0, tokens); }),
                       "wide.idx: token 2 is 70000, not an id of its vocabulary of 1000"));
}

TEST(MegatronTokens, SaysWhatIsWrong) {
  const Folder folder;
  folder.write("x.bin", bytes_of(std::vector<std::uint16_t>{1, 2, 3}));
  const auto open_error = [&](const std::string& index) {
    folder.write("x.idx", index);
    return error_of([&] { TokenFile(folder / "x", 10); });
  };
  EXPECT_EQ(open_error(index_of(8, {1, 2}, {0, 1, 2})), "");
  EXPECT_TRUE(contains(open_error("MMIDIDX"), "does not begin with MMIDIDX"));
  EXPECT_TRUE(contains(open_error(index_of(5, {1, 2}, {0, 1, 2})), "type 5 (int64)"));
  EXPECT_TRUE(contains(open_error(index_of(8, {1, 1}, {0, 1, 2})), "has 6 bytes, where "));
  EXPECT_TRUE(contains(open_error(index_of(8, {-1, 4}, {0, 1, 2})), "begins at byte -2"));
  EXPECT_TRUE(contains(open_error(index_of(8, {1, 2}, {0, 3, 2})), "begins at sequence 3 of 2"));
  EXPECT_TRUE(contains(open_error(index_of(8, {1, 1, 1}, {0, 2, 1, 3})),
                       "document 2 begins before document 1"));
  EXPECT_TRUE(contains(open_error(index_of(8, {1, 2}, {0, 1, 2}).substr(0, 50)), "cannot hold"));
  std::string apart = index_of(8, {1, 1, 1}, {0, 1, 3});
  apart[34 + 3 * 4 + 8] = 0;  // the second sequence's first byte
  EXPECT_TRUE(contains(open_error(apart), "must lie end to end"));
  std::string version = index_of(8, {1, 2}, {0, 1, 2});
  version[9] = 2;
  EXPECT_TRUE(contains(open_error(version), "version 2"));
  std::filesystem::remove(folder / "x.bin");
  EXPECT_TRUE(contains(open_error(index_of(8, {1, 2}, {0, 1, 2})), "x.bin: No such file"));
}

}  // namespace
}  // namespace lacuna
