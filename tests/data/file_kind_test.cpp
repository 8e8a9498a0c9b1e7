#include "data/file_kind.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/support/support.h"

namespace lacuna {
namespace {

using namespace std::string_literals;
using testing::contains;

TEST(FileKind, CompressedFilesAreNamedWithWhatUnpacksThem) {
  const std::pair<std::string, const char*> cases[] = {
      {"\x1f\x8b\x08\0"s, "is compressed (gzip); unpack it, or give it as <(zcat f)"},
      {"\x1f\x9d\x90"s, "(compress)"},
      {"\x28\xb5\x2f\xfd\x24"s, "is compressed (zstd); unpack it, or give it as <(zstd -dc f)"},
      {"\xfd\x37zXZ\0"s, "<(xz -dc f)"},
      {"\x5d\0\0\x80\0"s, "(lzma)"},
      {"BZh91AY&SY"s, "<(bzip2 -dc f)"},
      {"\x04\x22\x4d\x18"s, "<(lz4 -dc f)"},
      {"LZIP\1"s, "(lzip)"},
      {"PK\3\4\x14"s, "is compressed (zip); unpack it, or give it as <(unzip -p f)"},
      {"7z\xbc\xaf\x27\x1c\0"s, "(7z)"},
      {"Rar!\x1a\x07"s, "is compressed (rar); unpack it"},
      {"x\x9c\x4b"s, "(zlib)"}};
  for (const auto& [head, wanted] : cases)
    EXPECT_TRUE(contains(not_text(head, "f"), wanted)) << wanted << ": " << not_text(head, "f");
  EXPECT_EQ(not_text("\x1f\x8b", "/dev/fd/63"), "is compressed (gzip); unpack it");
}

TEST(FileKind, OtherFilesAreNamed) {
  std::string tar(512, '\0');
  tar.replace(0, 5, "a.txt");
  tar.replace(257, 5, "ustar");
  const std::pair<std::string, const char*> cases[] = {
      {"PAR1\x15\x04"s, "is a Parquet file; read its column of texts with --format parquet"},
      {"ARROW1\0\0"s, "is an Arrow file"},
      {"\xff\xff\xff\xff\x88\2\0\0"s, "is an Arrow stream"},
      {"\x89HDF\r\n\x1a\n"s, "is an HDF5 file; a token file, which is one, is named in data.train"},
      {"SQLite format 3\0"s, "is an SQLite database"},
      {"\x58\0\0\0\0\0\0\0{\"x\":"s, "is a safetensors file"},
      {"GGUF\3\0\0\0"s, "is a GGUF file"},
      {"\x93NUMPY\1\0"s, "is a NumPy array"},
      {"\x80\x04\x95"s, "is a Python pickle"},
      {"%PDF-1.7\n"s, "is a PDF document; extract its text"},
      {"\x89PNG\r\n"s, "is a PNG image"},
      {"\x7f"
       "ELF"s,
       "is a program"},
      {tar, "is a tar archive"},
      {"version https://git-lfs.github.com/spec/v1\n"s, "is a pointer of Git LFS"},
      {"\xff\xfe\x61\0"s, "is UTF-16 text; convert it: iconv -f UTF-16 -t UTF-8"},
      {"\xfe\xff\0\x61"s, "is UTF-16 text"},
      {"\xff\xfe\0\0\x61\0\0\0"s, "is UTF-32 text"},
      {"t\0h\0e\0 \0e\0n\0d\0"s, "is UTF-16LE text; convert it: iconv -f UTF-16LE"},
      {"\0t\0h\0e\0 \0e\0n\0d"s, "is UTF-16BE text"},
      {"some text\0, and more"s, "is binary: byte 9 is NUL"},
      {"\1\2 short \3"s, "is binary: 3 of the first 10 bytes are control characters"}};
  for (const auto& [head, wanted] : cases)
    EXPECT_TRUE(contains(not_text(head, "f"), wanted)) << wanted << ": " << not_text(head, "f");
  std::mt19937 random(3);
  for (int i = 0; i < 100; ++i) {
    std::string noise(1000, '\0');
    for (char& c : noise) c = char(random() & 255);
    EXPECT_FALSE(not_text(noise, "f").empty());
  }
}

TEST(FileKind, TextIsText) {
  for (const std::string& text :
       {"plain"s, ""s, "\xef\xbb\xbfwith a byte order mark"s, "caf\xe9 in Latin-1, \xff\xfe"s,
        "\x1b[1mcolours\x1b[0m of a terminal\r\n\f"s, "one stray \x02 in a text"s, "\xe4\xb8\x80"s,
        "{\"text\": \"x\"}"s, "BZ and PK and PAR, xyz"s, "version 2"s, " "s, "[1]"s,
        "MZ, he said"s})
    EXPECT_EQ(not_text(text, "f"), "") << text;
}

}  // namespace
}  // namespace lacuna
