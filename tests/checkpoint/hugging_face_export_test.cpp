#include <sys/resource.h>

#include <csignal>
#include <nlohmann/json.hpp>

#include "core/half.h"
#include "core/version.h"
#include "tests/checkpoint/hugging_face_support.h"

namespace lacuna {
namespace {

namespace fs = std::filesystem;
using testing::contains;
using testing::error_of;
using testing::Folder;
using testing::LladaFolder;
using testing::same;
using testing::Tensors;
using OrderedJson = nlohmann::ordered_json;

TEST(HuggingFaceExport, import_then_export_gives_every_tensor_and_file_back) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16})
    for (const std::int64_t shard_bytes : {kShardBytes, std::int64_t{1200}}) {
      const LladaFolder from(dtype, shard_bytes);
      const Folder to;
      import_hugging_face(from.path(), to / "k.h5");
      ExportOptions options;
      options.shard_bytes = shard_bytes;
      export_hugging_face(to / "k.h5", to / "out", options);
      EXPECT_EQ(to.files(), (std::vector<std::string>{"k.h5", "out"}));
      const SafetensorsFolder out(to / "out");
      EXPECT_EQ(out.names().size(), from.tensors.size());
      for (const NamedTensor& t : from.tensors)
        EXPECT_TRUE(same(out.view(t.name), t.tensor)) << t.name;
      // config.json says bfloat16 whatever the tensors are: it comes back as it was all the same.
      for (const char* file :
           {"config.json", "tokenizer.json", "generation_config.json", "modeling_llada.py"})
        EXPECT_EQ(read_file(fs::path(to / "out") / file), read_file(from.folder / file)) << file;
      EXPECT_EQ(fs::exists(to / "out/model.safetensors.index.json"), shard_bytes == 1200);
      EXPECT_FALSE(fs::exists(to / "out/README.md"));
    }
}

/// A checkpoint of our own: f32 masters, bf16 weights.
struct OwnModel {
  OwnModel() {
    config.model.num_layers = 2;
    config.model.hidden_size = 8;
    config.model.num_heads = 2;
    config.model.intermediate_size = 6;
    config.model.max_seq_length = 32;
    config.model.mask_token = 9;
    config.model.eos_token = 8;
    config.model.pad_token = 8;
    ModelConfig sized = config.model;
    sized.vocab_size = 10;  // the stored config may leave it to the tokenizer
    for (const TensorInfo& info : hugging_face_tensors(sized, DType::f32)) {
      const Tensor wide = own.zeros(info.shape), rounded = own.zeros(info.shape, DType::bf16);
      for (std::int64_t i = 0; i < wide.count(); ++i) {
        wide.as<float>()[i] = float(i + 1) / 7;
        rounded.as<BFloat16>()[i] = to_bf16(wide.as<float>()[i]);
      }
      tensors.model.push_back({info.name, rounded});
      tensors.master.push_back({info.name, wide});
    }
  }
  std::string save(const Folder& folder) {
    CheckpointInfo info;
    info.step = 3;
    info.config = to_toml(config);
    info.tokenizer = tokenizer;
    save_checkpoint(folder / "k.h5", info, tensors);
    return folder / "k.h5";
  }
  Tensors own;
  Config config;
  std::string tokenizer = testing::kTokenizer;
  CheckpointTensors tensors;
};

TEST(HuggingFaceExport, a_model_of_our_own) {
  const Folder folder;
  OwnModel model;
  export_hugging_face(model.save(folder), folder / "out");
  const auto config = OrderedJson::parse(read_file(folder / "out/config.json"));
  const OrderedJson expected = {
      {"model_type", "llada"},    {"d_model", 8},          {"n_heads", 2},
      {"n_kv_heads", 2},          {"n_layers", 2},         {"mlp_hidden_size", 6},
      {"vocab_size", 10},         {"embedding_size", 10},  {"mask_token_id", 9},
      {"eos_token_id", 8},        {"pad_token_id", 8},     {"weight_tying", false},
      {"rope_theta", 10000.0},    {"rms_norm_eps", 1e-05}, {"torch_dtype", "bfloat16"},
      {"max_sequence_length", 32}};
  for (const auto& [key, value] : expected.items()) EXPECT_EQ(config[key], value) << key;
  ModelConfig back = model.config.model;
  back.vocab_size = 10;
  back.num_kv_heads = 2;
  EXPECT_EQ(model_config_from_hugging_face(config.dump(), "config.json"), back);
  const auto tokenizer = OrderedJson::parse(read_file(folder / "out/tokenizer_config.json"));
  EXPECT_EQ(tokenizer["tokenizer_class"], "PreTrainedTokenizerFast");
  EXPECT_EQ(tokenizer["bos_token"], "<|startoftext|>");
  EXPECT_EQ(tokenizer["eos_token"], "<|endoftext|>");
  EXPECT_EQ(tokenizer["pad_token"], "<|endoftext|>");
  EXPECT_EQ(tokenizer["mask_token"], "<|mdm_mask|>");
  EXPECT_FALSE(tokenizer.contains("chat_template"));  // it has no chat tokens
  const SafetensorsFile weights(folder / "out/model.safetensors");
  // Without the format, transformers refuses it.
  EXPECT_EQ(weights.metadata(), (Metadata{{"format", "pt"}, {"producer", program_version()}}));
  for (const NamedTensor& t : model.tensors.model)
    EXPECT_TRUE(same(weights.view(t.name), t.tensor)) << t.name;
  // And the way in again.
  import_hugging_face(folder / "out", folder / "again.h5");
  EXPECT_EQ(parse_config(CheckpointReader(folder / "again.h5").info().config, "").model, back);
}

