#include "model/weights.h"

#include <algorithm>
#include <numeric>

namespace lacuna {
namespace {

// Tensors begin at multiples of this, so that their places in flat() do not depend on the dtype: 64
// bytes of the narrowest float.
constexpr std::int64_t kAlignedElements = 32;

/// The slots of a ModelTensors, and the plan they are in.
struct Layout {
  struct Block {
    Slot attention_norm, qkv, attention_out, ffn_norm, gate_up, ffn_out;
  };
  Plan plan;
  Slot embedding, final_norm, head;
  std::vector<Block> blocks;

  Layout(const ModelConfig& m, const std::string& kind, DType dtype, ModelShare share,
         std::int64_t multiple) {
    CHECK(m.vocab_size > 0, "model.vocab_size is ", m.vocab_size, "; it must be known by now");
    CHECK(m.num_layers > 0, "model.num_layers is ", m.num_layers, "; there must be a block");
    const ShareExtents own(m, share);
    const std::int64_t c = m.hidden_size, queries = own.heads * own.head_dim,
                       keys = own.key_heads * own.head_dim;
    const auto add = [&](const std::string& name, Shape shape) {
      plan.align(kAlignedElements * size_of(dtype));
      return plan.add(str(kind, "/", name), shape, dtype);
    };
    embedding = add("embedding", {own.ids, c});
    for (std::int64_t l = 0; l < m.num_layers; ++l) {
      const std::string block = str("blocks.", l, ".");
      blocks.push_back({.attention_norm = add(block + "attention_norm", {c}),
                        .qkv = add(block + "qkv", {queries + 2 * keys, c}),
                        .attention_out = add(block + "attention_out", {c, queries}),
                        .ffn_norm = add(block + "ffn_norm", {c}),
                        .gate_up = add(block + "gate_up", {2 * own.ffn_width, c}),
                        .ffn_out = add(block + "ffn_out", {c, own.ffn_width})});
    }
    final_norm = add("final_norm", {c});
    head = m.tie_embeddings ? embedding : add("head", {own.ids, c});
    plan.align(std::lcm(kAlignedElements, multiple) * size_of(dtype));
  }
};

/// The parts of the packed tensors under the names that Hugging Face's LLaDA gives them.
std::vector<NamedWeight> list(const ModelTensors& t, const ModelConfig& m, ModelShare share) {
  const ShareExtents own(m, share);
  const std::int64_t queries = own.heads * own.head_dim, keys = own.key_heads * own.head_dim,
                     ffn = own.ffn_width;
  std::vector<NamedWeight> named;
  int l = -1;
  const auto add = [&](const std::string& name, const Tensor& tensor, WeightKind kind, Shape whole,
                       std::int64_t row = 0, std::int64_t col = 0) {
    const std::string block = l < 0 ? "" : str("blocks.", l, ".");
    named.push_back(
        {str("model.transformer.", block, name, ".weight"), tensor, kind, l, whole, row, col});
  };
  const auto norm = [&](const char* name, const Tensor& tensor) {
    add(name, tensor, WeightKind::norm, tensor.shape);
  };
  // Equal parts of the outputs, or of the inputs.
  const auto by_rows = [&](const char* name, const Tensor& tensor) {
    add(name, tensor, WeightKind::matrix, {tensor.rows() * share.count, tensor.cols()},
        tensor.rows() * share.index);
  };
  const auto by_columns = [&](const char* name, const Tensor& tensor) {
    add(name, tensor, WeightKind::matrix, {tensor.rows(), tensor.cols() * share.count}, 0,
        tensor.cols() * share.index);
  };
  const auto by_ids = [&](const char* name, const Tensor& tensor, WeightKind kind) {
    add(name, tensor, kind, {m.vocab_size, m.hidden_size}, own.first_id);
  };
  by_ids("wte", t.embedding, WeightKind::embedding);
  for (const BlockTensors& b : t.blocks) {
    ++l;
    norm("attn_norm", b.attention_norm);
    by_rows("q_proj", b.qkv.row_range(0, queries));
    by_rows("k_proj", b.qkv.row_range(queries, keys));
    by_rows("v_proj", b.qkv.row_range(queries + keys, keys));
    by_columns("attn_out", b.attention_out);
    norm("ff_norm", b.ffn_norm);
    by_rows("ff_proj", b.gate_up.row_range(0, ffn));
    by_rows("up_proj", b.gate_up.row_range(ffn, ffn));
    by_columns("ff_out", b.ffn_out);
  }
  l = -1;
  norm("ln_f", t.final_norm);
  if (!m.tie_embeddings) by_ids("ff_out", t.head, WeightKind::matrix);
  return named;
}

}  // namespace

ModelTensors::ModelTensors(Memory& memory, const ModelConfig& config, const std::string& kind,
                           DType dtype, ModelShare share, std::int64_t multiple)
    : share_(share), arena_(memory, plan(config, kind, dtype, share, multiple)) {
  const Layout layout(config, kind, dtype, share, multiple);
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
  named_ = list(*this, config, share);
}

Plan ModelTensors::plan(const ModelConfig& config, const std::string& kind, DType dtype,
                        ModelShare share, std::int64_t multiple) {
  return Layout(config, kind, dtype, share, multiple).plan;
}

Tensor ModelTensors::flat() const {
  // The embedding comes first in the plan.
  const std::int64_t elements = arena_.plan().bytes() / size_of(embedding.dtype);
  return Tensor(embedding.data, {elements}, embedding.dtype, embedding.place);
}

std::int64_t ModelTensors::flat_index(const Tensor& tensor) const {
  return (static_cast<const char*>(tensor.data) - static_cast<const char*>(embedding.data)) /
         size_of(embedding.dtype);
}

std::int64_t ModelTensors::parameters() const {
  std::int64_t n = 0;
  for (const NamedWeight& w : named_) n += w.whole.count();
  return n;
}

std::vector<WeightPiece> pieces_within(const ModelTensors& tensors,
                                       const std::vector<FlatRange>& ranges) {
  std::vector<WeightPiece> pieces;
  for (const FlatRange& range : ranges)
    for (std::size_t i = 0; i < tensors.named().size(); ++i) {
      const Tensor& t = tensors.named()[i].tensor;
      const std::int64_t at = tensors.flat_index(t), begin = std::max(at, range.begin),
                         end = std::min(at + t.count(), range.end());
      if (begin < end)
        pieces.push_back(
            {i, begin - at, t.reshaped({t.count()}).row_range(begin - at, end - begin)});
    }
  return pieces;
}

}  // namespace lacuna
