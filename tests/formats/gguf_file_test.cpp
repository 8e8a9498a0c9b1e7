#include "formats/gguf_file.h"

#include "core/atomic_file.h"
#include "formats/gguf.h"
#include "tests/formats/gguf_bytes.h"
#include "tests/support/golden_model.h"
#include "tests/support/paths.h"
#include "tests/support/support.h"

namespace lacuna {
namespace {

using testing::contains;
using testing::error_of;
using testing::Folder;
using testing::gguf_start;
using testing::Golden;
using testing::put;
using testing::put_text;

class GgufFileTest : public ::testing::Test {
 protected:
  GgufFile read(const std::string& bytes) { return GgufFile(folder_.write("x.gguf", bytes)); }
  std::string error(const std::string& bytes) {
    return error_of([&] { read(bytes); });
  }
  Folder folder_;
};

// Files of the gguf package (scripts/golden/gguf_files.py).
TEST_F(GgufFileTest, FilesOfTheReferenceImplementation) {
  const Golden golden("gguf");
  const GgufFile file(testing::golden_path("gguf_q8_0.gguf"));
  EXPECT_EQ(file.version(), 3u);
  EXPECT_EQ(file.text("general.architecture"), "llada");
  EXPECT_EQ(file.text("llada.embedding_length"), golden.metadata("width"));
  EXPECT_EQ(file.text("llada.attention.causal"), "false");
  EXPECT_EQ(file.text("none"), "");
  std::int64_t bytes = 0;
  for (const GgufFile::TensorEntry& t : file.tensors()) {
    if (t.name == "token_embd.weight") {
      EXPECT_EQ(t.type, "q8_0");
      EXPECT_EQ(t.shape, (std::vector<std::int64_t>{std::stoll(golden.metadata("vocab_size")),
                                                    std::stoll(golden.metadata("width"))}));
      EXPECT_EQ(t.bytes, t.elements / 32 * 34);
    }
    if (t.name == "output_norm.weight") {
      EXPECT_EQ(t.type, "f32");
    }
    bytes += (t.bytes + 31) / 32 * 32;
  }
  const std::string all = read_file(testing::golden_path("gguf_q8_0.gguf"));
  EXPECT_GT(bytes, 0);
  EXPECT_LT(bytes, std::int64_t(all.size()));
  const auto tokens = std::find_if(file.values().begin(), file.values().end(),
                                   [](const auto& v) { return v.key == "tokenizer.ggml.tokens"; });
  ASSERT_NE(tokens, file.values().end());
  EXPECT_EQ(tokens->type, "[str]");
  EXPECT_EQ(std::to_string(tokens->count), golden.metadata("vocab_size"));
  EXPECT_TRUE(tokens->text.ends_with(", ..."));
}

TEST_F(GgufFileTest, EveryTypeOfValue) {
  std::string bytes = gguf_start(0, 14);
  const auto key = [&](const char* name, std::uint32_t type, auto value) {
    put_text(bytes, name);
    put(bytes, type);
    put(bytes, value);
  };
  key("u8", 0, std::uint8_t{200});
  key("i8", 1, std::int8_t{-3});
  key("u16", 2, std::uint16_t{60000});
  key("i16", 3, std::int16_t{-300});
  key("u32", 4, std::uint32_t{4000000000});
  key("i32", 5, std::int32_t{-5});
  key("f32", 6, 0.5f);
  key("bool", 7, std::uint8_t{1});
  key("u64", 10, std::uint64_t{1} << 63);
  key("i64", 11, -(std::int64_t{1} << 40));
  key("f64", 12, -2.25);
  put_text(bytes, "text");
  put(bytes, std::uint32_t{8});
  put_text(bytes, "words\nand more");
  put_text(bytes, "many");  // more than are shown
  put(bytes, std::uint32_t{9});
  put(bytes, std::uint32_t{5});
  put(bytes, std::uint64_t{20});
  for (std::int32_t i = 0; i < 20; ++i) put(bytes, i);
  put_text(bytes, "nested");
  put(bytes, std::uint32_t{9});
  put(bytes, std::uint32_t{9});
  put(bytes, std::uint64_t{2});
  for (std::uint8_t i = 1; i <= 2; ++i) {
    put(bytes, std::uint32_t{0});
    put(bytes, std::uint64_t{1});
    put(bytes, i);
  }
  const GgufFile file = read(bytes);
  const std::pair<const char*, const char*> wanted[] = {{"u8", "200"},
                                                        {"i8", "-3"},
                                                        {"u16", "60000"},
                                                        {"i16", "-300"},
                                                        {"u32", "4000000000"},
                                                        {"i32", "-5"},
                                                        {"f32", "0.5"},
                                                        {"bool", "true"},
                                                        {"u64", "9223372036854775808"},
                                                        {"f64", "-2.25"},
                                                        {"text", "words\nand more"},
                                                        {"i64", "-1099511627776"},
                                                        {"many", "0, 1, 2, 3, 4, 5, 6, 7, ..."},
                                                        {"nested", "(1), (2)"}};
  for (const auto& [name, text] : wanted) EXPECT_EQ(file.text(name), text) << name;
  EXPECT_EQ(file.values().size(), 14u);
  EXPECT_EQ(file.values()[12].count, 20u);
  EXPECT_EQ(file.values()[12].type, "[i32]");
}

TEST_F(GgufFileTest, TensorsOfTypesThatAreNotKnown) {
  std::string bytes = gguf_start(2, 0);
  const auto tensor = [&](const char* name, std::uint32_t type) {
    put_text(bytes, name);
    put(bytes, std::uint32_t{2});
    put(bytes, std::int64_t{256});
    put(bytes, std::int64_t{3});
    put(bytes, type);
    put(bytes, std::uint64_t{0});
  };
  tensor("known", 14);
  tensor("new", 99);
  bytes.resize((bytes.size() + 31) / 32 * 32 + 3 * 210);
  const GgufFile file = read(bytes);
  EXPECT_EQ(file.tensors()[0].type, "q6_k");
  EXPECT_EQ(file.tensors()[0].bytes, 3 * 210);
  EXPECT_EQ(file.tensors()[0].shape, (std::vector<std::int64_t>{3, 256}));
  EXPECT_EQ(file.tensors()[1].type, "type 99");
  EXPECT_EQ(file.tensors()[1].bytes, -1);
  bytes.pop_back();
  EXPECT_TRUE(contains(error(bytes), "is cut short or damaged: tensor 'known'"));
}

TEST_F(GgufFileTest, WhatIsNone) {
  EXPECT_TRUE(contains(error("GGU"), "its magic number begins at byte 0 and needs 4 bytes"));
  EXPECT_TRUE(contains(error("GGML and more"), "is not a GGUF file"));
  EXPECT_TRUE(contains(error(gguf_start(0, 0, 1)), "of version 1; versions 2 and 3 are known"));
  EXPECT_TRUE(contains(error(gguf_start(0, 0, 0x03000000)), "of another byte order"));
  EXPECT_EQ(error(gguf_start(0, 0, 2)), "");
}

// Lengths that no file has are refused before anything of that length is allocated.
TEST_F(GgufFileTest, NumbersAreBelievedOnlyAsFarAsThereAreBytes) {
  const std::uint64_t huge = std::uint64_t{1} << 62;
  EXPECT_TRUE(contains(error(gguf_start(huge, 0)), "do not fit"));
  EXPECT_TRUE(contains(error(gguf_start(0, huge) + "more"), "do not fit"));
  std::string name = gguf_start(0, 1);
  put(name, huge);
  EXPECT_TRUE(contains(error(name + std::string(20, 'x')), "key 0"));
  std::string array = gguf_start(0, 1);
  put_text(array, "a");
  put(array, std::uint32_t{9});
  std::string strings = array;
  put(strings, std::uint32_t{8});
  put(strings, huge);
  EXPECT_TRUE(contains(error(strings), "an array of 4611686018427387904 elements"));
  std::string deep = array;
  for (int i = 0; i < 100; ++i) {
    put(deep, std::uint32_t{9});
    put(deep, std::uint64_t{1});
  }
  EXPECT_TRUE(contains(error(deep), "nested more than 8 deep"));
  std::string tensor = gguf_start(1, 0);
  put_text(tensor, "t");
  put(tensor, std::uint32_t{2});
  put(tensor, std::int64_t{1} << 40);
  put(tensor, std::int64_t{1} << 40);
  put(tensor, std::uint32_t{0});
  put(tensor, std::uint64_t{0});
  EXPECT_TRUE(contains(error(tensor), "extents that no tensor has"));
}

// Whatever is missing or changed: an Error or another reading, and nothing else.
TEST_F(GgufFileTest, CutAndChangedFiles) {
  const std::string whole = read_file(testing::golden_path("gguf_f32.gguf"));
  EXPECT_EQ(error(whole), "");
  for (std::size_t length = 0; length < whole.size(); length += 1 + length / 64)
    EXPECT_NE(error(whole.substr(0, length)), "") << length;
  for (std::size_t at = 0; at < std::min<std::size_t>(whole.size(), 4000); at += 3) {
    std::string changed = whole;
    changed[at] = char(changed[at] ^ 0x80);
    error(changed);
  }
}

}  // namespace
}  // namespace lacuna
