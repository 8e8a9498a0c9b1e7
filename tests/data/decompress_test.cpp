#include "data/decompress.h"

#include <gtest/gtest.h>
#include <zlib.h>
#include <zstd.h>

#include "core/check.h"
#include "tests/data/compressed.h"
#include "tests/support/support.h"

namespace lacuna {
namespace {

using testing::contains;
using testing::error_of;
using testing::Folder;
using testing::gzip;
using testing::zstd;

std::string read_all(const std::string& path) {
  TextInput in(path);
  std::string text;
  while (const std::size_t n = in.text().ahead(1).size()) text += in.text().take(n);
  return text;
}

/// Of which both formats make several blocks.
std::string long_text() {
  std::string text;
  for (std::int64_t i = 0; text.size() < 3'000'000; ++i)
    text += std::to_string(i * i % 9973) + "\n";
  return text;
}

class Decompress : public ::testing::Test {
 protected:
  std::string read(const std::string& bytes) { return read_all(folder_.write("f", bytes)); }
  std::string error(const std::string& bytes) {
    return error_of([&] { read(bytes); });
  }
  Folder folder_;
  const std::string text_ = long_text();
};

TEST_F(Decompress, GivesWhatWasCompressed) {
  for (const std::string& text : {text_, std::string("a"), std::string()}) {
    EXPECT_TRUE(read(gzip(text)) == text);
    EXPECT_TRUE(read(zstd(text)) == text);
  }
  EXPECT_TRUE(read(text_) == text_);
  EXPECT_EQ(read("\x1f"), "\x1f");
}

TEST_F(Decompress, MembersAndFramesFollowEachOther) {
  EXPECT_TRUE(read(gzip(text_) + gzip("") + gzip("b") + gzip(text_)) == text_ + "b" + text_);
  EXPECT_TRUE(read(zstd(text_) + zstd("") + zstd("b") + zstd(text_)) == text_ + "b" + text_);
  const std::string skipped("\x51\x2a\x4d\x18\x03\0\0\0abc", 11);
  EXPECT_TRUE(read(skipped + zstd("a") + skipped + zstd("b")) == "ab");
  EXPECT_EQ(read(gzip("a") + std::string(1000, '\0')), "a");  // a tape's last block
  EXPECT_TRUE(contains(error(gzip("a") + "more"), "other data follow its gzip data, at byte 21"));
  EXPECT_TRUE(contains(error(zstd("a") + "more text"), "zstd data cannot be unpacked"));
}

TEST_F(Decompress, WhatWasCutShortIsAnError) {
  for (const bool with_zstd : {false, true}) {
    const std::string whole = with_zstd ? zstd(text_) : gzip(text_);
    for (const std::size_t length : {std::size_t{5}, whole.size() / 2, whole.size() - 1})
      EXPECT_TRUE(contains(error(whole.substr(0, length)), "the file was cut short"))
          << with_zstd << ' ' << length;
    const std::string two = whole + whole.substr(0, whole.size() / 2);
    EXPECT_TRUE(contains(error(two), "the file was cut short"));
  }
}

TEST_F(Decompress, DamageIsAnError) {
  for (const bool with_zstd : {false, true}) {
    std::string bytes = with_zstd ? zstd(text_) : gzip(text_);
    const std::size_t end = with_zstd ? bytes.size() - 2 : bytes.size() - 6;  // in the checksum
    for (const std::size_t at : {bytes.size() / 2, end}) {
      std::string damaged = bytes;
      damaged[at] = char(damaged[at] ^ 0x10);
      EXPECT_FALSE(error(damaged).empty()) << with_zstd << ' ' << at;
    }
  }
}

// Which would have the reader take as much memory.
TEST_F(Decompress, AWindowOfAGigabyteIsRefused) {
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, 30);
  std::string bytes(1000, '\0');
  ZSTD_inBuffer in{"text", 4, 0};
  ZSTD_outBuffer out{bytes.data(), bytes.size(), 0};
  // Two calls, so that the frame's length is not known when its window is written.
  ZSTD_compressStream2(context, &out, &in, ZSTD_e_flush);
  ZSTD_compressStream2(context, &out, &in, ZSTD_e_end);
  ZSTD_freeCCtx(context);
  EXPECT_TRUE(contains(error(bytes.substr(0, out.pos)), "zstd data cannot be unpacked"));
}

TEST_F(Decompress, CountsBytesOfTheFileAndOfTheText) {
  const std::string bytes = gzip(text_);
  TextInput in(folder_.write("f", bytes));
  EXPECT_TRUE(in.compressed());
  while (const std::size_t n = in.text().ahead(1).size()) in.text().skip(n);
  EXPECT_EQ(in.consumed(), std::int64_t(bytes.size()));
  EXPECT_EQ(in.text().position(), std::int64_t(text_.size()));
}

}  // namespace
}  // namespace lacuna
