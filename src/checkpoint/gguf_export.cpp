#include "checkpoint/gguf_export.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "checkpoint/checkpoint_config.h"
#include "checkpoint/gguf_architecture.h"
#include "checkpoint/hugging_face.h"
#include "checkpoint/hugging_face_detail.h"
#include "checkpoint/stored_adapter.h"
#include "core/check.h"
#include "core/json.h"
#include "core/log.h"
#include "model/weight_spec.h"

namespace lacuna {
namespace {

using Json = nlohmann::ordered_json;

// Elements converted and written at a time.
constexpr std::int64_t kWriteElements = std::int64_t{1} << 20;

// general.file_type, by which llama.cpp names a file.
std::uint32_t file_type(MatrixFormat format) {
  constexpr std::uint32_t kNumbers[] = {0, 32, 1, 7, 2, 14, 16, 18};
  static_assert(std::size(kNumbers) == std::size(kMatrixFormats));
  return kNumbers[std::size_t(format)];
}

/// [heads * D, C] with the rows of each head reordered from halves to neighbouring pairs: row 2j +
/// s of a head is its former row s D/2 + j.
void interleave_rows(std::vector<float>& matrix, std::int64_t heads, std::int64_t cols,
                     std::vector<float>& scratch) {
  scratch = matrix;
  const std::int64_t D = std::int64_t(matrix.size()) / cols / heads;
  for (std::int64_t h = 0; h < heads; ++h)
    for (std::int64_t j = 0; j < D / 2; ++j)
      for (std::int64_t s = 0; s < 2; ++s)
        std::copy_n(scratch.begin() + (h * D + s * (D / 2) + j) * cols, cols,
                    matrix.begin() + (h * D + 2 * j + s) * cols);
}

/// As llama.cpp, which computes with norms in f32 and rows of whole blocks only.
MatrixFormat format_for(const Shape& shape, MatrixFormat wanted) {
  if (shape.rank < 2) return MatrixFormat::f32;
  const std::int64_t cols = shape[shape.rank - 1];
  for (const MatrixFormat format : {wanted, MatrixFormat::q8_0})
    if (cols % info_of(format).block_elements == 0) return format;
  return MatrixFormat::f16;
}

/// Logits that nearly tie decide which token is committed, so that the head keeps 6 bits, and which
/// experts compute it, so that the router keeps all; as in llama.cpp's own files.
MatrixFormat wanted_for(WeightRole role, bool tied, MatrixFormat format) {
  if (role == WeightRole::router) return MatrixFormat::f32;
  const bool is_head = role == WeightRole::head || (tied && role == WeightRole::embedding);
  const bool narrow =
      format == MatrixFormat::q4_0 || format == MatrixFormat::q4_k || format == MatrixFormat::q5_k;
  return is_head && narrow ? MatrixFormat::q6_k : format;
}

/// The text of the token that a Hugging Face tokenizer_config.json begins texts with.
std::string bos_text(const Json& config) {
  if (!config.is_null() && config.contains("bos_token")) {
    const Json& bos = config["bos_token"];
    if (bos.is_string()) return bos.get<std::string>();
    if (bos.is_object() && bos.contains("content") && bos["content"].is_string())
      return bos["content"].get<std::string>();
  }
  return "<|startoftext|>";
}

/// Whether a post_processor puts that token before a text.
bool puts_before(const Json& processor, const std::string& bos) {
  if (!processor.is_object()) return false;
  for (const char* list : {"processors", "single"}) {
    const auto steps = processor.find(list);
    if (steps == processor.end() || !steps->is_array() || steps->empty()) continue;
    if (std::string_view(list) == "single") {
      const Json& first = steps->front();
      return first.is_object() && first.contains("SpecialToken") &&
             first["SpecialToken"].is_object() && first["SpecialToken"].contains("id") &&
             first["SpecialToken"]["id"] == bos;
    }
    for (const Json& step : *steps)
      if (puts_before(step, bos)) return true;
  }
  return false;
}

/// Whether llama.cpp should put the token before every text: where the model was trained here with
/// texts that begin so, or where Hugging Face's tokenizer of an imported model does. A model that
/// has not seen the token would not know what to make of it.
bool adds_bos(const ModelConfig& model, const Json& config, const CheckpointInfo& info,
              const std::string& bos, const std::string& name) {
  if (model.add_bos_token) return true;
  if (!config.is_null() && config.contains("add_bos_token") && config["add_bos_token"].is_boolean())
    return config["add_bos_token"].get<bool>();
  if (!info.extra.count(kConfigAttribute)) return false;
  const auto tokenizer = parse_json_object<Json>(info.tokenizer, name);
  return tokenizer.contains("post_processor") && puts_before(tokenizer["post_processor"], bos);
}

/// Of those that there are.
void add_token_ids(GgufKeys& keys,
                   std::initializer_list<std::pair<const char*, std::int64_t>> tokens) {
  for (const auto& [role, id] : tokens)
    if (id >= 0) keys.add(str("tokenizer.ggml.", role, "_token_id"), std::uint32_t(id));
}

void add_special_tokens(GgufKeys& keys, const ModelConfig& model, const CheckpointInfo& info,
                        const std::string& name) {
  const AddedTokens added = added_tokens(info.tokenizer, name);
  const Json config = tokenizer_config_of(info, name);
  const std::string bos = bos_text(config);
  const std::int64_t start = id_of(added, bos);
  // Where there is none llama.cpp would take token 11 for one.
  add_token_ids(keys, {{"bos", start >= 0 ? start : model.eos_token},
                       {"eos", model.eos_token},
                       {"eot", id_of(added, "<|eot_id|>")},
                       {"padding", model.pad_token >= 0 ? model.pad_token : model.eos_token},
                       {"mask", model.mask_token}});
  keys.add("tokenizer.ggml.add_bos_token", start >= 0 && adds_bos(model, config, info, bos, name));
  const std::string chat = chat_template_of(info, added, name);
  if (!chat.empty()) keys.add("tokenizer.chat_template", chat);
}

GgufKeys keys_of(const ModelReader& reader, const ModelConfig& model, MatrixFormat format) {
  const bool causal = model.attention == Attention::causal;
  const std::string architecture = gguf_architecture(model, reader.path()).name,
                    p = architecture + ".";
  GgufKeys keys;
  keys.add("general.architecture", architecture);
  keys.add("general.file_type", file_type(format));
  if (!info_of(format).is_float) keys.add("general.quantization_version", std::uint32_t{2});
  const auto count = [&](const char* key, std::int64_t value) {
    keys.add(p + key, std::uint32_t(value));
  };
  count("block_count", model.num_layers);
  count("context_length", model.max_seq_length);
  count("embedding_length", model.hidden_size);
  if (model.has_experts()) {
    count("expert_count", model.num_experts);
    count("expert_used_count", model.num_experts_per_tok);
    count("expert_feed_forward_length", model.intermediate_size);
  } else {
    count("feed_forward_length", model.intermediate_size);
  }
  count("attention.head_count", model.num_heads);
  count("attention.head_count_kv", model.kv_heads());
  keys.add(p + "attention.layer_norm_rms_epsilon", float(model.rms_norm_eps));
  if (model.head_dim > 0) {
    count("attention.key_length", model.head_dim);
    count("attention.value_length", model.head_dim);
  }
  count("rope.dimension_count", model.head_width());
  keys.add(p + "rope.freq_base", float(model.rope_theta));
  count("vocab_size", model.vocab_size);
  if (!causal) {
    keys.add(p + "attention.causal", false);
    // Without it llama.cpp's diffusion program would take row i for a prediction of token i + 1.
    keys.add("diffusion.shift_logits", model.logits_shift);
  }
  const CheckpointInfo& info = reader.info();
  const std::string name = reader.path() + ": tokenizer";
  if (!info.tokenizer.empty() && add_gguf_tokenizer(keys, info.tokenizer, model.vocab_size, name)) {
    add_special_tokens(keys, model, info, name);
  } else {
    keys.add("tokenizer.ggml.model", "no_vocab");
    add_token_ids(
        keys, {{"eos", model.eos_token}, {"padding", model.pad_token}, {"mask", model.mask_token}});
  }
  return keys;
}

/// The matrices of a block's experts that are one tensor behind each other.
std::vector<ModelWeight> in_gguf_order(std::vector<ModelWeight> weights) {
  const auto is_no_expert = [](const ModelWeight& w) { return w.expert < 0; };
  for (auto begin = weights.begin(); begin != weights.end();) {
    begin = std::find_if_not(begin, weights.end(), is_no_expert);
    const auto end = std::find_if(begin, weights.end(), is_no_expert);
    std::stable_sort(begin, end, [](const ModelWeight& a, const ModelWeight& b) {
      return a.spec->role < b.spec->role;
    });
    begin = end;
  }
  return weights;
}

}  // namespace

GgufExport export_gguf(const std::filesystem::path& checkpoint, const std::filesystem::path& file,
                       MatrixFormat format, const std::string& adapter) {
  const std::unique_ptr<const ModelReader> opened = open_model(checkpoint, adapter);
  const ModelReader& reader = *opened;
  const ModelConfig model = config_of_checkpoint(reader).model;
  const std::vector<ModelWeight> weights = in_gguf_order(model_weights(model));
  GgufExport result;
  std::vector<GgufTensor> tensors;
  for (const ModelWeight& w : weights) {
    result.parameters += w.shape.count();
    if (w.expert > 0) continue;  // in the tensor of the first
    const MatrixFormat wanted = wanted_for(w.spec->role, model.tie_embeddings, format);
    const Shape shape = gguf_shape(w, model);
    tensors.push_back({w.spec->name(NameScheme::gguf, w.block), shape, format_for(shape, wanted)});
    result.wider_tensors += shape.rank > 1 && tensors.back().format != wanted;
  }
  const bool pairs = gguf_architecture(model, reader.path()).order == GgufRowOrder::pairs;
  GgufWriter writer(file, keys_of(reader, model, format), tensors);
  std::vector<float> elements, scratch;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const ModelWeight& w = weights[i];
    log_progress(str("exporting tensor ", i + 1, " of ", weights.size()));
    elements.resize(std::size_t(w.shape.count()));
    read_as(reader, w.name, Tensor(elements.data(), w.shape));
    const std::int64_t cols = w.shape[w.shape.rank - 1];
    if (pairs && w.spec->role == WeightRole::query)
      interleave_rows(elements, model.num_heads, cols, scratch);
    if (pairs && w.spec->role == WeightRole::key)
      interleave_rows(elements, model.kv_heads(), cols, scratch);
    const std::int64_t rows = std::max<std::int64_t>(1, kWriteElements / cols) * cols;
    for (std::int64_t at = 0; at < w.shape.count(); at += rows)
      writer.write(elements.data() + at, std::min(rows, w.shape.count() - at));
  }
  log_progress("");
  result.bytes = writer.bytes();
  writer.commit();
  return result;
}

}  // namespace lacuna
