#include "checkpoint/gguf_import.h"

#include <algorithm>

#include "checkpoint/checkpoint.h"
#include "checkpoint/gguf_architecture.h"
#include "checkpoint/gguf_reader.h"
#include "checkpoint/hugging_face_detail.h"
#include "core/check.h"
#include "core/input_file.h"
#include "core/json.h"
#include "core/text.h"

namespace lacuna {
namespace {

using GgufJson = nlohmann::ordered_json;

/// The keys of an architecture's sizes.
class SizeKeys {
 public:
  SizeKeys(const GgufFile& file, const std::string& architecture)
      : file_(file), prefix_(architecture + ".") {}

  bool has(const char* key) const { return file_.has(prefix_ + key); }
  std::int64_t integer(const char* key) const { return file_.integer(prefix_ + key); }
  std::int64_t integer(const char* key, std::int64_t otherwise) const {
    return has(key) ? integer(key) : otherwise;
  }
  double number(const char* key) const { return file_.number(prefix_ + key); }
  double number(const char* key, double otherwise) const {
    return has(key) ? number(key) : otherwise;
  }
  bool flag(const char* key, bool otherwise) const {
    return has(key) ? file_.flag(prefix_ + key) : otherwise;
  }
  /// Error for another value, where there is one.
  void expect(const char* key, std::int64_t value) const {
    CHECK(integer(key, value) == value, file_.name(), ": ", prefix_, key, " = ", integer(key),
          " is not supported; this program's model has ", value);
  }
  void expect_no_scaling() const {
    const std::string key = prefix_ + "rope.scaling.type", kind = file_.text(key);
    CHECK(kind.empty() || kind == "none", file_.name(), ": ", key, " = '", printable(kind),
          "' is not supported; this program's model has positions without scaling");
  }