TEST(HuggingFaceExport, a_chosen_dtype) {
  const Folder folder;
  OwnModel model;
  model.save(folder);
  for (const auto& [dtype, word] :
       {std::pair{DType::f32, "float32"}, {DType::bf16, "bfloat16"}, {DType::f16, "float16"}}) {
    ExportOptions options;
    options.dtype = dtype;
    export_hugging_face(folder / "k.h5", folder / "out", options);
    EXPECT_EQ(OrderedJson::parse(read_file(folder / "out/config.json"))["torch_dtype"], word);
    const SafetensorsFile weights(folder / "out/model.safetensors");
    for (const NamedTensor& t : model.tensors.master) {  // from the weights before rounding
      const Tensor view = weights.view(t.name);
      ASSERT_EQ(view.dtype, dtype);
      for (std::int64_t i = 0; i < view.count(); ++i) {
        const float x = t.tensor.as<float>()[i];
        const bool equal = dtype == DType::f32    ? view.as<float>()[i] == x
                           : dtype == DType::bf16 ? view.as<BFloat16>()[i].bits == to_bf16(x).bits
                                                  : view.as<Float16>()[i].bits == to_f16(x).bits;
        ASSERT_TRUE(equal) << t.name << ' ' << i << ' ' << x;
      }
    }
  }
}

TEST(HuggingFaceExport, numbers_that_f16_cannot_hold) {
  const Folder folder;
  OwnModel model;
  ExportOptions options;
  options.dtype = DType::f16;
  const Tensor norm = model.tensors.master[1].tensor;
  norm.as<float>()[2] = std::numeric_limits<float>::infinity();  // it is one in f16 too
  export_hugging_face(model.save(folder), folder / "out", options);
  norm.as<float>()[3] = 70'000;
  EXPECT_EQ(error_of([&] { export_hugging_face(model.save(folder), folder / "new", options); }),
            folder / "k.h5" + ": tensor '" + model.tensors.master[1].name +
                "' holds 70000, which f16 cannot; export as bf16 or f32");
  EXPECT_EQ(folder.files(), (std::vector<std::string>{"k.h5", "out"}));
}

TEST(HuggingFaceExport, checkpoints_that_do_not_fit) {
  const Folder folder;
  const auto mistake_after = [&](const std::function<void(OwnModel&)>& change) {
    OwnModel model;
    change(model);
    model.save(folder);
    const std::string message =
        error_of([&] { export_hugging_face(folder / "k.h5", folder / "out"); });
    EXPECT_EQ(folder.files(), std::vector<std::string>{"k.h5"}) << message;
    return message;
  };
  EXPECT_TRUE(contains(mistake_after([](OwnModel& m) { m.tensors.model.pop_back(); }),
                       "tensor /model/model.transformer.ff_out.weight is missing"));
  EXPECT_TRUE(contains(mistake_after([](OwnModel& m) { m.config.model.intermediate_size = 7; }),
                       "/model/model.transformer.blocks.0.ff_proj.weight has shape [6,8]; the "
                       "checkpoint's config makes it [7,8]"));
  EXPECT_TRUE(contains(mistake_after([](OwnModel& m) {
                         m.config.model.attention = Attention::block_causal;
                         m.config.model.block_size = 4;
                       }),
                       "a model with attention = block_causal is of no family with a Hugging Face "
                       "layout; there are LLaDA (LLaDAModelLM), "));
  EXPECT_TRUE(contains(mistake_after([](OwnModel& m) { m.tokenizer.resize(9); }),
                       "k.h5: tokenizer: malformed JSON"));
  EXPECT_TRUE(contains(mistake_after([](OwnModel& m) { m.tensors.model.clear(); }),
                       "tensor /model/model.transformer.wte.weight is missing"));
}

