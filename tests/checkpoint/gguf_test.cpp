#include "formats/gguf.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "checkpoint/gguf_export.h"
#include "checkpoint/hugging_face.h"
#include "core/half.h"
#include "formats/gguf_tensors.h"
#include "tests/support/golden_model.h"
#include "tests/support/paths.h"
#include "tests/support/support.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

/// A checkpoint of the model of scripts/golden/gguf_files.py.
class Gguf : public ::testing::Test {
 protected:
  Gguf() {
    ModelConfig& m = config_.model;
    m = golden_extents(golden_);
    m.max_seq_length = number("max_length");
    m.rms_norm_eps = std::stod(golden_.metadata("norm_eps"));
    m.rope_theta = std::stod(golden_.metadata("rope_theta"));
    m.mask_token = number("mask_token");
    m.eos_token = number("eos_token");
    m.pad_token = number("pad_token");
    info_.tokenizer = golden_.metadata("tokenizer");
  }
  std::int64_t number(const char* key) const { return std::stoll(golden_.metadata(key)); }
  std::string checkpoint() {
    info_.config = to_toml(config_);
    CheckpointTensors tensors;
    const std::string group = "weights/";
    for (const std::string& name : golden_.names())
      tensors.model.push_back({name.substr(group.size()), golden_[name]});
    save_checkpoint(folder_ / "k.h5", info_, tensors);
    return folder_ / "k.h5";
  }
  /// A checkpoint of this model without a tokenizer, all of whose weights are 0.5.
  void save_constant(const std::string& path, const Config& config) const {
    CheckpointInfo info = info_;
    info.config = to_toml(config);
    info.tokenizer = "";
    CheckpointTensors tensors;
    std::vector<std::vector<float>> memory;
    for (const TensorInfo& t : hugging_face_tensors(config.model, DType::f32)) {
      memory.emplace_back(std::size_t(t.shape.count()), 0.5f);
      tensors.model.push_back({t.name, Tensor(memory.back().data(), t.shape)});
    }
    save_checkpoint(path, info, tensors);
  }
  std::string exported(MatrixFormat format) {
    export_gguf(checkpoint(), folder_ / "out.gguf", format);
    return read_file(folder_ / "out.gguf");
  }

  Folder folder_;
  Golden golden_{"gguf"};
  Config config_;
  CheckpointInfo info_;
};

TEST_F(Gguf, IsWhatLlamaCppsOwnPackageWrites) {
  for (const MatrixFormat format :
       {MatrixFormat::f32, MatrixFormat::f16, MatrixFormat::bf16, MatrixFormat::q8_0}) {
    const std::string expected =
        read_file(testing::golden_path(str("gguf_", text_of(format), ".gguf")));
    const std::string written = exported(format);
    const auto [at, other] =
        std::mismatch(written.begin(), written.end(), expected.begin(), expected.end());
    EXPECT_TRUE(written == expected)
        << text_of(format) << ": " << written.size() << " and " << expected.size()
        << " bytes, different from byte " << at - written.begin();
  }
}

TEST_F(Gguf, RowsThatAreNoWholeBlocksBecomeF16) {
  const std::string narrow = folder_ / "narrow.h5";
  Config config;
  ModelConfig& m = config.model;
  m.vocab_size = 5;
  m.num_layers = 1;
  m.hidden_size = 24;
  m.num_heads = 2;
  m.intermediate_size = 64;
  save_constant(narrow, config);
  const GgufExport result = export_gguf(narrow, folder_ / "narrow.gguf", MatrixFormat::q8_0);
  // Only ffn_down has rows of 64; the other six matrices of the block and the two outside do not.
  EXPECT_EQ(result.wider_tensors, 8);
  EXPECT_EQ(result.bytes, std::int64_t(read_file(folder_ / "narrow.gguf").size()));
  EXPECT_TRUE(contains(read_file(folder_ / "narrow.gguf"), "no_vocab"));
}

TEST_F(Gguf, TheHeadKeepsSixBitsBesideNarrowerMatrices) {
  Config config;
  ModelConfig& m = config.model;
  m.vocab_size = 5;
  m.num_layers = 1;
  m.hidden_size = 256;
  m.num_heads = 4;
  m.intermediate_size = 96;  // no whole blocks of a k-quant
  const std::string checkpoint = folder_ / "wide.h5", file = folder_ / "wide.gguf";
  save_constant(checkpoint, config);
  const auto formats = [&](MatrixFormat format) {
    const GgufExport result = export_gguf(checkpoint, file, format);
    const GgufTensors written(file);
    std::string list;
    for (const char* name :
         {"token_embd", "output", "blk.0.ffn_up", "blk.0.ffn_down", "output_norm"})
      list += str(written.at(str(name, ".weight")).format, ' ');
    return str(list, result.wider_tensors);
  };
  EXPECT_EQ(formats(MatrixFormat::q4_k), "q4_k q6_k q4_k q8_0 f32 1");
  EXPECT_EQ(formats(MatrixFormat::q5_k), "q5_k q6_k q5_k q8_0 f32 1");
  EXPECT_EQ(formats(MatrixFormat::q6_k), "q6_k q6_k q6_k q8_0 f32 1");
  EXPECT_EQ(formats(MatrixFormat::q4_0), "q4_0 q6_k q4_0 q4_0 f32 0");
  EXPECT_EQ(formats(MatrixFormat::q8_0), "q8_0 q8_0 q8_0 q8_0 f32 0");
}

