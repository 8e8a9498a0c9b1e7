#include "data/corpus.h"

#include "tests/data/support.h"

namespace lacuna {
namespace {

using testing::contains;
using testing::error_of;
using testing::Folder;

// Before a line, if there is one.
std::size_t at_lines(std::string_view text, std::size_t limit) {
  for (std::size_t i = limit; i > 1; --i)
    if (text[i - 1] == '\n') return i;
  return limit;
}

std::vector<CorpusPiece> read_all(CorpusReader& reader) {
  std::vector<CorpusPiece> pieces;
  for (CorpusPiece piece; reader.next(piece);) pieces.push_back(piece);
  return pieces;
}

TEST(Utf8, CountsInvalidBytes) {
  EXPECT_EQ(invalid_utf8_bytes("plain, \xc3\xa9, \xe2\x82\xac, \xf0\x9f\x98\x80"), 0);
  EXPECT_EQ(invalid_utf8_bytes("\xff\xfe"), 2);
  EXPECT_EQ(invalid_utf8_bytes("\xc3"), 1);              // cut short
  EXPECT_EQ(invalid_utf8_bytes("\xc0\x80"), 2);          // overlong
  EXPECT_EQ(invalid_utf8_bytes("\xed\xa0\x80"), 3);      // a surrogate
  EXPECT_EQ(invalid_utf8_bytes("\xf4\x90\x80\x80"), 4);  // above U+10FFFF
  EXPECT_EQ(invalid_utf8_bytes("a\xe2\x82"
                               "b"),
            2);
}

TEST(Corpus, TextPiecesAddUpToTheFiles) {
  const Folder folder;
  std::string large;
  for (int i = 0; large.size() < 3'000'000; ++i) large += "line " + std::to_string(i) + "\n";
  const std::string other = "small";
  CorpusReader reader({folder.write("a", large), folder.write("b", other)}, CorpusFormat::text,
                      at_lines);
  EXPECT_EQ(reader.size(), std::int64_t(large.size() + other.size()));
  const auto pieces = read_all(reader);
  ASSERT_EQ(pieces.size(), 4u);
  std::string joined;
  for (int i = 0; i < 3; ++i) {
    joined += pieces[i].bytes;
    EXPECT_EQ(pieces[i].ends_document, i == 2);
    EXPECT_EQ(pieces[i].bytes.back(), '\n');
  }
  EXPECT_EQ(joined, large);
  EXPECT_EQ(pieces[3].bytes, other);
  EXPECT_TRUE(pieces[3].ends_document);
  EXPECT_EQ(reader.position(), reader.size());
}

TEST(Corpus, SplitsOneDocumentAtALine) {
  const Folder folder;
  std::string text;
  while (text.size() < 2'500'000) text += "a line of text\n";
  for (const std::int64_t at : {std::int64_t{100}, std::int64_t{1'048'576}, std::int64_t{2'000'000},
                                std::int64_t(text.size()) - 10}) {
    CorpusReader reader({folder.write("a", text)}, CorpusFormat::text, at_lines);
    reader.split_at({at});
    std::string parts[2];
    int part = 0;
    for (const CorpusPiece& piece : read_all(reader)) {
      ASSERT_LT(part, 2);
      parts[part] += piece.bytes;
      part += piece.ends_document;
    }
    EXPECT_EQ(part, 2);
    EXPECT_EQ(parts[0] + parts[1], text);
    EXPECT_LE(std::int64_t(parts[0].size()), at);
    EXPECT_GT(std::int64_t(parts[0].size()), at - 15);
  }
}

TEST(Corpus, LinesCarryTheirNumbers) {
  const Folder folder;
  CorpusReader reader({folder.write("a", "{1}\n\n  \r\n{4}\r\n"), folder.write("b", "{x}")},
                      CorpusFormat::jsonl, at_lines);
  const auto pieces = read_all(reader);
  ASSERT_EQ(pieces.size(), 3u);
  EXPECT_EQ(pieces[0].line, 1);
  EXPECT_EQ(pieces[1].line, 4);
  EXPECT_EQ(pieces[2].line, 1);
  EXPECT_EQ(pieces[2].file, 1u);
  EXPECT_EQ(pieces[2].bytes, "{x}");
}

TEST(Corpus, PlacesNameLineAndElement) {
  const Folder folder;
  CorpusReader reader({folder.write("a", "{1}\n"), folder.write("b", "[\n{1},\n{2}]")},
                      CorpusFormat::jsonl, {});
  const auto pieces = read_all(reader);
  ASSERT_EQ(pieces.size(), 3u);
  EXPECT_EQ(reader.place(pieces[0]), folder / "a:1");
  EXPECT_EQ(reader.place(pieces[2]), folder / "b:3 (element 2 of the array)");
  EXPECT_EQ(reader.position(), reader.size());
}

TEST(Corpus, AByteOrderMarkIsNoText) {
  const Folder folder;
  const std::string mark = "\xef\xbb\xbf";
  CorpusReader reader({folder.write("a", mark + "one" + mark), folder.write("b", mark),
                       folder.write("c", mark + "three")},
                      CorpusFormat::text, at_lines);
  const auto pieces = read_all(reader);
  ASSERT_EQ(pieces.size(), 2u);
  EXPECT_EQ(pieces[0].bytes, "one" + mark);  // within the text it is a character
  EXPECT_EQ(pieces[1].bytes, "three");
  EXPECT_EQ(reader.position(), reader.size());
}

// A piece is as long as it must be for a word to stay whole.
TEST(Corpus, APieceGrowsUntilThereIsACut) {
  const Folder folder;
  const std::string word(2'500'000, 'x'), text = word + "\n" + word;
  const CutText at_line_ends = [](std::string_view part, std::size_t limit) {
    const std::size_t end = part.substr(0, limit).rfind('\n');
    return end == std::string_view::npos ? 0 : end + 1;
  };
  CorpusReader reader({folder.write("a", text)}, CorpusFormat::text, at_line_ends);
  const auto pieces = read_all(reader);
  ASSERT_EQ(pieces.size(), 2u);
  EXPECT_EQ(pieces[0].bytes, word + "\n");
  EXPECT_FALSE(pieces[0].ends_document);
  EXPECT_EQ(pieces[1].bytes, word);
  // And a document is split where it was to be, whatever that does to a word.
  CorpusReader split({folder.write("a", text)}, CorpusFormat::text, at_line_ends);
  split.split_at({2'000'000});
  const auto parts = read_all(split);
  ASSERT_GE(parts.size(), 2u);
  EXPECT_EQ(parts[0].bytes.size(), 2'000'000u);
  EXPECT_TRUE(parts[0].ends_document);
}

TEST(Corpus, RefusesBadFiles) {
  const Folder folder;
  const auto open = [](const std::string& file) {
    return error_of([&] {
      CorpusReader reader({file}, CorpusFormat::text, at_lines);
      read_all(reader);
    });
  };
  EXPECT_TRUE(contains(open(folder / "none"), "none: no such file"));
  EXPECT_TRUE(contains(open(folder / ""), "is a folder"));
  EXPECT_TRUE(contains(open(folder.write("empty", "")), "empty: is empty"));
  EXPECT_TRUE(contains(open(folder.write("z.Z", "\x1f\x9d...")), "is compressed"));
  EXPECT_TRUE(contains(open(folder.write("n", std::string("a\0b", 3))), "n: is binary: byte 1"));
  EXPECT_TRUE(contains(open("/dev/null"), "/dev/null: is empty"));
}

}  // namespace
}  // namespace lacuna