TEST(HuggingFaceExport, odd_but_valid_files_of_a_tokenizer_and_a_config) {
  const Folder folder;
  OwnModel model;
  for (const char* tokenizer :
       {"{}", R"({"added_tokens": {}})", R"({"added_tokens": [3, {}, null]})",
        R"({"added_tokens": [{"id": "8", "content": 8}]})"}) {
    model.tokenizer = tokenizer;
    export_hugging_face(model.save(folder), folder / "out");
    EXPECT_EQ(read_file(folder / "out/tokenizer.json"), tokenizer);
    EXPECT_EQ(OrderedJson::parse(read_file(folder / "out/special_tokens_map.json")),
              OrderedJson::object());
  }
  auto config = OrderedJson::parse(testing::kLladaConfig);
  config["torch_dtype"] = nullptr;
  const LladaFolder from(DType::f32, kShardBytes, config.dump());
  import_hugging_face(from.path(), folder / "k.h5");
  ExportOptions options;
  options.dtype = DType::f32;
  export_hugging_face(folder / "k.h5", folder / "out", options);
  EXPECT_EQ(OrderedJson::parse(read_file(folder / "out/config.json"))["torch_dtype"], "float32");
}

TEST(HuggingFaceExport, into_a_folder_that_exists) {
  const Folder folder;
  OwnModel model;
  model.save(folder);
  fs::create_directory(folder / "out");
  std::ofstream(folder / "out/notes.txt") << "mine";
  std::ofstream(folder / "out/config.json") << "old";
  ExportOptions shards;
  shards.shard_bytes = 300;
  const auto names = [&] {
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(folder / "out"))
      found.push_back(entry.path().filename().string());
    std::sort(found.begin(), found.end());
    return found;
  };
  export_hugging_face(folder / "k.h5", folder / "out/", shards);
  EXPECT_GT(names().size(), 6u);
  EXPECT_NE(read_file(folder / "out/config.json"), "old");
  export_hugging_face(folder / "k.h5", folder / "out/");
  EXPECT_EQ(names(), (std::vector<std::string>{"config.json", "model.safetensors", "notes.txt",
                                               "special_tokens_map.json", "tokenizer.json",
                                               "tokenizer_config.json"}));
  export_hugging_face(folder / "k.h5", folder / "out", shards);
  EXPECT_FALSE(fs::exists(folder / "out/model.safetensors"));  // it would be preferred
  EXPECT_EQ(SafetensorsFolder(folder / "out").names().size(), model.tensors.model.size());
  EXPECT_EQ(read_file(folder / "out/notes.txt"), "mine");

  std::ofstream(folder / "file") << "x";
  EXPECT_EQ(error_of([&] { export_hugging_face(folder / "k.h5", folder / "file"); }),
            folder / "file" + ": is a file, not a folder");
}

/// Exports with a limit on file sizes that the weights exceed.
std::string fail_to_export(const Folder& folder, const std::string& to) {
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  const rlimit limit{2000, before.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &limit);
  const std::string message = error_of([&] { export_hugging_face(folder / "k.h5", to); });
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  return message;
}

TEST(HuggingFaceExport, that_fails_leaves_nothing_and_changes_nothing) {
  const Folder folder;
  OwnModel().save(folder);
  EXPECT_TRUE(contains(fail_to_export(folder, folder / "new"), "File too large"));
  EXPECT_EQ(folder.files(), std::vector<std::string>{"k.h5"});

  fs::create_directory(folder / "old");
  std::ofstream(folder / "old/model.safetensors") << "the weights before";
  EXPECT_TRUE(contains(fail_to_export(folder, folder / "old"), "File too large"));
  EXPECT_EQ(read_file(folder / "old/model.safetensors"), "the weights before");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder / "old"), {}), 1);
}

TEST(HuggingFaceExport, what_an_interrupted_one_left_is_removed) {
  const Folder folder;
  OwnModel().save(folder);
  fs::create_directory(folder / "out.partial");
  std::ofstream(folder / "out.partial/model-00001-of-00009.safetensors") << "half";
  export_hugging_face(folder / "k.h5", folder / "out");
  EXPECT_EQ(folder.files(), (std::vector<std::string>{"k.h5", "out"}));
  EXPECT_FALSE(fs::exists(folder / "out/model-00001-of-00009.safetensors"));
}

}  // namespace
}  // namespace lacuna
