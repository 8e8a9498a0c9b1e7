#include "evaluation/record.h"

#include <gtest/gtest.h>

#include "config/task.h"
#include "tests/support/support.h"

namespace lacuna {
namespace {

using testing::contains;
using testing::error_of;
using testing::Folder;

TEST(RecordTest, FieldsAsText) {
  const Record r(R"({"a": "x", "n": 3, "f": 0.5, "b": true, "l": ["p", 7], "o": {}})", "t:1");
  EXPECT_EQ(r.text("a"), "x");
  EXPECT_EQ(r.text("n"), "3");
  EXPECT_EQ(r.text("f"), "0.5");
  EXPECT_EQ(r.text("b"), "true");
  EXPECT_EQ(r.list("l"), (std::vector<std::string>{"p", "7"}));
  EXPECT_TRUE(contains(error_of([&] { r.text("o"); }), "t:1: field \"o\" is no text but object"));
  EXPECT_TRUE(contains(error_of([&] { r.list("a"); }), "t:1: field \"a\" is no list but string"));
  EXPECT_TRUE(contains(error_of([&] { r.text("aa"); }), "t:1: has no field \"aa\""));
  EXPECT_TRUE(contains(error_of([] { Record("3", "t:2"); }), "t:2: is not a JSON object"));
}

TEST(RecordTest, Integers) {
  const Record r(R"({"n": 3, "m": -2, "f": 3.0, "g": 0.5, "s": "3", "big": 1e300})", "t:1");
  EXPECT_EQ(r.integer("n"), 3);
  EXPECT_EQ(r.integer("m"), -2);
  EXPECT_EQ(r.integer("f"), 3);
  EXPECT_FALSE(r.integer("g"));
  EXPECT_FALSE(r.integer("s"));
  EXPECT_FALSE(r.integer("big"));
}

TEST(RecordTest, Files) {
  const Folder folder;
  const std::string file = folder.write("x.jsonl", "{\"i\": 0}\n\n{\"i\": 1}\n{\"i\": 2}\n");
  EXPECT_EQ(read_records(file, 0).size(), 3u);
  const auto two = read_records(file, 2);
  ASSERT_EQ(two.size(), 2u);
  EXPECT_EQ(two[1].text("i"), "1");
  EXPECT_TRUE(contains(two[1].place(), "x.jsonl:3"));
  EXPECT_TRUE(contains(error_of([&] { read_records(folder.write("e", "\n"), 0); }), "no record"));
  EXPECT_TRUE(contains(error_of([&] { read_records(folder / "none", 0); }), "no such file"));
}

TEST(RecordTest, FilesAsTheyAreFound) {
  const Folder folder;
  // A byte order mark, CRLF, characters that end a line to Python's str.splitlines(), no last \n.
  const auto odd = read_records(
      folder.write("odd.jsonl", "\xef\xbb\xbf{\"q\": \"a\u2028b\u0085c\"}\r\n\r\n{\"q\": \"d\"}"),
      0);
  ASSERT_EQ(odd.size(), 2u);
  EXPECT_EQ(odd[0].text("q"), "a\u2028b\u0085c");
  EXPECT_TRUE(contains(odd[1].place(), "odd.jsonl:3"));
  const auto array = read_records(folder.write("a.json", "[{\"q\": 1},\n {\"q\": 2}]"), 0);
  ASSERT_EQ(array.size(), 2u);
  EXPECT_EQ(array[1].integer("q"), 2);
  EXPECT_TRUE(
      contains(error_of([&] { read_records(folder.write("z", "\x1f\x8b\x08"), 0); }), "z:"));
}

TEST(TaskFile, ReadsBackWhatItWrites) {
  const Folder folder;
  TaskConfig task;
  task.task.data = "x.jsonl";
  task.task.prompt = "a \"b\"\n{c}";
  task.task.type = TaskType::generation;
  task.sampler.temperature = 0.25;
  task.likelihood.samples = 7;
  EXPECT_EQ(read_task(folder.write("t.toml", to_toml(task))), task);
  const std::string file = folder.write("u.toml", "[task]\ndata = \"d\"\nprompt = \"p\"\n");
  EXPECT_EQ(read_task(file, {"task.limit=5"}).task.limit, 5);
  EXPECT_TRUE(contains(error_of<UsageError>([&] { read_task(file, {"model.hidden_size=5"}); }),
                       "unknown section [model]"));
  EXPECT_TRUE(contains(task_help(), "shots_data"));
}

}  // namespace
}  // namespace lacuna
