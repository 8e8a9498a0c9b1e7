#include "model/weights.h"

#include <sys/mman.h>

#include "checkpoint/hugging_face.h"
#include "tests/model/support.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

class Weights : public ::testing::TestWithParam<bool> {};

TEST_P(Weights, AreNamedAsInHuggingFaceFiles) {
  const ModelConfig config = tiny_config(false, GetParam());
  const ModelTensors weights(host_memory(), config, "weights");
  const std::vector<TensorInfo> expected = hugging_face_tensors(config, DType::f32);
  ASSERT_EQ(weights.named().size(), expected.size());
  std::int64_t parameters = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const NamedWeight& w = weights.named()[i];
    EXPECT_EQ(w.name, expected[i].name);
    EXPECT_EQ(w.tensor.shape, expected[i].shape) << w.name;
    EXPECT_TRUE(w.tensor.contiguous()) << w.name;
    EXPECT_EQ(w.kind() == WeightKind::norm, w.tensor.shape.rank == 1) << w.name;
    EXPECT_EQ(w.kind() == WeightKind::embedding, i == 0) << w.name;
    EXPECT_EQ(w.block, w.name.find("blocks.") == std::string::npos
                           ? -1
                           : w.name[w.name.find("blocks.") + 7] - '0');
    parameters += w.tensor.count();
  }
  EXPECT_EQ(weights.parameters(), parameters);
}

// Each element of the packed tensors has one name.
TEST_P(Weights, PartsCoverThePackedTensors) {
  const ModelConfig config = tiny_config(false, GetParam());
  const ModelTensors weights(host_memory(), config, "weights");
  for (const NamedWeight& w : weights.named())
    for (std::int64_t e = 0; e < w.tensor.count(); ++e) w.tensor.as<float>()[e] += 1;
  const auto all_ones = [](const Tensor& t) {
    const std::vector<float> values = elements(t);
    return std::all_of(values.begin(), values.end(), [](float x) { return x == 1; });
  };
  EXPECT_TRUE(all_ones(weights.embedding));
  EXPECT_TRUE(all_ones(weights.head));
  EXPECT_TRUE(all_ones(weights.final_norm));
  for (const BlockTensors& b : weights.blocks)
    for (const Tensor& t :
         {b.attention_norm, b.qkv, b.attention_out, b.ffn_norm, b.gate_up, b.ffn_out})
      EXPECT_TRUE(all_ones(t));
  // And nothing else is in the flat view but zeros.
  double sum = 0;
  for (const float x : elements(weights.flat())) sum += double(x);
  EXPECT_EQ(sum, double(weights.parameters()));
  EXPECT_EQ(weights.head.data == weights.embedding.data, GetParam());
}

INSTANTIATE_TEST_SUITE_P(UntiedAndTied, Weights, ::testing::Bool(),
                         [](const auto& test) { return test.param ? "tied" : "untied"; });

// arXiv:2502.09992, table 5 and the index of the published files: 8,015,581,184 parameters.
/// Addresses without pages: enough to count what nobody touches.
class Addresses final : public Memory {
 public:
  Place place() const override { return Place::host; }
  void* allocate(std::int64_t bytes) override {
    void* p = mmap(nullptr, std::size_t(bytes), PROT_NONE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(p != MAP_FAILED, "no room for ", bytes, " bytes of addresses");
    return p;
  }
  void release(void* memory, std::int64_t bytes) noexcept override {
    (void)munmap(memory, std::size_t(bytes));
  }
};

TEST(WeightsOfLlada8b, Count) {
  ModelConfig c;
  c.vocab_size = 126464;
  c.num_layers = 32;
  c.hidden_size = 4096;
  c.num_heads = 32;
  c.intermediate_size = 12288;
  Addresses addresses;
  const ModelTensors weights(addresses, c, "weights");
  EXPECT_EQ(weights.parameters(), 8'015'581'184);
}

TEST(WeightsErrors, NeedAVocabulary) {
  ModelConfig c = tiny_config();
  c.vocab_size = 0;
  EXPECT_TRUE(contains(error_of([&] { ModelTensors(host_memory(), c, "weights"); }),
                       "model.vocab_size is 0"));
}

// Windows have each tensor's shape and place in flat(), in the memory of two blocks and of the
// embedding or what follows the blocks, which is larger: the head and a norm. A tied head is needed
// beside the norm.
TEST(Weights, WindowsOfBlocks) {
  ModelConfig config = tiny_config();
  config.num_layers = 5;
  for (const bool tied : {false, true}) {
    config.tie_embeddings = config.qkv_bias = tied;
    const FlatLayout layout{.multiple = 96, .aligned_units = true};
    const ModelTensors whole(host_memory(), config, "whole", DType::f32, {}, layout),
        windows(host_memory(), config, "windows", DType::f32, {}, layout,
                ModelTensors::Extent::windows);
    ASSERT_EQ(whole.units().size(), 7u);
    EXPECT_EQ(whole.units().back().end(), whole.flat().count());
    EXPECT_THROW((void)windows.flat(), Error);
    const std::int64_t block = whole.units()[1].size;
    const std::int64_t embedding = whole.units().front().size, last = whole.units().back().size;
    EXPECT_EQ(windows.memory().count(), 2 * block + last + (tied ? embedding : 0));
    EXPECT_EQ(windows.embedding.data == windows.final_norm.data, !tied);
    for (std::size_t u = 0; u < whole.units().size(); ++u) {
      const FlatRange unit = whole.units()[u];
      EXPECT_EQ(unit.begin % 96, 0);
      EXPECT_EQ(unit.begin, u == 0 ? 0 : whole.units()[u - 1].end());
      EXPECT_EQ(windows.units()[u].begin, unit.begin);
      EXPECT_EQ(windows.units()[u].size, unit.size);
      const auto at = [](const ModelTensors& t, const FlatRange& r) { return t.elements(r).data; };
      EXPECT_EQ(at(whole, unit), whole.flat().row_range(unit.begin, unit.size).data);
      EXPECT_GE(at(windows, unit), windows.memory().data);
      EXPECT_LE(static_cast<const float*>(at(windows, unit)) + unit.size,
                windows.memory().as<float>() + windows.memory().count());
    }
    for (std::size_t l = 2; l < 5; ++l) {
      EXPECT_EQ(windows.blocks[l].gate_up.data, windows.blocks[l - 2].gate_up.data);
      EXPECT_NE(windows.blocks[l].gate_up.data, windows.blocks[l - 1].gate_up.data);
    }
    for (std::size_t i = 0; i < whole.named().size(); ++i) {
      const NamedWeight &a = whole.named()[i], &b = windows.named()[i];
      EXPECT_EQ(a.flat, b.flat);
      EXPECT_EQ(a.tensor.shape, b.tensor.shape);
      EXPECT_EQ(whole.flat().row_range(a.flat, 1).data, a.tensor.data);
      EXPECT_EQ(windows.elements({b.flat, 1}).data, b.tensor.data);
    }
  }
}

}  // namespace
}  // namespace lacuna
