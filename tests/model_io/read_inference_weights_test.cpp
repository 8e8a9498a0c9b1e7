#include "model_io/read_inference_weights.h"

#include <algorithm>
#include <cstring>

#include "checkpoint/gguf_export.h"
#include "checkpoint/gguf_reader.h"
#include "checkpoint/hugging_face.h"
#include "core/atomic_file.h"
#include "core/block_formats.h"
#include "core/half.h"
#include "core/input_file.h"
#include "core/tensor_of.h"
#include "kernels/cpu/cpu_ops.h"
#include "model/model.h"
#include "model_io/loaded_model.h"
#include "model_io/tensor_io.h"
#include "tests/support/support.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

ModelConfig config_of_tests() {
  ModelConfig c;
  c.vocab_size = 11;
  c.num_layers = 2;
  c.hidden_size = 8;
  c.num_heads = 2;
  c.intermediate_size = 12;
  c.max_seq_length = 8;
  return c;
}

/// A checkpoint and the Hugging Face folder of the same model.
class ReadInferenceWeights : public ::testing::Test {
 protected:
  ReadInferenceWeights() : ops_(1), weights_(host_memory(), config_of_tests(), "weights") {
    initialise(weights_, config_of_tests(), 5, ops_);
    Config config;
    config.model = config_of_tests();
    CheckpointTensors tensors;
    for (const NamedWeight& w : weights_.named()) tensors.model.push_back({w.name, w.tensor});
    CheckpointInfo info;
    info.config = to_toml(config);
    save_checkpoint(checkpoint(), info, tensors);
  }
  std::string checkpoint() const { return folder_ / "model.h5"; }
  std::string exported(DType dtype) const {
    const std::string to = folder_ / str("hf-", dtype);
    ExportOptions options;
    options.dtype = dtype;
    export_hugging_face(checkpoint(), to, options);
    return to;
  }
  LoadedModel load(const std::string& what) {
    return load_model(ModelSource(what), std::make_unique<CpuOps>(1), DType::f32);
  }
  static std::vector<std::string> allocated(const InferenceWeights& weights) {
    std::vector<std::string> names;
    for (const InferenceWeights::Allocated& a : weights.allocated())
      names.push_back(a.weight.spec->packed + str(a.weight.block));
    return names;
  }
  /// Every weight, part by part.
  static std::vector<float> values(const ModelWeights& w) {
    std::vector<float> all;
    const auto add = [&](const Matrix& m) {
      const std::size_t before = all.size();
      all.resize(before + std::size_t(m.count()));
      dequantise(m.format, m.data, m.count(), all.data() + before);
    };
    add(w.embedding);
    for (const BlockWeights& b : w.blocks) {
      for (const Matrix& part : b.qkv.parts) add(part);
      add(b.attention_norm);
      add(b.attention_out);
      for (const Matrix& part : b.gate_up.parts) add(part);
      add(b.ffn_norm);
      add(b.ffn_out);
    }
    add(w.final_norm);
    add(w.head);
    return all;
  }

  Folder folder_;
  CpuOps ops_;
  ModelTensors weights_;
};

TEST_F(ReadInferenceWeights, ACheckpointIsReadIntoMemory) {
  const LoadedModel model = load(checkpoint());
  EXPECT_EQ(allocated(model.base).size(), weights_.named().size());
  EXPECT_EQ(values(model.base), values(weights_));
}

TEST_F(ReadInferenceWeights, MatricesOfAMappedFileStayInIt) {
  const LoadedModel model = load(exported(DType::f32));
  const std::vector<std::string> norms{"attention_norm0", "ffn_norm0", "attention_norm1",
                                       "ffn_norm1", "final_norm-1"};
  EXPECT_EQ(allocated(model.base), norms);
  EXPECT_EQ(model.base.views().blocks[0].qkv.parts.size(), 1u);
  EXPECT_EQ(model.base.views().embedding.data,
            model.source.reader.stored("model", "model.transformer.wte.weight").data);
  EXPECT_EQ(values(model.base), values(weights_));
}

// Hugging Face's own files are in alphabetical order: k_proj, q_proj, up_proj, v_proj.
TEST_F(ReadInferenceWeights, PackedTensorsWhosePartsLieApartAreCopied) {
  const std::string folder = exported(DType::f32);
  std::vector<NamedTensor> tensors;
  for (const NamedWeight& w : weights_.named()) tensors.push_back({w.name, w.tensor});
  std::sort(tensors.begin(), tensors.end(),
            [](const NamedTensor& a, const NamedTensor& b) { return a.name < b.name; });
  write_safetensors(folder + "/model.safetensors", tensors);
  const LoadedModel model = load(folder);
  const std::vector<std::string> names = allocated(model.base);
  EXPECT_EQ(std::count(names.begin(), names.end(), "qkv0"), 3);
  EXPECT_EQ(std::count(names.begin(), names.end(), "gate_up1"), 2);
  EXPECT_EQ(std::count(names.begin(), names.end(), "ffn_out1"), 0);
  EXPECT_EQ(model.base.views().blocks[0].qkv.parts.size(), 1u);
  EXPECT_EQ(values(model.base), values(weights_));
}

