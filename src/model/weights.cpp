#include "model/weights.h"

namespace lacuna {
namespace {

/// The slots of a ModelTensors, and the plan they are in.
struct Layout {
  struct Block {
    Slot attention_norm, qkv, attention_out, ffn_norm, gate_up, ffn_out;
  };
  Plan plan;
  Slot embedding, final_norm, head;
  std::vector<Block> blocks;

  Layout(const ModelConfig& m, const std::string& kind, DType dtype) {
    CHECK(m.vocab_size > 0, "model.vocab_size is ", m.vocab_size, "; it must be known by now");
    CHECK(m.layers > 0, "model.layers is ", m.layers, "; there must be a block");
    const std::int64_t c = m.width, queries = m.heads * m.head_dim(),
                       keys = m.key_heads() * m.head_dim();
    const auto add = [&](const std::string& name, Shape shape) {
      return plan.add(str(kind, "/", name), shape, dtype);
    };
    embedding = add("embedding", {m.vocab_size, c});
    for (std::int64_t l = 0; l < m.layers; ++l) {
      const std::string block = str("blocks.", l, ".");
      blocks.push_back({.attention_norm = add(block + "attention_norm", {c}),
                        .qkv = add(block + "qkv", {queries + 2 * keys, c}),
                        .attention_out = add(block + "attention_out", {c, queries}),
                        .ffn_norm = add(block + "ffn_norm", {c}),
                        .gate_up = add(block + "gate_up", {2 * m.ffn_width, c}),
                        .ffn_out = add(block + "ffn_out", {c, m.ffn_width})});
    }
    final_norm = add("final_norm", {c});
    head = m.tied_embeddings ? embedding : add("head", {m.vocab_size, c});
  }
};

/// The parts of the packed tensors under the names that Hugging Face's LLaDA gives them.
std::vector<NamedWeight> list(const ModelTensors& t, const ModelConfig& m) {
  std::vector<NamedWeight> named;
  const auto add = [&](const std::string& name, const Tensor& tensor, WeightKind kind,
                       int block = -1) {
    named.push_back({str("model.transformer.", name, ".weight"), tensor, kind, block});
  };
  const std::int64_t queries = m.heads * m.head_dim(), keys = m.key_heads() * m.head_dim();
  add("wte", t.embedding, WeightKind::embedding);
  for (int l = 0; l < int(t.blocks.size()); ++l) {
    const BlockTensors& b = t.blocks[std::size_t(l)];
    const std::string block = str("blocks.", l, ".");
    const auto norm = [&](const char* name, const Tensor& tensor) {
      add(block + name, tensor, WeightKind::norm, l);
    };
    const auto matrix = [&](const char* name, const Tensor& tensor) {
      add(block + name, tensor, WeightKind::matrix, l);
    };
    norm("attn_norm", b.attention_norm);
    matrix("q_proj", b.qkv.row_range(0, queries));
    matrix("k_proj", b.qkv.row_range(queries, keys));
    matrix("v_proj", b.qkv.row_range(queries + keys, keys));
    matrix("attn_out", b.attention_out);
    norm("ff_norm", b.ffn_norm);
    matrix("ff_proj", b.gate_up.row_range(0, m.ffn_width));
    matrix("up_proj", b.gate_up.row_range(m.ffn_width, m.ffn_width));
    matrix("ff_out", b.ffn_out);
  }
  add("ln_f", t.final_norm, WeightKind::norm);
  if (!m.tied_embeddings) add("ff_out", t.head, WeightKind::matrix);
  return named;
}

}  // namespace

ModelTensors::ModelTensors(Memory& memory, const ModelConfig& config, const std::string& kind,
                           DType dtype)
    : arena_(memory, Layout(config, kind, dtype).plan) {
  const Layout layout(config, kind, dtype);
  embedding = arena_[layout.embedding];
  for (const Layout::Block& b : layout.blocks)
    blocks.push_back({.attention_norm = arena_[b.attention_norm],
                      .qkv = arena_[b.qkv],
                      .attention_out = arena_[b.attention_out],
                      .ffn_norm = arena_[b.ffn_norm],
                      .gate_up = arena_[b.gate_up],
                      .ffn_out = arena_[b.ffn_out]});
  final_norm = arena_[layout.final_norm];
  head = arena_[layout.head];
  named_ = list(*this, config);
}

Tensor ModelTensors::flat() const {
  // The embedding comes first in the plan.
  const std::int64_t elements = arena_.plan().bytes() / size_of(embedding.dtype);
  return Tensor(embedding.data, {elements}, embedding.dtype, embedding.place);
}

std::int64_t ModelTensors::parameters() const {
  std::int64_t n = 0;
  for (const NamedWeight& w : named_) n += w.tensor.count();
  return n;
}

}  // namespace lacuna
