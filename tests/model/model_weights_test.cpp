#include "model/model_weights.h"

#include "core/half.h"
#include "tests/model/support.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

/// Views of the same weights in which packed tensors are given by their parts.
ModelWeights apart(const ModelTensors& tensors) {
  ModelWeights w = tensors;
  for (BlockWeights& block : w.blocks) block.qkv.parts = block.gate_up.parts = {};
  for (const NamedWeight& n : tensors.named()) {
    if (n.block < 0) continue;
    BlockWeights& block = w.blocks[std::size_t(n.block)];
    const std::string packed = n.spec->packed;
    if (packed == "qkv") block.qkv.parts.push_back(n.tensor);
    if (packed == "gate_up") block.gate_up.parts.push_back(n.tensor);
  }
  return w;
}

/// But for the rounding of sums that are added up in another order.
void expect_close(const std::vector<float>& a, const std::vector<float>& b) {
  ASSERT_EQ(a.size(), b.size());
  double most = 0;
  for (const float x : a) most = std::max(most, std::abs(double(x)));
  for (std::size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], 1e-5 * most) << i;
}

TEST(PackedMatrix, JoinsWhatFollowsInMemory) {
  std::vector<float> x(8 * 3);
  const Matrix whole = Tensor(x.data(), {8, 3});
  const Matrix a = whole.row_range(0, 4), b = whole.row_range(4, 2), c = whole.row_range(6, 2);
  const PackedMatrix all = PackedMatrix::joined({a, b, c});
  ASSERT_EQ(all.parts.size(), 1u);
  EXPECT_EQ(all.parts[0].shape, whole.shape);
  EXPECT_EQ(all.parts[0].data, whole.data);
  EXPECT_EQ(PackedMatrix::joined({a, c, b}).parts.size(), 3u);
  EXPECT_EQ(PackedMatrix::joined({a, c}).parts.size(), 2u);
  EXPECT_EQ(PackedMatrix::joined({c, a, b}).parts.size(), 2u);
  const Matrix other(b.data, 4, 3, MatrixFormat::bf16);
  EXPECT_EQ(PackedMatrix::joined({a, other}).parts.size(), 2u);
}

TEST(PackedMatrix, RangesOfRowsCrossItsParts) {
  std::vector<float> x(8 * 3);
  std::iota(x.begin(), x.end(), 0.0f);
  const Matrix whole = Tensor(x.data(), {8, 3});
  const PackedMatrix packed{{whole.row_range(0, 4), whole.row_range(4, 2), whole.row_range(6, 2)}};
  EXPECT_EQ(packed.rows(), 8);
  for (std::int64_t from = 0; from <= 8; ++from)
    for (std::int64_t n = 0; from + n <= 8; ++n) {
      std::int64_t row = from;
      for (const Matrix& part : packed.row_range(from, n).parts) {
        EXPECT_GT(part.rows(), 0);
        EXPECT_EQ(part.as<float>()[0], float(3 * row));
        row += part.rows();
      }
      EXPECT_EQ(row, from + n);
    }
  EXPECT_THROW((void)packed.row_range(5, 4), Error);
}

// With fewer logit rows than rows, the last block projects its queries apart from keys and values.
TEST(ModelWeights, PackedTensorsMayLieInParts) {
  Tiny tiny(tiny_config(false, false, 2), {5, 7}, {0, 3, 4, 9, 11});
  tiny.backward();
  const std::vector<float> hidden = elements(tiny.forward()),
                           gradients = elements(tiny.gradients->flat());

  Tiny parts(tiny.config, {5, 7}, {0, 3, 4, 9, 11});
  const ModelWeights views = apart(*parts.weights);
  ASSERT_EQ(views.blocks[0].qkv.parts.size(), 3u);
  ASSERT_EQ(views.blocks[0].gate_up.parts.size(), 2u);
  parts.model = std::make_unique<Model>(cpu(), parts.config, views, parts.limits(true));
  parts.backward();
  expect_close(elements(parts.gradients->flat()), gradients);
  expect_close(elements(parts.forward()), hidden);
}

TEST(ModelWeights, AFormatThatIsNeitherReadNorConvertedIsNamedByItsMatrix) {
  const ModelConfig config = tiny_config();
  const ModelTensors tensors(cpu().memory(), config, "weights");
  const ModelLimits limits{4, 1, 4, false};
  F32Ops ops;
  std::vector<BFloat16> narrow(std::size_t(config.vocab_size * config.hidden_size));
  const auto refusal = [&](const ModelWeights& w) {
    return error_of([&] { Model(ops, config, w, limits); });
  };
  const auto bf16 = [&](const Matrix& like) {
    return Matrix(narrow.data(), like.rows(), like.cols(), MatrixFormat::bf16);
  };
  EXPECT_EQ(refusal(tensors), "");

  // Of a block they are converted.
  ModelWeights w = apart(tensors);
  w.blocks[1].qkv.parts[1] = bf16(w.blocks[1].qkv.parts[1]);
  w.blocks[2].gate_up.parts[1] = bf16(w.blocks[2].gate_up.parts[1]);
  w.blocks[0].ffn_out = bf16(w.blocks[0].ffn_out);
  EXPECT_EQ(refusal(w), "");
  w = tensors;
  w.head = bf16(w.head);
  EXPECT_EQ(refusal(w), "model.transformer.ff_out.weight is stored as bf16, which " +
                            ops.description() + " does not read beside f32 activations");
  w = tensors;
  w.dtype = DType::bf16;
  EXPECT_TRUE(contains(refusal(w), "model.transformer.wte.weight is stored as f32"));
}

}  // namespace
}  // namespace lacuna
