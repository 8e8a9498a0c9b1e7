// Files of pyarrow (scripts/golden/parquet_files.py).
#include "formats/parquet.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/check.h"
#include "core/input_file.h"
#include "core/philox.h"
#include "formats/damage.h"
#include "tests/support/paths.h"
#include "tests/support/support.h"

namespace lacuna {
namespace {

using testing::contains;
using testing::error_of;
using testing::Folder;

using Texts = std::vector<std::optional<std::string>>;

std::string golden(const std::string& name) {
  return testing::golden_path("parquet_" + name + ".parquet");
}

Texts read_all(const std::string& path, const std::string& column) {
  ParquetTexts in(path, column);
  Texts all;
  for (std::optional<std::string_view> text; in.next(text);) {
    all.emplace_back();
    if (text) all.back() = std::string(*text);
    EXPECT_EQ(in.row(), std::int64_t(all.size()));
  }
  EXPECT_EQ(in.rows(), std::int64_t(all.size()));
  return all;
}

Texts texts_of(const nlohmann::json& array) {
  Texts all;
  for (const auto& text : array) {
    all.emplace_back();
    if (text.is_string()) all.back() = text.get<std::string>();
  }
  return all;
}

TEST(Parquet, EveryCodecPageAndEncoding) {
  const auto json = nlohmann::json::parse(read_file(testing::golden_path("parquet.json")));
  int files = 0;
  for (const auto& [name, file] : json["files"].items()) {
    if (name == "lists") continue;
    SCOPED_TRACE(name);
    const Texts expected = texts_of(file.contains("texts") ? file["texts"] : json["texts"]);
    EXPECT_TRUE(read_all(golden(name), file["column"]) == expected);
    ++files;
  }
  EXPECT_EQ(files, 23);
}

TEST(Parquet, ColumnsThatAreNotTexts) {
  const auto error = [](const char* name, const char* column) {
    return error_of([&] { ParquetTexts(golden(name), column); });
  };
  EXPECT_TRUE(
      contains(error("snappy", "txt"), "has no column \"txt\"; its columns of texts: text"));
  EXPECT_TRUE(contains(error("nested", "text"), "its columns of texts: meta.text"));
  EXPECT_TRUE(contains(error("snappy", "id"), "column \"id\" is not of texts"));
  EXPECT_TRUE(contains(error("lists", "list.list.element"), "has several values in a row"));
}

TEST(Parquet, FilesThatAreNotWhole) {
  const Folder folder;
  const std::string whole = read_file(golden("snappy"));
  const auto error = [&](const std::string& bytes) {
    return error_of([&] { read_all(folder.write("f", bytes), "text"); });
  };
  EXPECT_EQ(error(whole), "");
  EXPECT_TRUE(contains(error(whole.substr(0, whole.size() / 2)), "it may have been cut short"));
  EXPECT_TRUE(contains(error("PAR1"), "too short for a Parquet file"));
  EXPECT_TRUE(contains(error("PAR1" + std::string("\xff\xff\xff\0PAR1", 8)),
                       "its footer is larger than the file"));
  EXPECT_TRUE(contains(error_of([&] { ParquetTexts(folder / "none", "text"); }), "No such file"));
  EXPECT_TRUE(contains(error_of([&] { ParquetTexts(folder / "", "text"); }), "is a folder"));
}

TEST(Parquet, ChecksumsOfPagesAreCompared) {
  const Folder folder;
  const std::string text = "a prefix that many share, 37", other = "A prefix that many share, 37";
  for (const bool summed : {false, true}) {
    std::string bytes = read_file(golden(summed ? "checksums" : "none"));
    const std::size_t at = bytes.find(text);
    ASSERT_NE(at, std::string::npos);
    bytes[at] = 'A';
    const std::string path = folder.write("f", bytes);
    if (summed) {
      EXPECT_TRUE(contains(error_of([&] { read_all(path, "text"); }),
                           "a page does not match its checksum"));
      continue;
    }
    const Texts found = read_all(path, "text");
    EXPECT_EQ(std::count(found.begin(), found.end(), other), 1);
  }
}

// Whatever a file claims, it is an Error or texts: no crash, and no memory that it does not have.
TEST(Parquet, DamageIsAnErrorOrOtherTexts) {
  const Folder folder;
  CounterRng rng{7, Purpose::data_order, 0};
  std::uint32_t drawn = 0;
  for (const char* name : {"zstd", "snappy_v2", "delta_byte_array", "mixed", "nested", "none"}) {
    const std::string whole = read_file(golden(name));
    const char* column = name == std::string("nested") ? "meta.text" : "text";
    for (int round = 0; round < 150; ++round) {
      std::string bytes = whole;
      for (int change = 0; change < 1 + round % 3; ++change) {
        const auto at = std::size_t(rng.uniform53(drawn++) * double(bytes.size()));
        bytes[at] = char(rng.uniform53(drawn++) * 256);
      }
      const std::string path = folder.write("f", bytes);
      try {
        ParquetTexts in(path, column);
        std::int64_t rows = 0;
        for (std::optional<std::string_view> text; rows < 100'000 && in.next(text);) ++rows;
      } catch (const Error& e) {
        EXPECT_TRUE(contains(e.what(), path)) << e.what();
      }
    }
  }
}

}  // namespace
}  // namespace lacuna