TEST_F(ReadInferenceWeights, OtherFormatsStayInTheFileToo) {
  for (const DType dtype : {DType::bf16, DType::f16}) {
    const LoadedModel model = load(exported(dtype));
    EXPECT_EQ(allocated(model.base).size(), 5u);  // norms
    EXPECT_EQ(model.base.views().blocks[1].qkv.parts[0].format, format_of(dtype));
    std::vector<float> rounded = values(weights_);
    for (float& x : rounded) x = dtype == DType::bf16 ? to_float(to_bf16(x)) : to_float(to_f16(x));
    EXPECT_EQ(values(model.base), rounded) << dtype;
  }
}

/// A GGUF file of the checkpoint.
TEST_F(ReadInferenceWeights, RowsOfAGgufFileAreCopiedWhereTheyLieInAnotherOrder) {
  for (const MatrixFormat format : {MatrixFormat::f32, MatrixFormat::f16}) {
    const std::string file = folder_ / "model.gguf";
    export_gguf(checkpoint(), file, format);
    const GgufReader reader(GgufTensors(file), {}, config_of_tests(), GgufRowOrder::pairs);
    const InferenceWeights weights(host_memory(), config_of_tests(), DType::f32,
                                   storage_of(reader, config_of_tests(), ops_, DType::f32));
    read_weights(reader, weights, ops_);
    std::vector<float> rounded = values(weights_);
    if (format == MatrixFormat::f16)
      for (float& x : rounded) x = to_float(to_f16(x));
    EXPECT_EQ(values(weights), rounded) << text_of(format);
    EXPECT_EQ(weights.views().embedding.data,
              reader.stored("model", "model.transformer.wte.weight").data);
    const BlockWeights& block = weights.views().blocks[0];
    EXPECT_EQ(block.qkv.parts.size(), 1u);  // floats: copied, as one product is faster
    EXPECT_EQ(block.qkv.parts[0].format, format);
    EXPECT_EQ(block.ffn_out.data,
              reader.stored("model", "model.transformer.blocks.0.ff_out.weight").data);
  }
}

// The header of a safetensors file may have any length.
TEST_F(ReadInferenceWeights, ElementsNeedNotBeAligned) {
  const std::string folder = exported(DType::f32), file = folder + "/model.safetensors";
  std::string bytes = read_file(file);
  std::uint64_t header = 0;
  std::memcpy(&header, bytes.data(), sizeof header);
  bytes.insert(8 + header, "  ");
  header += 2;
  std::memcpy(bytes.data(), &header, sizeof header);
  write_file(file, bytes);
  const LoadedModel model = load(folder);
  EXPECT_EQ(values(model.base), values(weights_));
}

TEST_F(ReadInferenceWeights, AShardIsReadFromEitherKindOfFile) {
  for (const std::string& from : {checkpoint(), exported(DType::f32)})
    for (const int index : {0, 1}) {
      SCOPED_TRACE(str(from, " ", index));
      const TensorParallelShard share{index, 2};
      const ModelSource source(from);
      const ModelTensors trained(host_memory(), source.config, "weights", DType::f32, share);
      read_pieces(source.reader, "model", trained,
                  pieces_within(trained, {{0, trained.flat().count()}}), ops_);
      const InferenceWeights weights(
          host_memory(), source.config, DType::f32,
          storage_of(source.reader, source.config, ops_, DType::f32, share), share);
      read_weights(source.reader, weights, ops_);
      EXPECT_EQ(values(weights), values(trained));
      // Rows of a mapped matrix stay in the file; columns cannot.
      const std::vector<std::string> copied = allocated(weights);
      const auto has = [&](const char* name) {
        return std::find(copied.begin(), copied.end(), name) != copied.end();
      };
      EXPECT_EQ(has("embedding-1"), from == checkpoint());
      EXPECT_TRUE(has("attention_out0") && has("ffn_out1"));
    }
}

TEST_F(ReadInferenceWeights, OneLoadedModelServesSeveralModels) {
  const LoadedModel loaded = load(exported(DType::f32));
  const ModelLimits limits{4, 1, 4, false};
  Sequences sequences = Sequences::equal(1, 4);
  sequences.logit_rows = {0, 1, 2, 3};
  const auto hidden = [&](Model& model, std::vector<std::int32_t> tokens) {
    const Tensor h = model.forward(tensor_of(tokens), sequences);
    return std::vector<float>(h.as<float>(), h.as<float>() + h.count());
  };
  Model trained(ops_, config_of_tests(), weights_, limits);
  const std::vector<float> of_first = hidden(trained, {1, 2, 3, 4}),
                           of_second = hidden(trained, {9, 8, 7, 10});
  Model first(*loaded.ops, loaded.config(), loaded.weights, limits),
      second(*loaded.ops, loaded.config(), loaded.weights, limits);
  EXPECT_EQ(hidden(first, {1, 2, 3, 4}), of_first);
  EXPECT_EQ(hidden(second, {9, 8, 7, 10}), of_second);
  EXPECT_EQ(hidden(first, {9, 8, 7, 10}), of_second);
}

TEST_F(ReadInferenceWeights, AWeightThatIsMissingIsNamed) {
  ModelSource source(checkpoint());
  source.config.num_layers = 3;
  EXPECT_TRUE(
      contains(error_of([&] { (void)storage_of(source.reader, source.config, ops_, DType::f32); }),
               "has no tensor model.transformer.blocks.2."));
}

}  // namespace
}  // namespace lacuna
