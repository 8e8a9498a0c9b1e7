#include "model_io/loaded_model.h"

#include <cstring>

#include "checkpoint/checkpoint.h"
#include "kernels/cpu/cpu_ops.h"
#include "tests/support/support.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

class LoadedModelTest : public ::testing::Test {
 protected:
  LoadedModelTest() {
    config_.model = {.vocab_size = 11,
                     .num_layers = 2,
                     .hidden_size = 8,
                     .num_heads = 2,
                     .intermediate_size = 12};
    CpuOps ops(1);
    const ModelTensors weights(host_memory(), config_.model, "weights");
    initialise(weights, config_.model, 5, ops);
    first_norm_.assign(8, 2.0f);
    CheckpointTensors tensors;
    for (const NamedWeight& w : weights.named()) tensors.model.push_back({w.name, w.tensor});
    tensors.model[1].tensor = Tensor(first_norm_.data(), {8});  // not what initialise() made it
    CheckpointInfo info;
    info.config = to_toml(config_);
    save_checkpoint(path(), info, tensors);
  }
  std::string path() const { return folder_ / "model.h5"; }

  Folder folder_;
  Config config_;
  std::vector<float> first_norm_;
};

TEST_F(LoadedModelTest, HoldsTheWeightsOfTheFile) {
  const LoadedModel model =
      load_model(ModelSource(path()), std::make_unique<CpuOps>(1), DType::f32);
  EXPECT_EQ(model.config().num_layers, 2);
  EXPECT_EQ(model.source.reader.path(), path());
  ASSERT_EQ(model.weights.blocks.size(), 2u);
  for (int i = 0; i < 8; ++i) {
    EXPECT_EQ(model.weights.blocks[0].attention_norm.as<float>()[i], 2.0f);
    EXPECT_EQ(model.weights.blocks[1].attention_norm.as<float>()[i], 1.0f);
  }
}

TEST_F(LoadedModelTest, NamesTheFileThatHoldsNoTokenizer) {
  const ModelSource source(path());
  EXPECT_FALSE(source.tokenizer);
  EXPECT_EQ(error_of([&] { (void)source.need_tokenizer("give --tokens"); }),
            path() + ": holds no tokenizer; give --tokens");
}

TEST_F(LoadedModelTest, RefusesIdsThatTheEmbeddingLacks) {
  const ModelSource source(path());
  source.check_ids({0, 10});
  EXPECT_TRUE(contains(error_of([&] {
                         source.check_ids({3, 11});
                       }),
                       "its tokenizer gives token 11, but its model knows 11 tokens"));
}

}  // namespace
}  // namespace lacuna
