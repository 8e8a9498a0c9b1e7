#include "model/inference_weights.h"

#include <map>

#include "core/block_formats.h"
#include "core/tensor_of.h"
#include "formats/gguf.h"
#include "tests/model/support.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

/// Of every weight of a model: allocated, in one format.
std::vector<WeightStorage> allocated(const ModelConfig& config,
                                     MatrixFormat format = MatrixFormat::f32) {
  return std::vector<WeightStorage>(model_weights(config).size(), WeightStorage{format});
}

/// Copies the values of f32 weights into what was allocated in the formats of floats.
void fill(const InferenceWeights& weights, const ModelTensors& from) {
  std::map<std::string, Tensor> named;
  for (const NamedWeight& w : from.named()) named[w.name] = w.tensor;
  for (const InferenceWeights::Allocated& a : weights.allocated())
    cpu().copy(a.weight.tensor, named.at(a.weight.name));
}

struct Fixture : Tiny {
  explicit Fixture(const ModelConfig& c = tiny_config())
      : Tiny(c, {5, 7}, {0, 3, 4, 9, 11}, false) {}

  std::vector<float> hidden_of(Ops& ops, const ModelWeights& views) {
    Model of_views(ops, config, views, limits(false));
    return elements(of_views.forward(tensor_of(tokens), sequences));
  }
  /// Mapped where ModelTensors hold them.
  std::vector<WeightStorage> mapped() const {
    std::vector<WeightStorage> storage;
    for (const NamedWeight& w : weights->named())
      storage.push_back({MatrixFormat::f32, w.tensor.data});
    return storage;
  }
};

class InferenceWeightsOf : public ::testing::TestWithParam<bool> {};

TEST_P(InferenceWeightsOf, AllocatedAreThoseOfTraining) {
  Fixture f(tiny_config(false, GetParam()));
  const InferenceWeights weights(host_memory(), f.config, DType::f32, allocated(f.config));
  const std::vector<NamedWeight>& named = f.weights->named();
  ASSERT_EQ(weights.allocated().size(), named.size());
  for (std::size_t i = 0; i < named.size(); ++i) {
    const NamedWeight& w = weights.allocated()[i].weight;
    EXPECT_EQ(w.name, named[i].name);
    EXPECT_EQ(w.tensor.shape, named[i].tensor.shape) << w.name;
    EXPECT_EQ(weights.allocated()[i].bytes.count(), w.tensor.bytes()) << w.name;
  }
  EXPECT_EQ(weights.views().blocks[0].qkv.parts.size(), 1u);
  EXPECT_EQ(weights.views().blocks[0].gate_up.parts.size(), 1u);
  EXPECT_EQ(weights.views().head.data == weights.views().embedding.data, GetParam());
  fill(weights, *f.weights);
  EXPECT_TRUE(
      same_bits(tensor_of(f.hidden_of(cpu(), weights)), tensor_of(f.hidden_of(cpu(), *f.weights))));
}

TEST_P(InferenceWeightsOf, MappedStayWhereTheyLie) {
  Fixture f(tiny_config(false, GetParam()));
  const InferenceWeights weights(host_memory(), f.config, DType::f32, f.mapped());
  for (const InferenceWeights::Allocated& a : weights.allocated())
    EXPECT_EQ(a.weight.kind(), WeightKind::norm) << a.weight.name;
  EXPECT_EQ(weights.allocated().size(), std::size_t(2 * f.config.num_layers + 1));
  fill(weights, *f.weights);
  const ModelWeights& views = weights;
  EXPECT_EQ(views.embedding.data, f.weights->embedding.data);
  EXPECT_EQ(views.head.data, f.weights->head.data);
  EXPECT_EQ(views.blocks[1].ffn_out.data, f.weights->blocks[1].ffn_out.data);
  // Its parts follow each other.
  EXPECT_EQ(views.blocks[2].qkv.parts.size(), 1u);
  EXPECT_EQ(views.blocks[2].qkv.parts[0].data, f.weights->blocks[2].qkv.data);
  EXPECT_EQ(views.blocks[2].qkv.rows(), f.weights->blocks[2].qkv.rows());
  EXPECT_TRUE(
      same_bits(tensor_of(f.hidden_of(cpu(), weights)), tensor_of(f.hidden_of(cpu(), *f.weights))));
}

INSTANTIATE_TEST_SUITE_P(TiedOrNot, InferenceWeightsOf, ::testing::Bool());

TEST(InferenceWeights, PartsOfAPackedTensorDifferInStorage) {
  Fixture f;
  std::vector<WeightStorage> storage = allocated(f.config);
  const std::vector<NamedWeight>& named = f.weights->named();
  for (std::size_t i = 0; i < named.size(); ++i)
    if (named[i].spec->role == WeightRole::key) storage[i].mapped = named[i].tensor.data;
  const InferenceWeights weights(host_memory(), f.config, DType::f32, storage);
  fill(weights, *f.weights);
  EXPECT_EQ(weights.views().blocks[0].qkv.parts.size(), 3u);
  EXPECT_EQ(weights.views().blocks[0].gate_up.parts.size(), 1u);
  const std::vector<float> mine = f.hidden_of(cpu(), weights),
                           trained = f.hidden_of(cpu(), *f.weights);
  for (std::size_t i = 0; i < mine.size(); ++i) EXPECT_NEAR(mine[i], trained[i], 1e-5) << i;
}