 private:
  const GgufFile& file_;
  std::string prefix_;
};

std::int64_t token_of(const GgufFile& file, const char* role) {
  const std::string key = str("tokenizer.ggml.", role, "_token_id");
  return file.has(key) ? file.integer(key) : -1;
}

/// As llama.cpp, which knows how wide an expert is where the file does not say.
void read_feed_forward(const GgufFile& file, const SizeKeys& keys,
                       const GgufArchitecture& architecture, ModelConfig& m) {
  if (!architecture.experts) {
    keys.expect("expert_count", 0);
    m.intermediate_size = keys.integer("feed_forward_length");
    return;
  }
  keys.expect("expert_shared_count", 0);
  m.num_experts = keys.integer("expert_count");
  m.num_experts_per_tok = keys.integer("expert_used_count");
  m.norm_topk_prob = architecture.norm_topk_prob;
  CHECK(m.num_experts > 0 && m.num_experts_per_tok > 0, file.name(), ": ", architecture.name,
        ".expert_count = ", m.num_experts, " and ", architecture.name,
        ".expert_used_count = ", m.num_experts_per_tok, "; there must be experts");
  m.intermediate_size = keys.has("expert_feed_forward_length")
                            ? keys.integer("expert_feed_forward_length")
                            : keys.integer("feed_forward_length") / m.num_experts_per_tok;
}

/// Rows of the embedding.
std::int64_t rows_of_embedding(const GgufFile& file) {
  for (const GgufFile::TensorEntry& t : file.tensors())
    if (t.name == "token_embd.weight") {
      CHECK(t.shape.size() == 2, file.name(), ": tensor 'token_embd.weight' is no matrix");
      return t.shape[0];
    }
  fail(str(file.name(), ": tensor 'token_embd.weight' is missing"));
}

bool has_head(const GgufFile& file) {
  const auto& tensors = file.tensors();
  // Tensors of a split file may be anywhere; the first file lists its own.
  if (!file.text("split.count").empty() && file.text("split.count") != "1") return true;
  return std::any_of(tensors.begin(), tensors.end(),
                     [](const auto& t) { return t.name == "output.weight"; });
}

/// tokenizer_config.json, as far as the file has what it says.
std::string tokenizer_config(const GgufFile& file) {
  GgufJson config = {{"tokenizer_class", "PreTrainedTokenizerFast"}};
  const std::vector<std::string> tokens = file.has("tokenizer.ggml.tokens")
                                              ? file.strings("tokenizer.ggml.tokens")
                                              : std::vector<std::string>();
  const std::pair<const char*, const char*> roles[] = {
      {"bos_token", "bos"}, {"eos_token", "eos"}, {"pad_token", "padding"}, {"mask_token", "mask"}};
  for (const auto& [key, role] : roles)
    if (const std::int64_t id = token_of(file, role); id >= 0 && id < std::int64_t(tokens.size()))
      config[key] = tokens[std::size_t(id)];
  if (file.has("tokenizer.ggml.add_bos_token"))
    config["add_bos_token"] = file.flag("tokenizer.ggml.add_bos_token");
  if (file.has("tokenizer.chat_template"))
    config["chat_template"] = file.string("tokenizer.chat_template");
  return json_text(config, 2) + "\n";
}

CheckpointInfo gguf_info(const GgufFile& file, const ModelConfig& model) {
  CheckpointInfo info = info_of_model(model);
  info.tokenizer = tokenizer_from_gguf(file);
  if (!info.tokenizer.empty())
    info.extra[std::string(kFileAttribute) + "tokenizer_config.json"] = tokenizer_config(file);
  return info;
}

}  // namespace

bool is_gguf_file(const std::filesystem::path& path) {
  return std::filesystem::is_regular_file(path) && InputFile(path).begin(4) == "GGUF";
}

ModelConfig model_config_from_gguf(const GgufFile& file) {
  const std::string name = file.string("general.architecture");
  const GgufArchitecture& architecture = gguf_architecture(name, file.name());
  const SizeKeys keys(file, name);
  ModelConfig m;
  m.attention = keys.flag("attention.causal", architecture.attention == Attention::causal)
                    ? Attention::causal
                    : Attention::bidirectional;
  m.qkv_bias = architecture.qkv_bias;
  m.qk_norm = architecture.qk_norm;
  m.logits_shift = m.attention == Attention::bidirectional &&
                   (file.has("diffusion.shift_logits") ? file.flag("diffusion.shift_logits")
                                                       : architecture.logits_shift);
  m.num_layers = keys.integer("block_count");
  m.hidden_size = keys.integer("embedding_length");
  m.num_heads = keys.integer("attention.head_count");
  m.num_kv_heads = keys.integer("attention.head_count_kv", m.num_heads);
  CHECK(m.num_heads > 0, file.name(), ": ", name, ".attention.head_count = ", m.num_heads);
  const std::int64_t even = m.hidden_size / m.num_heads,
                     width = keys.integer("attention.key_length", even);
  m.head_dim = width * m.num_heads == m.hidden_size ? 0 : width;
  CHECK(keys.integer("attention.value_length", even) == width, file.name(), ": heads of ", width,
        " for keys (", name, ".attention.key_length) and ",
        keys.integer("attention.value_length", even), " for values (", name,
        ".attention.value_length) are not supported; this program's model has one width");
  keys.expect("rope.dimension_count", width);
  keys.expect("attention.sliding_window", 0);
  keys.expect_no_scaling();
  read_feed_forward(file, keys, architecture, m);
  m.max_seq_length = keys.integer("context_length");
  m.rms_norm_eps = keys.number("attention.layer_norm_rms_epsilon");
  m.rope_theta = keys.number("rope.freq_base", 10000);
  m.vocab_size = rows_of_embedding(file);
  m.tie_embeddings = !has_head(file);
  m.mask_token = token_of(file, "mask");
  m.eos_token = token_of(file, "eos");
  m.pad_token = token_of(file, "padding");
  try {
    validate(m);
  } catch (const Error& e) {  // it speaks of this program's keys; the file is what is wrong
    fail(str(file.name(), ": its keys describe no model: ", e.what()));
  }
  return m;
}

std::unique_ptr<const ModelReader> open_gguf(const std::filesystem::path& path) {
  GgufTensors tensors(path);
  ModelConfig model = model_config_from_gguf(tensors.header());
  model.tie_embeddings = !tensors.has("output.weight");
  CheckpointInfo info = gguf_info(tensors.header(), model);
  const GgufArchitecture& architecture =
      gguf_architecture(tensors.header().string("general.architecture"), path.string());
  return std::make_unique<GgufReader>(std::move(tensors), std::move(info), model,
                                      architecture.order);
}

void import_gguf(const std::filesystem::path& file, const std::filesystem::path& checkpoint) {
  const std::unique_ptr<const ModelReader> reader = open_gguf(file);
  CheckpointTensors tensors;
  std::vector<std::vector<std::byte>> memory;
  for (const std::string& name : reader->names("model"))
    tensors.model.push_back({name, whole_tensor(*reader, name, memory)});
  save_checkpoint(checkpoint, reader->info(), tensors);
}

}  // namespace lacuna
