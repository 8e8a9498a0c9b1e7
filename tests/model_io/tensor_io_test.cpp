#include "model_io/tensor_io.h"

#include <cstring>

#include "checkpoint/checkpoint.h"
#include "checkpoint/checkpoint_config.h"
#include "core/half.h"
#include "kernels/cpu/cpu_ops.h"
#include "tests/support/support.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

const char* const kQuery = "model.transformer.blocks.1.q_proj.weight";
const char* const kEmbedding = "model.transformer.wte.weight";

class ModelIo : public ::testing::Test {
 protected:
  ModelIo() : ops_(1) {
    config_.model.vocab_size = 11;
    config_.model.num_layers = 2;
    config_.model.hidden_size = 8;
    config_.model.num_heads = 2;
    config_.model.intermediate_size = 12;
    weights_ = std::make_unique<ModelTensors>(host_memory(), config_.model, "weights");
    initialise(*weights_, config_.model, 5, ops_);
    for (const NamedWeight& w : weights_->named()) tensors_.model.push_back({w.name, w.tensor});
    info_.config = to_toml(config_);
  }
  CheckpointReader saved() const {
    const std::string path = folder_ / "model.h5";
    save_checkpoint(path, info_, tensors_);
    return CheckpointReader(path);
  }
  NamedTensor& tensor(const char* name) {
    for (NamedTensor& t : tensors_.model)
      if (t.name == name) return t;
    fail(name);
  }
  std::string refusal() const {
    const CheckpointReader reader = saved();
    return error_of([&] { config_of_checkpoint(reader); });
  }
  void read_tensors(const ModelReader& reader, const std::string& group,
                    const ModelTensors& tensors) {
    read_pieces(reader, group, tensors, pieces_within(tensors, {{0, tensors.flat().count()}}),
                ops_);
  }
  static bool equal(const Tensor& a, const Tensor& b) {
    return a.shape == b.shape && std::memcmp(a.data, b.data, std::size_t(a.bytes())) == 0;
  }

  Folder folder_;
  CpuOps ops_;
  Config config_;
  std::unique_ptr<ModelTensors> weights_;
  CheckpointInfo info_;
  CheckpointTensors tensors_;
};

TEST_F(ModelIo, WeightsComeBack) {
  const CheckpointReader reader = saved();
  const Config config = config_of_checkpoint(reader);
  EXPECT_EQ(to_toml(config), to_toml(config_));
  const ModelTensors read(host_memory(), config.model, "weights");
  read_tensors(reader, "model", read);
  EXPECT_TRUE(equal(read.flat(), weights_->flat()));
}

TEST_F(ModelIo, VocabularyIsThatOfTheEmbedding) {
  config_.model.vocab_size = 0;
  info_.config = to_toml(config_);
  EXPECT_EQ(config_of_checkpoint(saved()).model.vocab_size, 11);
}

TEST_F(ModelIo, NarrowWeightsAreWidened) {
  const Tensor t = tensor(kQuery).tensor;
  std::vector<BFloat16> narrow;
  for (std::int64_t i = 0; i < t.count(); ++i) narrow.push_back(to_bf16(t.as<float>()[i]));
  tensor(kQuery).tensor = Tensor(narrow.data(), t.shape);
  const ModelTensors read(host_memory(), config_.model, "weights");
  read_tensors(saved(), "model", read);
  const auto* found = read.blocks[1].qkv.as<float>();  // its first rows are the query projection
  for (std::int64_t i = 0; i < t.count(); ++i)
    EXPECT_EQ(found[i], to_float(narrow[std::size_t(i)]));
}

TEST_F(ModelIo, MasterWeightsArePreferredToRoundedOnes) {
  const Tensor t = tensor(kQuery).tensor;
  std::vector<float> master(std::size_t(t.count()), 0.125f);
  tensors_.master.push_back({kQuery, Tensor(master.data(), t.shape)});
  const ModelTensors read(host_memory(), config_.model, "weights");
  read_tensors(saved(), "model", read);
  EXPECT_EQ(read.blocks[1].qkv.as<float>()[0], 0.125f);
  EXPECT_TRUE(equal(read.blocks[0].qkv, weights_->blocks[0].qkv));
}

TEST_F(ModelIo, OtherGroups) {
  tensors_.first_moment = tensors_.model;
  const CheckpointReader reader = saved();
  const ModelTensors read(host_memory(), config_.model, "first moment");
  read_tensors(reader, "first_moment", read);
  EXPECT_TRUE(equal(read.flat(), weights_->flat()));
  EXPECT_TRUE(contains(error_of([&] { read_tensors(reader, "second_moment", read); }),
                       str("has no tensor ", kEmbedding, " in group second_moment")));
}

TEST_F(ModelIo, TensorsThatTheConfigDoesNotDescribe) {
  const std::vector<NamedTensor> whole = tensors_.model;
  EXPECT_EQ(refusal(), "");
  std::erase_if(tensors_.model, [](const NamedTensor& t) { return t.name == kQuery; });
  EXPECT_TRUE(contains(refusal(), str("tensor /model/", kQuery, " is missing")));
  tensors_.model = whole;
  std::erase_if(tensors_.model, [](const NamedTensor& t) { return t.name == kEmbedding; });
  EXPECT_TRUE(contains(refusal(), str("tensor /model/", kEmbedding, " is missing")));
  tensors_.model = whole;
  tensor(kQuery).tensor = tensor(kQuery).tensor.row_range(0, 6);
  EXPECT_TRUE(contains(refusal(), str("/model/", kQuery, " has shape [6,8]")));
  tensors_.model = whole;
  config_.model.num_layers = 1;
  info_.config = to_toml(config_);
  EXPECT_TRUE(contains(refusal(), "model.transformer.blocks.1."));
  EXPECT_TRUE(contains(refusal(), "has no place in the model"));
}

TEST_F(ModelIo, ABadConfigIsTheFilesFault) {
  for (const char* text :
       {"model = 3", "[model]\nnum_layers = 2\nwidht = 8\n", "[model]\nnum_heads = 3\n"}) {
    info_.config = text;
    const CheckpointReader reader = saved();
    try {
      config_of_checkpoint(reader);
      ADD_FAILURE() << text;
    } catch (const Error& e) {
      EXPECT_TRUE(contains(e.what(), "model.h5")) << text;
      EXPECT_EQ(dynamic_cast<const UsageError*>(&e), nullptr) << text;
    }
  }
}

}  // namespace
}  // namespace lacuna
