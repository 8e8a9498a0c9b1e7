#include "model/weight_spec.h"

#include <algorithm>
#include <array>
#include <deque>
#include <string_view>

#include "core/check.h"

namespace lacuna {
namespace {

using Role = WeightRole;
using E = Extent;
using Kind = WeightKind;
using Axis = ParallelAxis;
using Scale = InitialScale;
using In = Presence;

// clang-format off
constexpr std::array kTable = {
    WeightSpec{Role::embedding, "embedding", "model.transformer.wte", "model.embed_tokens", "token_embd",
               E::vocabulary, E::hidden, Kind::embedding, Axis::ids, Scale::reads_residual, false},

    WeightSpec{Role::attention_norm, "attention_norm", "attn_norm", "input_layernorm", "attn_norm",
               E::hidden, E::none, Kind::norm, Axis::none, Scale::ones, false},
    WeightSpec{Role::query, "qkv", "q_proj", "self_attn.q_proj", "attn_q",
               E::queries, E::hidden, Kind::matrix, Axis::rows, Scale::reads_residual, true},
    WeightSpec{Role::key, "qkv", "k_proj", "self_attn.k_proj", "attn_k",
               E::keys, E::hidden, Kind::matrix, Axis::rows, Scale::reads_residual, true},
    WeightSpec{Role::value, "qkv", "v_proj", "self_attn.v_proj", "attn_v",
               E::keys, E::hidden, Kind::matrix, Axis::rows, Scale::reads_residual, true},
    WeightSpec{Role::query_bias, "qkv_bias", "q_proj", "self_attn.q_proj", "attn_q",
               E::queries, E::none, Kind::bias, Axis::rows, Scale::zeros, false, In::qkv_bias},
    WeightSpec{Role::key_bias, "qkv_bias", "k_proj", "self_attn.k_proj", "attn_k",
               E::keys, E::none, Kind::bias, Axis::rows, Scale::zeros, false, In::qkv_bias},
    WeightSpec{Role::value_bias, "qkv_bias", "v_proj", "self_attn.v_proj", "attn_v",
               E::keys, E::none, Kind::bias, Axis::rows, Scale::zeros, false, In::qkv_bias},
    WeightSpec{Role::query_norm, "query_norm", "q_norm", "self_attn.q_norm", "attn_q_norm",
               E::head, E::none, Kind::norm, Axis::none, Scale::ones, false, In::qk_norm},
    WeightSpec{Role::key_norm, "key_norm", "k_norm", "self_attn.k_norm", "attn_k_norm",
               E::head, E::none, Kind::norm, Axis::none, Scale::ones, false, In::qk_norm},
    WeightSpec{Role::attention_out, "attention_out", "attn_out", "self_attn.o_proj", "attn_output",
               E::hidden, E::queries, Kind::matrix, Axis::columns, Scale::writes_residual, true},
    WeightSpec{Role::ffn_norm, "ffn_norm", "ff_norm", "post_attention_layernorm", "ffn_norm",
               E::hidden, E::none, Kind::norm, Axis::none, Scale::ones, false},
    WeightSpec{Role::gate, "gate_up", "ff_proj", "mlp.gate_proj", "ffn_gate",
               E::intermediate, E::hidden, Kind::matrix, Axis::rows, Scale::reads_residual, true, In::dense},
    WeightSpec{Role::up, "gate_up", "up_proj", "mlp.up_proj", "ffn_up",
               E::intermediate, E::hidden, Kind::matrix, Axis::rows, Scale::reads_residual, true, In::dense},
    WeightSpec{Role::ffn_out, "ffn_out", "ff_out", "mlp.down_proj", "ffn_down",
               E::hidden, E::intermediate, Kind::matrix, Axis::columns, Scale::writes_residual, true, In::dense},
    WeightSpec{Role::router, "router", "router", "mlp.gate", "ffn_gate_inp",
               E::experts, E::hidden, Kind::matrix, Axis::none, Scale::reads_residual, false, In::mixture},
    WeightSpec{Role::expert_gate, "gate_up", "experts.*.ff_proj", "mlp.experts.*.gate_proj", "ffn_gate_exps",
               E::intermediate, E::hidden, Kind::matrix, Axis::none, Scale::reads_residual, false, In::each_expert},
    WeightSpec{Role::expert_up, "gate_up", "experts.*.up_proj", "mlp.experts.*.up_proj", "ffn_up_exps",
               E::intermediate, E::hidden, Kind::matrix, Axis::none, Scale::reads_residual, false, In::each_expert},
    WeightSpec{Role::expert_out, "ffn_out", "experts.*.ff_out", "mlp.experts.*.down_proj", "ffn_down_exps",
               E::hidden, E::intermediate, Kind::matrix, Axis::none, Scale::writes_residual, false, In::each_expert},

    WeightSpec{Role::final_norm, "final_norm", "model.transformer.ln_f", "model.norm", "output_norm",
               E::hidden, E::none, Kind::norm, Axis::none, Scale::ones, false},
    WeightSpec{Role::head, "head", "model.transformer.ff_out", "lm_head", "output",
               E::vocabulary, E::hidden, Kind::matrix, Axis::ids, Scale::reads_residual, false},
};
// clang-format on

std::int64_t extent_of(Extent extent, const ModelConfig& m) {
  switch (extent) {
    case Extent::none:
      return 0;
    case Extent::vocabulary:
      return m.vocab_size;
    case Extent::hidden:
      return m.hidden_size;
    case Extent::queries:
      return m.num_heads * m.head_width();
    case Extent::keys:
      return m.kv_heads() * m.head_width();
    case Extent::head:
      return m.head_width();
    case Extent::intermediate:
      return m.intermediate_size;
    case Extent::experts:
      return m.num_experts;
    case Extent::rank:
      break;  // not the model's
  }
  fail("unknown extent of a weight");
}

const char* blocks_of(NameScheme scheme) {
  switch (scheme) {
    case NameScheme::llada:
      return "model.transformer.blocks.";
    case NameScheme::llama:
      return "model.layers.";
    case NameScheme::gguf:
      return "blk.";
  }
  fail("unknown scheme of names");
}

/// The rows of adapter_table(), whose names lie in `names`.
std::vector<AdapterSpec> adapters_of_table(std::deque<std::string>& names) {
  std::vector<AdapterSpec> all;
  for (const WeightSpec& w : kTable) {
    if (!w.lora) continue;
    const auto factor = [&](Role role, const char* packed, const char* suffix) {
      const auto named = [&](const char* of) {
        return names.emplace_back(str(of, suffix)).c_str();
      };
      WeightSpec spec = w;
      spec.role = role;
      spec.packed = named(packed);
      spec.llada = named(w.llada);
      spec.llama = named(w.llama);
      spec.gguf = named(w.gguf);
      spec.lora = false;
      return spec;
    };
    AdapterSpec& adapter = all.emplace_back(AdapterSpec{
        &w, factor(Role::lora_a, w.packed, ".lora_A"), factor(Role::lora_b, w.llada, ".lora_B")});
    adapter.a.rows = adapter.b.columns = E::rank;
    adapter.a.scale = Scale::uniform;
    adapter.b.scale = Scale::zeros;
    if (w.axis == Axis::rows) adapter.a.axis = Axis::none;
    if (w.axis == Axis::columns) adapter.b.axis = Axis::none;
  }
  return all;
}

}  // namespace

bool WeightSpec::in_block() const {
  return role != Role::embedding && role != Role::final_norm && role != Role::head;
}

bool WeightSpec::is_in(const ModelConfig& m) const {
  switch (presence) {
    case Presence::always:
      return role != Role::head || !m.tie_embeddings;
    case Presence::qkv_bias:
      return m.qkv_bias;
    case Presence::qk_norm:
      return m.qk_norm;
    case Presence::dense:
      return !m.has_experts();
    case Presence::mixture:
    case Presence::each_expert:
      return m.has_experts();
  }
  fail("unknown presence of a weight");
}

Shape WeightSpec::shape(const ModelConfig& m) const {
  if (columns == Extent::none) return {extent_of(rows, m)};
  return {extent_of(rows, m), extent_of(columns, m)};
}

std::string WeightSpec::name(NameScheme scheme, int block, int expert) const {
  std::string own = scheme == NameScheme::llada   ? llada
                    : scheme == NameScheme::llama ? llama
                                                  : gguf;
  if (const std::size_t star = own.find('*'); star != std::string::npos)
    own.replace(star, 1, std::to_string(expert));
  const char* const suffix = kind == Kind::bias ? ".bias" : ".weight";
  if (!in_block()) return str(own, suffix);
  return str(blocks_of(scheme), block, '.', own, suffix);
}

std::span<const WeightSpec> weight_table() { return kTable; }

const WeightSpec& weight_spec(WeightRole role) {
  for (const WeightSpec& spec : kTable)
    if (spec.role == role) return spec;
  fail("a weight's role without a row in the table");
}

std::string embedding_name() { return weight_spec(Role::embedding).name(NameScheme::llada, -1); }

std::vector<ModelWeight> model_weights(const ModelConfig& config) {
  std::vector<ModelWeight> weights;
  const auto add = [&](const WeightSpec& spec, int block, int expert = -1) {
    if (!spec.is_in(config)) return;
    weights.push_back(
        {&spec, block, spec.name(NameScheme::llada, block, expert), spec.shape(config), expert});
  };
  const auto add_block = [&](const WeightSpec* first, const WeightSpec* last, int block) {
    while (first != last) {
      const WeightSpec* const rest = std::find_if(
          first, last, [&](const auto& s) { return s.of_expert() != first->of_expert(); });
      const int experts = first->of_expert() ? int(config.num_experts) : 1;
      for (int e = 0; e < experts; ++e)
        for (const WeightSpec* s = first; s != rest; ++s) add(*s, block, s->of_expert() ? e : -1);
      first = rest;
    }
  };
  const WeightSpec *spec = kTable.begin(), *const end = kTable.end();
  for (; !spec->in_block(); ++spec) add(*spec, -1);
  const WeightSpec* const block = spec;
  while (spec->in_block()) ++spec;
  for (int l = 0; l < config.num_layers; ++l) add_block(block, spec, l);
  for (; spec != end; ++spec) add(*spec, -1);
  return weights;
}

std::int64_t count_parameters(const ModelConfig& config) {
  std::int64_t n = 0;
  for (const ModelWeight& w : model_weights(config)) n += w.shape.count();
  return n;
}

std::span<const AdapterSpec> adapter_table() {
  static std::deque<std::string> names;
  static const std::vector<AdapterSpec> table = adapters_of_table(names);
  return table;
}

const AdapterSpec& adapter_of(const WeightSpec& factor) {
  for (const AdapterSpec& adapter : adapter_table())
    if (&adapter.a == &factor || &adapter.b == &factor) return adapter;
  fail(str(factor.llada, " is no factor of an adapter"));
}

std::vector<ModelWeight> adapter_weights(const ModelConfig& config, const LoraConfig& lora) {
  std::vector<const AdapterSpec*> chosen;
  for (const AdapterSpec& adapter : adapter_table()) {
    const auto& targets = lora.targets;
    if (adapter.target->is_in(config) &&
        std::find(targets.begin(), targets.end(), adapter.target->llada) != targets.end())
      chosen.push_back(&adapter);
  }
  std::vector<ModelWeight> weights;
  for (int l = 0; l < config.num_layers; ++l)
    for (auto first = chosen.begin(), end = first; first != chosen.end(); first = end) {
      end = std::find_if(first, chosen.end(), [&](const AdapterSpec* other) {
        return std::string_view(other->target->packed) != (*first)->target->packed;
      });
      const auto add = [&](const WeightSpec& spec, Shape shape) {
        weights.push_back({&spec, l, spec.name(NameScheme::llada, l), shape});
      };
      for (auto x = first; x != end; ++x) add((*x)->a, {lora.rank, (*x)->target->shape(config)[1]});
      for (auto x = first; x != end; ++x) add((*x)->b, {(*x)->target->shape(config)[0], lora.rank});
    }
  return weights;
}

}  // namespace lacuna
