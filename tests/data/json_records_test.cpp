#include "data/json_records.h"

#include <gtest/gtest.h>

#include <tuple>
#include <vector>

#include "core/check.h"
#include "tests/support/support.h"

namespace lacuna {
namespace {

using testing::contains;
using testing::error_of;
using testing::Folder;
using Records = std::vector<std::tuple<std::string, int, int>>;  // json, line, element

Records records_of(const std::string& text) {
  const Folder folder;
  ByteReader input(folder.write("a.json", text));
  JsonRecords records(input);
  Records all;
  for (JsonRecords::Record r; records.next(r);)
    all.emplace_back(r.json, int(r.line), int(r.element));
  return all;
}
std::string array_error(const std::string& text) {
  return error_of([&] { records_of(text); });
}

TEST(JsonRecords, OfLines) {
  EXPECT_EQ(records_of("{1}\n\n \t\r\n{2}\r\n{3}"),
            (Records{{"{1}", 1, 0}, {"{2}\r", 4, 0}, {"{3}", 5, 0}}));
  EXPECT_EQ(records_of("\xef\xbb\xbf{1}\n"), (Records{{"{1}", 1, 0}}));
  EXPECT_EQ(records_of("\n\n{1}\n"), (Records{{"{1}", 3, 0}}));
  // Lines end at "\n" alone.
  const std::string line = "{\"a\": \"\xe2\x80\xa8 \xc2\x85 \xe2\x80\xa9\"}";
  EXPECT_EQ(records_of(line + "\n" + line), (Records{{line, 1, 0}, {line, 2, 0}}));
  EXPECT_EQ(records_of(" \n"), Records{});
  EXPECT_EQ(records_of("\xef\xbb\xbf"), Records{});
}

TEST(JsonRecords, OfAnArray) {
  EXPECT_EQ(records_of("[{1}]"), (Records{{"{1}", 1, 1}}));
  EXPECT_EQ(records_of("[]"), Records{});
  EXPECT_EQ(records_of(" [ \n ] \n"), Records{});
  EXPECT_EQ(records_of("\xef\xbb\xbf\n[\n  {\n  \"a\": 1\n  },\r\n\n{2} , {3}\n]\n\n"),
            (Records{{"{\n  \"a\": 1\n  }", 3, 1}, {"{2}", 7, 2}, {"{3}", 7, 3}}));
  // Brackets, commas and quotes within strings are text.
  const std::string tricky = R"({"]\"}": "\\", "b": ["[,{", {"c": "\\\""}]})";
  EXPECT_EQ(records_of("[" + tricky + "," + tricky + "]"),
            (Records{{tricky, 1, 1}, {tricky, 1, 2}}));
  // What is no object is the parser's to refuse.
  EXPECT_EQ(
      records_of(R"([1, "a,]" ,null,[2, [3]],tru])"),
      (Records{{"1", 1, 1}, {"\"a,]\"", 1, 2}, {"null", 1, 3}, {"[2, [3]]", 1, 4}, {"tru", 1, 5}}));
}

TEST(JsonRecords, LongerThanWhatIsReadAtOnce) {
  const std::string text(300'000, 'x'), record = "{\"a\": \"" + text + "\"}";
  EXPECT_EQ(records_of(record + "\n" + record), (Records{{record, 1, 0}, {record, 2, 0}}));
  EXPECT_EQ(records_of("[" + record + ",\n" + record + "]"),
            (Records{{record, 1, 1}, {record, 2, 2}}));
  const std::string blank(200'000, ' ');
  EXPECT_EQ(records_of(blank + "\n" + blank + "[" + blank + "{1}" + blank + "]"),
            (Records{{"{1}", 2, 1}}));
  EXPECT_EQ(records_of(blank + "\n" + blank + "{1}"), (Records{{"{1}", 2, 0}}));
}

TEST(JsonRecords, ArraysThatAreNone) {
  EXPECT_TRUE(contains(array_error("[{1}\n{2}]"),
                       "a.json:2: malformed JSON, between two elements of the "
                       "array of records there is no comma"));
  EXPECT_TRUE(contains(array_error("[{1},\n]"),
                       "a.json:2: malformed JSON, an element of the array of "
                       "records is missing"));
  EXPECT_TRUE(contains(array_error("[,{1}]"), "is missing"));
  EXPECT_TRUE(contains(array_error("[\n{1}\n"),
                       "a.json:3: malformed JSON, the array of records has no "
                       "end"));
  EXPECT_TRUE(contains(array_error("["), "has no end"));
  EXPECT_TRUE(
      contains(array_error("[{1}]\n[{2}]\n"), "a.json:2: malformed JSON, text follows the end"));
  // One that has no end is given out, since the parser knows better what is wrong with it.
  EXPECT_EQ(records_of("[{1}, {\"a]"), (Records{{"{1}", 1, 1}, {"{\"a]", 1, 2}}));
}

}  // namespace
}  // namespace lacuna
