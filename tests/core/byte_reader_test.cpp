#include "core/byte_reader.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <thread>

#include "core/check.h"
#include "tests/support/support.h"

namespace lacuna {
namespace {

using testing::contains;
using testing::error_of;
using testing::Folder;

TEST(ByteReader, LooksAheadAndTakes) {
  const Folder folder;
  std::string text;
  for (int i = 0; text.size() < 300'000; ++i) text += std::to_string(i) + " ";
  ByteReader reader(folder.write("a", text));
  EXPECT_EQ(reader.ahead(5).substr(0, 5), "0 1 2");
  EXPECT_EQ(reader.take(2), "0 ");
  reader.skip(2);
  EXPECT_EQ(reader.position(), 4);
  EXPECT_GE(reader.ahead(200'000).size(), 200'000u);
  EXPECT_EQ(reader.take(200'000), text.substr(4, 200'000));
  EXPECT_EQ(reader.ahead(1'000'000), text.substr(200'004));  // all that are left
  reader.skip(text.size() - 200'004);
  EXPECT_TRUE(reader.ahead(1).empty());
  EXPECT_EQ(reader.position(), std::int64_t(text.size()));
}

TEST(ByteReader, WaitsForAPipe) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  std::thread writer([&] {
    for (const char* part : {"ab", "cd", "ef"}) EXPECT_EQ(write(ends[1], part, 2), 2);
    close(ends[1]);
  });
  ByteReader reader(ends[0], "a pipe");
  EXPECT_EQ(reader.ahead(5), "abcdef");
  EXPECT_EQ(reader.ahead(7), "abcdef");
  writer.join();
  close(ends[0]);
}

TEST(ByteReader, NamesWhatCannotBeRead) {
  const Folder folder;
  EXPECT_TRUE(
      contains(error_of([&] { ByteReader reader(folder / "none"); }), "none: No such file"));
  EXPECT_TRUE(contains(error_of([&] { ByteReader reader(folder / ""); }), "is a folder"));
  EXPECT_TRUE(contains(error_of([&] { ByteReader reader("/dev/zero"); }), "but a device"));
}

}  // namespace
}  // namespace lacuna