/// Reads every format by widening a matrix to f32 first: what a backend with kernels of its own
/// gives, but for rounding.
class WideningOps final : public CpuOps {
 public:
  WideningOps() : CpuOps(1) {}
  bool reads(MatrixFormat, DType dtype) const override { return dtype == DType::f32; }
  void embedding_forward(Tensor y, Tensor ids, Matrix w) override {
    CpuOps::embedding_forward(y, ids, widened(w));
  }
  void linear_forward(Tensor y, Tensor x, Matrix w, GradMode mode) override {
    CpuOps::linear_forward(y, x, widened(w), mode);
  }
  Tensor widened(const Matrix& w) {
    elements_.resize(std::size_t(w.count()));
    const Tensor wide(elements_.data(), {w.rows(), w.cols()});
    lacuna::dequantise(w.format, w.data, w.count(), wide.as<float>());
    return wide;
  }

 private:
  std::vector<float> elements_;
};

// The model knows nothing of formats: a backend that reads one is enough.
TEST(InferenceWeights, FormatsAreTheBackendsAffair) {
  ModelConfig config = tiny_config();
  config.hidden_size = 32;  // whole blocks of Q8_0
  config.intermediate_size = 64;
  for (const MatrixFormat format : {MatrixFormat::bf16, MatrixFormat::f16, MatrixFormat::q8_0}) {
    SCOPED_TRACE(text_of(format));
    Fixture f(config);
    WideningOps ops;
    const InferenceWeights weights(host_memory(), config, DType::f32, allocated(config, format));
    F32Ops narrow;
    EXPECT_TRUE(contains(error_of([&] { Model(narrow, config, weights, f.limits(false)); }),
                         str("model.transformer.wte.weight is stored as ", format, ", which ",
                             narrow.description(), " does not read beside f32 activations")));
    // Each as its format rounds it, the same widened for the model of f32 weights.
    ASSERT_EQ(weights.allocated().size(), f.weights->named().size());
    for (std::size_t i = 0; i < weights.allocated().size(); ++i) {
      const InferenceWeights::Allocated& a = weights.allocated()[i];
      const Tensor values = f.weights->named()[i].tensor;
      if (values.shape.rank == 2 && format == MatrixFormat::q8_0) {
        EXPECT_EQ(a.bytes.shape, (Shape{values.rows(), values.cols() / 32 * 34}));
        convert_to_gguf(MatrixFormat::q8_0, values.as<float>(), values.count(),
                        static_cast<char*>(a.bytes.data), a.weight.name);
      } else {
        cpu().copy(a.weight.tensor, values);
      }
      if (values.shape.rank == 1) continue;
      const Matrix rounded(a.bytes.data, values.rows(), values.cols(), a.format);
      cpu().copy(values, ops.widened(rounded));
    }
    EXPECT_EQ(weights.views().blocks[0].qkv.parts.size(), 1u);
    EXPECT_LT(weights.bytes(), f.weights->flat().bytes() * 6 / 10);
    EXPECT_TRUE(
        same_bits(tensor_of(f.hidden_of(ops, weights)), tensor_of(f.hidden_of(ops, *f.weights))));
  }
}

TEST(InferenceWeights, ShardsAreThoseOfTraining) {
  const ModelConfig config = tiny_config();
  for (const int index : {0, 1}) {
    const TensorParallelShard share{index, 2};
    const ModelTensors trained(host_memory(), config, "weights", DType::f32, share);
    const InferenceWeights weights(host_memory(), config, DType::f32, allocated(config), share);
    ASSERT_EQ(weights.allocated().size(), trained.named().size());
    for (std::size_t i = 0; i < trained.named().size(); ++i) {
      const NamedWeight &mine = weights.allocated()[i].weight, &other = trained.named()[i];
      EXPECT_EQ(mine.tensor.shape, other.tensor.shape) << mine.name;
      EXPECT_EQ(mine.whole, other.whole) << mine.name;
      EXPECT_EQ(mine.row, other.row) << mine.name;
      EXPECT_EQ(mine.col, other.col) << mine.name;
    }
    const ModelWeights views = trained;
    EXPECT_EQ(weights.views().share.index, index);
    EXPECT_EQ(weights.views().share.count, 2);
    EXPECT_EQ(weights.views().embedding.shape, views.embedding.shape);
    EXPECT_EQ(weights.views().blocks[1].qkv.rows(), views.blocks[1].qkv.rows());
    EXPECT_EQ(weights.views().blocks[1].attention_out.shape, views.blocks[1].attention_out.shape);
  }
}

TEST(InferenceWeights, NamesWhatDoesNotFit) {
  const ModelConfig config = tiny_config();
  EXPECT_TRUE(contains(error_of([&] { InferenceWeights(host_memory(), config, DType::f32, {}); }),
                       "the storage of 0 weights of a model that has 30"));
  EXPECT_TRUE(contains(error_of([&] {
                         InferenceWeights(host_memory(), config, DType::f32,
                                          allocated(config, MatrixFormat::q8_0));
                       }),
                       "rows of 24 elements as q8_0, whose blocks are 32 elements long"));
}

}  // namespace
}  // namespace lacuna
