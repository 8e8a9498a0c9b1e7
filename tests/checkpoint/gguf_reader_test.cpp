#include "checkpoint/gguf_reader.h"

#include <cstring>

#include "checkpoint/gguf_export.h"
#include "core/block_formats.h"
#include "tests/support/golden_model.h"
#include "tests/support/paths.h"
#include "tests/support/support.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

constexpr const char* kQuery = "model.transformer.blocks.0.q_proj.weight";

/// Files of the gguf package (scripts/golden/gguf_files.py), whose query and key rows llama.cpp's
/// converter reordered.
class GgufReaderTest : public ::testing::Test {
 protected:
  GgufReaderTest() : model_(golden_extents(golden_)) {}
  GgufReader open(const std::string& type, GgufRowOrder order = GgufRowOrder::pairs) const {
    return GgufReader(GgufTensors(testing::golden_path("gguf_" + type + ".gguf")), {}, model_,
                      order);
  }
  Tensor expected(const std::string& name) const { return golden_["weights/" + name]; }
  static std::vector<float> values(const ModelReader& reader, const std::string& name) {
    std::vector<float> all(std::size_t(reader.shape("model", name).count()));
    reader.read("model", name, Tensor(all.data(), reader.shape("model", name)));
    return all;
  }

  Golden golden_{"gguf"};
  ModelConfig model_;
};

TEST_F(GgufReaderTest, GivesTheWeightsInTheOrderOfTheirRowsHere) {
  const GgufReader reader = open("f32");
  EXPECT_EQ(reader.names("model").size(), 12u);
  EXPECT_TRUE(reader.names("master").empty());
  for (const std::string& name : reader.names("model")) {
    const Tensor e = expected(name);
    EXPECT_EQ(reader.shape("model", name), e.shape);
    EXPECT_EQ(reader.dtype("model", name), DType::f32);
    EXPECT_EQ(values(reader, name), std::vector<float>(e.as<float>(), e.as<float>() + e.count()))
        << name;
  }
  // As they lie.
  EXPECT_NE(values(open("f32", GgufRowOrder::halves), kQuery), values(reader, kQuery));
}

TEST_F(GgufReaderTest, GivesBlocksAsTheyAreStored) {
  const GgufReader reader = open("q8_0");
  EXPECT_EQ(reader.dtype("model", kQuery), DType::f32);
  for (const std::string& name : reader.names("model")) {
    const Tensor e = expected(name);
    if (e.shape.rank == 1) {
      EXPECT_FALSE(reader.format("model", name));
      EXPECT_FALSE(reader.stored("model", name).data);
      continue;
    }
    ASSERT_EQ(reader.format("model", name), MatrixFormat::q8_0);
    const std::int64_t row_bytes = bytes_of_row(MatrixFormat::q8_0, e.cols());
    std::vector<std::uint8_t> quantised(std::size_t(e.rows() * row_bytes)), rows(quantised.size());
    quantise(MatrixFormat::q8_0, e.as<float>(), e.count(), quantised.data());
    for (std::int64_t row = 0; row < e.rows(); row += 3)
      reader.read_rows("model", name, row,
                       Tensor(rows.data() + row * row_bytes,
                              {std::min<std::int64_t>(3, e.rows() - row), row_bytes}, DType::u8));
    EXPECT_EQ(rows, quantised) << name;
    // Those whose rows were moved lie nowhere as they are given.
    const bool moved = contains(name, "q_proj") || contains(name, "k_proj");
    EXPECT_EQ(reader.stored("model", name).data == nullptr, moved);
    std::vector<float> dequantised(std::size_t(e.count()));
    dequantise(MatrixFormat::q8_0, quantised.data(), e.count(), dequantised.data());
    EXPECT_EQ(values(reader, name), dequantised);
    // A box that begins within a block.
    float box[4];
    reader.read_box("model", name, 5, 7, Tensor(box, {2, 2}));
    for (std::size_t i = 0; i < 4; ++i)
      EXPECT_EQ(box[i], dequantised[(5 + i / 2) * std::size_t(e.cols()) + 7 + i % 2]);
  }
}

TEST_F(GgufReaderTest, GivesHalvesAsTheyAreOrAsF32) {
  const GgufReader reader = open("bf16");
  EXPECT_EQ(reader.dtype("model", kQuery), DType::bf16);
  const std::vector<float> wide = values(reader, kQuery);
  std::vector<BFloat16> bits(wide.size());
  reader.read("model", kQuery, Tensor(bits.data(), reader.shape("model", kQuery)));
  for (std::size_t i = 0; i < bits.size(); ++i) EXPECT_EQ(to_float(bits[i]), wide[i]);
  EXPECT_TRUE(contains(error_of([&] {
                         std::vector<Float16> f16(wide.size());
                         reader.read("model", kQuery,
                                     Tensor(f16.data(), reader.shape("model", kQuery)));
                       }),
                       "holds bf16, which cannot be read as f16"));
}

TEST_F(GgufReaderTest, NamesWhatDoesNotAgree) {
  model_.num_layers = 2;
  EXPECT_TRUE(contains(error_of([&] { open("f32"); }), "has no tensor 'blk.1."));
  model_.num_layers = 1;
  model_.tie_embeddings = true;
  EXPECT_TRUE(
      contains(error_of([&] { open("f32"); }), "tensor 'output.weight' has no place in the model"));
  model_.tie_embeddings = false;
  model_.intermediate_size += 32;
  EXPECT_TRUE(contains(error_of([&] { open("f32"); }), "the file's keys make it"));
  model_.intermediate_size -= 32;
  const GgufReader reader = open("q8_0");
  EXPECT_TRUE(contains(error_of([&] { (void)reader.shape("model", "none"); }),
                       "has no tensor none in group model"));
  std::uint8_t bytes[34];
  EXPECT_TRUE(contains(error_of([&] {
                         reader.read_rows("model", kQuery, 32, Tensor(bytes, {1, 34}, DType::u8));
                       }),
                       "are no rows of model"));
}

}  // namespace
}  // namespace lacuna
