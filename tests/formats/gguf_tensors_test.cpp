#include "formats/gguf_tensors.h"

#include <cstring>

#include "core/half.h"
#include "core/input_file.h"
#include "tests/formats/gguf_bytes.h"
#include "tests/support/golden.h"
#include "tests/support/support.h"

namespace lacuna {
namespace {

using testing::contains;
using testing::error_of;
using testing::Folder;
using testing::gguf_start;
using testing::put;
using testing::put_text;

struct Written {
  std::string name;
  std::vector<std::int64_t> extents;  // innermost first
  std::uint32_t type;
  std::uint64_t offset;
};

/// A file of those tensors, with keys of u32 and `data` bytes of elements, byte i being i % 251.
std::string gguf(const std::vector<Written>& tensors, std::size_t data,
                 const std::vector<std::pair<std::string, std::uint32_t>>& keys = {}) {
  std::string bytes = gguf_start(tensors.size(), keys.size());
  for (const auto& [key, value] : keys) {
    put_text(bytes, key);
    put(bytes, std::uint32_t{4});
    put(bytes, value);
  }
  for (const Written& t : tensors) {
    put_text(bytes, t.name);
    put(bytes, std::uint32_t(t.extents.size()));
    for (const std::int64_t extent : t.extents) put(bytes, extent);
    put(bytes, t.type);
    put(bytes, t.offset);
  }
  bytes.resize((bytes.size() + 31) / 32 * 32);
  for (std::size_t i = 0; i < data; ++i) bytes += char(i % 251);
  return bytes;
}

class GgufTensorsTest : public ::testing::Test {
 protected:
  GgufTensors open(const std::string& bytes) { return GgufTensors(folder_.write("x.gguf", bytes)); }
  std::string error(const std::string& bytes) {
    return error_of([&] { open(bytes); });
  }
  Folder folder_;
};

TEST_F(GgufTensorsTest, AreThoseOfTheReferenceImplementation) {
  const testing::Golden golden("gguf");
  const GgufTensors file(testing::golden_path("gguf_f32.gguf"));
  EXPECT_TRUE(file.has("blk.0.attn_v.weight"));
  EXPECT_FALSE(file.has("blk.1.attn_v.weight"));
  EXPECT_EQ(file.names().size(), 12u);
  const GgufTensors::Entry& v = file.at("blk.0.attn_v.weight");
  const Tensor expected = golden["weights/model.transformer.blocks.0.v_proj.weight"];
  EXPECT_EQ(v.shape, expected.shape);
  EXPECT_EQ(v.format, MatrixFormat::f32);
  EXPECT_EQ(std::memcmp(v.data, expected.data, std::size_t(expected.bytes())), 0);
  const GgufTensors quantised(testing::golden_path("gguf_q8_0.gguf"));
  EXPECT_EQ(quantised.at("output.weight").format, MatrixFormat::q8_0);
  EXPECT_EQ(quantised.at("output_norm.weight").format, MatrixFormat::f32);
  EXPECT_TRUE(contains(error_of([&] { (void)file.at("none"); }), "has no tensor 'none'"));
}

TEST_F(GgufTensorsTest, LieWhereTheHeaderSays) {
  const std::string bytes = gguf({{"a", {256, 2}, 12, 0}, {"b", {3}, 0, 288}}, 300);
  const GgufTensors file = open(bytes);
  EXPECT_EQ(file.at("a").shape, (Shape{2, 256}));
  EXPECT_EQ(file.at("a").format, MatrixFormat::q4_k);
  EXPECT_EQ(std::string(file.at("a").data, 288), bytes.substr(bytes.size() - 300, 288));
  EXPECT_EQ(std::string(file.at("b").data, 12), bytes.substr(bytes.size() - 12));
}

TEST_F(GgufTensorsTest, OfOtherTypesAreNamedWhenAskedFor) {
  const GgufTensors file =
      open(gguf({{"a", {256}, 10, 0}, {"b", {8}, 99, 96}, {"c", {2}, 0, 96}}, 104));
  EXPECT_TRUE(contains(error_of([&] { (void)file.at("a"); }),
                       "tensor 'a' is q2_k; this program computes with f32, bf16, f16, q8_0"));
  EXPECT_TRUE(contains(error_of([&] { (void)file.at("b"); }), "tensor 'b' is type 99"));
  EXPECT_EQ(file.at("c").shape, Shape{2});
}

// A lying header must never make a read beyond the mapping, which would be a SIGBUS.
TEST_F(GgufTensorsTest, BeyondTheEndAreRefused) {
  const std::vector<Written> two{{"a", {256, 2}, 12, 0}, {"b", {3}, 0, 288}};
  EXPECT_EQ(error(gguf(two, 300)), "");
  EXPECT_TRUE(contains(error(gguf(two, 299)), "x.gguf: is cut short or damaged: tensor 'b'"));
  EXPECT_TRUE(contains(error(gguf(two, 0)), "is cut short or damaged: tensor 'a'"));
  EXPECT_TRUE(contains(error(gguf({{"a", {4}, 0, ~std::uint64_t{7}}}, 64)), "tensor 'a'"));
  EXPECT_TRUE(contains(error(gguf({{"a", {4}, 0, std::uint64_t{1} << 62}}, 64)), "tensor 'a'"));
  EXPECT_TRUE(
      contains(error(gguf({{"a", {std::int64_t{1} << 40, 1 << 20}, 0, 0}}, 64)), "tensor 'a'"));
  EXPECT_TRUE(
      contains(error(gguf({{"a", {std::int64_t{1} << 40, std::int64_t{1} << 40}, 0, 0}}, 64)),
               "extents that no tensor has"));
  EXPECT_TRUE(contains(error(gguf({{"a", {-4}, 0, 0}}, 64)), "extents that no tensor has"));
  EXPECT_TRUE(contains(error(gguf({{"a", {100}, 12, 0}}, 640)), "no whole blocks of q4_k"));
}

TEST_F(GgufTensorsTest, OtherDamage) {
  EXPECT_TRUE(contains(error(gguf({{"a", {4}, 0, 4}}, 64)),
                       "tensor 'a' begins at byte 64 + 4, which is no multiple of 32"));
  EXPECT_TRUE(
      contains(error(gguf({{"a", {4}, 0, 0}, {"a", {4}, 0, 32}}, 64)), "tensor 'a': occurs twice"));
  EXPECT_TRUE(contains(error(gguf({{"a", {4}, 0, 0}}, 64, {{"general.alignment", 12}})),
                       "general.alignment = 12"));
  EXPECT_TRUE(contains(error(gguf({{"a", {1, 1, 1, 1, 4}, 0, 0}}, 64)), "has 5 extents"));
  EXPECT_TRUE(contains(error(""), "x.gguf"));
  EXPECT_TRUE(contains(error("GGUF"), "x.gguf"));
  EXPECT_EQ(error(gguf({{"a", {4}, 0, 8}}, 64, {{"general.alignment", 8}})), "");
}

// Names may be 64 KiB of anything.
TEST_F(GgufTensorsTest, MessagesAreOneShortLine) {
  const std::string name = str("a\n\x1b[2J", std::string(60000, 'x'));
  for (const std::string& message :
       {error(gguf({{name, {4}, 0, 4}}, 64)), error(gguf({{name, {4}, 0, 0}}, 8)),
        error(gguf({{name, {-4}, 0, 0}}, 64)), error_of([&] {
          (void)open(gguf({{name, {8}, 99, 0}}, 64)).at(name);
        }),
        error_of([&] { (void)open(gguf({}, 0)).at(name); })}) {
    EXPECT_TRUE(contains(message, "x.gguf")) << message.substr(0, 200);
    EXPECT_LT(message.size(), 500u);
    EXPECT_EQ(message.find('\n'), std::string::npos);
    EXPECT_EQ(message.find('\x1b'), std::string::npos);
  }
}

TEST_F(GgufTensorsTest, OfASplitModelComeFromAllFiles) {
  const std::string first = gguf({{"a", {4}, 0, 0}}, 32, {{"split.count", 2}, {"split.no", 0}}),
                    second = gguf({{"b", {2}, 0, 0}}, 32, {{"split.count", 2}, {"split.no", 1}});
  const auto name = folder_.write("m-00001-of-00002.gguf", first);
  EXPECT_TRUE(contains(error_of([&] { GgufTensors file(name); }), "m-00002-of-00002.gguf"));
  const auto other = folder_.write("m-00002-of-00002.gguf", second);
  const GgufTensors file(name);
  EXPECT_EQ(file.names(), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(file.at("b").shape, Shape{2});
  EXPECT_EQ(file.header().text("split.no"), "0");
  EXPECT_TRUE(contains(error_of([&] { GgufTensors from_second(other); }),
                       "is one of 2 files of a model; name the first, which ends with "
                       "-00001-of-00002.gguf"));
  EXPECT_TRUE(contains(error(first), "name the first"));
  EXPECT_TRUE(contains(error(gguf({}, 0, {{"split.count", 0}})), "split.count = 0"));
}

}  // namespace
}  // namespace lacuna