TEST_F(Gguf, ACausalModelIsALlama) {
  config_.model.attention = Attention::causal;
  const std::string file = exported(MatrixFormat::f32);
  EXPECT_TRUE(contains(file, "llama.block_count"));
  EXPECT_FALSE(contains(file, "llada."));
  EXPECT_FALSE(contains(file, "attention.causal"));
  EXPECT_FALSE(contains(file, "shift_logits"));
}

TEST_F(Gguf, SplitsHaveTheNamesThatLlamaCppGivesThem) {
  const auto name_for = [&](const std::string& pattern) {
    std::string json = golden_.metadata("tokenizer");
    const std::string from = R"("pre_tokenizer": )";
    const std::size_t begin = json.find(from) + from.size(), end = json.find("}", begin) + 1;
    json.replace(
        begin, end - begin,
        R"({"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": ")" +
            pattern +
            R"("}, "behavior": "Isolated", "invert": false},)"
            R"({"type": "ByteLevel", "use_regex": false}]})");
    GgufKeys keys;
    add_gguf_tokenizer(keys, json, 24, "t.json");
    const std::string key = "tokenizer.ggml.pre";
    const std::size_t at = keys.bytes().find(key) + key.size() + 4;  // after the value's type
    std::uint64_t length = 0;
    std::memcpy(&length, keys.bytes().data() + at, 8);
    return keys.bytes().substr(at + 8, length);
  };
  // Backslashes doubled, as in JSON.
  EXPECT_EQ(name_for(R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|)"
                     R"( ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+)"),
            "llama-bpe");
  EXPECT_EQ(name_for(R"('(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+)"
                     R"(|\\p{N}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+)"),
            "bailingmoe");
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(name_for("other"), "gpt-2");
  EXPECT_TRUE(contains(::testing::internal::GetCapturedStderr(), "t.json: its pre_tokenizer"));
}

TEST_F(Gguf, AnUnknownSplitIsSaidToBeGpt2s) {
  std::string& json = info_.tokenizer;
  const std::string known = R"("use_regex": true}, "post)";
  ASSERT_NE(json.find(known), std::string::npos);
  json.replace(json.find(known), known.size(), R"("use_regex": false}, "post)");
  ::testing::internal::CaptureStderr();
  EXPECT_TRUE(contains(exported(MatrixFormat::f32), "gpt-2"));
  EXPECT_TRUE(contains(::testing::internal::GetCapturedStderr(), "none that llama.cpp knows"));
}

TEST_F(Gguf, WhatCannotBeWritten) {
  const std::string from = checkpoint();
  EXPECT_TRUE(contains(
      error_of([&] { export_gguf(folder_ / "none.h5", folder_ / "x.gguf", MatrixFormat::f32); }),
      "none.h5"));
  EXPECT_TRUE(
      contains(error_of([&] { export_gguf(from, from + "/x.gguf", MatrixFormat::f32); }), "k.h5"));
  // Ids beyond the embedding's rows.
  std::string& json = info_.tokenizer;
  json.replace(json.find("\"id\": 22"), 8, "\"id\": 24");
  const std::string foreign = checkpoint();
  EXPECT_TRUE(
      contains(error_of([&] { export_gguf(foreign, folder_ / "x.gguf", MatrixFormat::f32); }),
               "token '<extra>' has id 24; the model has 24 rows"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "x.gguf"));
}

/// A model's tokenizer.ggml.add_bos_token.
bool adds_bos(const std::string& gguf) {
  const std::string key = "tokenizer.ggml.add_bos_token";
  const std::size_t at = gguf.find(key);
  CHECK(at != std::string::npos, "has no ", key);
  return gguf.at(at + key.size() + 4) != 0;  // after the value's type
}

TEST_F(Gguf, TheStartTokenIsAddedWhereTheModelHasLearnedIt) {
  std::string& json = info_.tokenizer;
  json.replace(json.find("<extra>"), 7, "<|startoftext|>");
  EXPECT_FALSE(adds_bos(exported(MatrixFormat::f32)));  // pretrained here, on texts without it
  config_.model.add_bos_token = true;                   // with it
  EXPECT_TRUE(adds_bos(exported(MatrixFormat::f32)));
}

TEST_F(Gguf, OfAnImportedModelTheStartTokenIsAddedAsHuggingFaceDoes) {
  std::string& json = info_.tokenizer;
  json.replace(json.find("<extra>"), 7, "<begin>");
  info_.extra["hf_config"] = "{}";
  std::string& config = info_.extra["hf_file:tokenizer_config.json"];
  config = R"({"bos_token": "<begin>"})";
  EXPECT_FALSE(adds_bos(exported(MatrixFormat::f32)));
  config = R"({"bos_token": {"content": "<begin>"}, "add_bos_token": true})";
  EXPECT_TRUE(adds_bos(exported(MatrixFormat::f32)));
  config = R"({"bos_token": "<absent>", "add_bos_token": true})";
  EXPECT_FALSE(adds_bos(exported(MatrixFormat::f32)));
  // tokenizer_config.json does not say: the tokenizer's own post_processor does, as Llama 3's.
  const std::string none = R"("post_processor": null)";
  ASSERT_NE(json.find(none), std::string::npos);
  const std::string single =
      R"({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<begin>", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}}]})";
  config = R"({"bos_token": "<begin>"})";
  json.replace(json.find(none), none.size(),
               R"("post_processor": {"type": "Sequence", "processors": [{"type": "ByteLevel"}, )" +
                   single + "]}");
  EXPECT_TRUE(adds_bos(exported(MatrixFormat::f32)));
  config = R"({"bos_token": "<begin>", "add_bos_token": false})";  // LLaDA's
  EXPECT_FALSE(adds_bos(exported(MatrixFormat::f32)));
}

TEST_F(Gguf, TokenizersOfOtherKindsAreLeftOut) {
  const std::string all = info_.tokenizer;
  for (const auto& [from, to] : {std::pair{R"("type": "BPE")", R"("type": "Unigram")"},
                                 {R"({"type": "ByteLevel")", R"({"type": "Metaspace")"}}) {
    info_.tokenizer = all;
    ASSERT_NE(info_.tokenizer.find(from), std::string::npos) << from;
    // Every one: the decoder and post_processor may be ByteLevel too.
    for (std::size_t at = 0; (at = info_.tokenizer.find(from, at)) != std::string::npos;)
      info_.tokenizer.replace(at, std::string(from).size(), to);
    ::testing::internal::CaptureStderr();
    const std::string file = exported(MatrixFormat::f32);
    EXPECT_TRUE(contains(::testing::internal::GetCapturedStderr(), "is not byte-level BPE"));
    EXPECT_TRUE(contains(file, "no_vocab"));
  }
  info_.tokenizer = all;
  info_.tokenizer.replace(info_.tokenizer.find(R"("type": "BPE")"), 13, R"("type": null )");
  EXPECT_TRUE(contains(error_of([&] { exported(MatrixFormat::f32); }),
                       "k.h5: tokenizer: cannot be written as GGUF: "));
}

// --- elements --------------------------------------------------------------------------------

TEST(GgufElements, Q8KeepsWithinHalfAStep) {
  std::vector<float> x(64);
  for (int i = 0; i < 64; ++i) x[std::size_t(i)] = i < 32 ? std::sin(float(i)) : 0;
  std::vector<char> out(std::size_t(bytes_of_row(MatrixFormat::q8_0, 64)));
  ASSERT_EQ(out.size(), 68u);
  convert_to_gguf(MatrixFormat::q8_0, x.data(), 64, out.data(), "x");
  Float16 scale{};
  std::memcpy(&scale, out.data(), 2);
  const float s = to_float(scale);
  float largest = 0;
  for (int i = 0; i < 32; ++i) largest = std::max(largest, std::abs(x[std::size_t(i)]));
  EXPECT_NEAR(s, largest / 127, largest / 127 * 0x1p-11);
  // Half a step, and the scale's rounding to f16 times at most 127 steps.
  for (int i = 0; i < 32; ++i)
    EXPECT_NEAR(float(std::int8_t(out[std::size_t(2 + i)])) * s, x[std::size_t(i)],
                s * (0.5 + 127 * 0x1p-11));
  for (int i = 34; i < 68; ++i) EXPECT_EQ(out[std::size_t(i)], 0);  // a block of zeros
  EXPECT_TRUE(contains(
      error_of([&] { convert_to_gguf(MatrixFormat::q8_0, x.data(), 33, out.data(), "x"); }),
      "33 elements are not whole blocks"));
}

TEST(GgufElements, WhatF16CannotHold) {
  const float x[] = {1, 1e6f};
  char out[4];
  EXPECT_TRUE(contains(error_of([&] { convert_to_gguf(MatrixFormat::f16, x, 2, out, "blk.0"); }),
                       "blk.0 holds 1e+06, which f16 cannot"));
  convert_to_gguf(MatrixFormat::bf16, x, 2, out, "blk.0");
}

TEST(GgufWriterTest, TellsOfTensorsThatDoNotFit) {
  const Folder folder;
  const float x[8] = {};
  GgufKeys keys;
  GgufWriter writer(folder / "x.gguf", keys, {{"a", {2, 3}, MatrixFormat::f32}});
  EXPECT_TRUE(contains(error_of([&] { writer.write(x, 8); }), "tensor 'a' was announced as [2,3]"));
  writer.write(x, 3);
  EXPECT_TRUE(contains(error_of([&] { writer.commit(); }), "only 0 of 1 tensors"));
  writer.write(x, 3);
  EXPECT_TRUE(contains(error_of([&] { writer.write(x, 1); }), "more tensors than announced"));
  writer.commit();
  EXPECT_EQ(folder.files(), std::vector<std::string>{"x.gguf"});
}

}  // namespace
}  // namespace lacuna
