#include "model/weights.h"

#include <algorithm>
#include <numeric>

#include "model/weight_layout.h"

namespace lacuna {
namespace {

// Tensors begin at multiples of this, so that their parts in flat() do not depend on the dtype: 64
// bytes of the narrowest float.
constexpr std::int64_t kAlignedElements = 32;

/// The tensor that the forward pass knows a weight by.
Tensor& tensor_of(ModelTensors& t, const ModelWeight& w) {
  const auto block = [&]() -> BlockTensors& { return t.blocks[std::size_t(w.block)]; };
  switch (w.spec->role) {
    case WeightRole::embedding:
      return t.embedding;
    case WeightRole::attention_norm:
      return block().attention_norm;
    case WeightRole::query:
    case WeightRole::key:
    case WeightRole::value:
      return block().qkv;
    case WeightRole::query_bias:
    case WeightRole::key_bias:
    case WeightRole::value_bias:
      return block().qkv_bias;
    case WeightRole::query_norm:
      return block().query_norm;
    case WeightRole::key_norm:
      return block().key_norm;
    case WeightRole::attention_out:
      return block().attention_out;
    case WeightRole::ffn_norm:
      return block().ffn_norm;
    case WeightRole::gate:
    case WeightRole::up:
      return block().gate_up;
    case WeightRole::ffn_out:
      return block().ffn_out;
    case WeightRole::router:
    case WeightRole::expert_gate:
    case WeightRole::expert_up:
    case WeightRole::expert_out:
      break;
    case WeightRole::final_norm:
      return t.final_norm;
    case WeightRole::head:
      return t.head;
  }
  fail("a weight that is no tensor of the model");
}

}  // namespace

void check_trainable(const ModelConfig& config) {
  if (config.has_experts())
    fail_usage(str("model.num_experts = ", config.num_experts,
                   ": training and LoRA of a mixture of experts are not supported; such a model is "
                   "for inference"));
}

ModelTensors::ModelTensors(Memory& memory, const ModelConfig& config, const std::string& kind,
                           DType dtype, TensorParallelShard share, std::int64_t multiple)
    : blocks(std::size_t(std::max<std::int64_t>(0, config.num_layers))),
      share_(share),
      arena_(memory, plan(config, kind, dtype, share, multiple)) {
  const WeightLayout layout(config, share);
  int slot = 0;  // one for each packed tensor
  for (const WeightLayout::Pack& pack : layout.packs) {
    const Tensor packed = arena_[Slot{slot++}];
    for (std::size_t i = pack.first; i < pack.end; ++i) {
      const ModelWeight& w = layout.weights[i];
      const WeightLayout::Part& part = layout.parts[i];
      tensor_of(*this, w) = packed;
      const Tensor own = packed.row_range(part.packed_row, part.shape[0]);
      named_.push_back({w.spec, w.name, w.block, w.shape, own, part.row, part.col});
    }
  }
  if (config.tie_embeddings) head = embedding;
}

ModelTensors::operator ModelWeights() const {
  ModelWeights w{embedding, {}, final_norm, head, embedding.dtype, share_};
  for (const BlockTensors& b : blocks)
    w.blocks.push_back({.attention_norm = b.attention_norm,
                        .qkv = {{b.qkv}},
                        .qkv_bias = b.qkv_bias,
                        .query_norm = b.query_norm,
                        .key_norm = b.key_norm,
                        .attention_out = b.attention_out,
                        .ffn_norm = b.ffn_norm,
                        .gate_up = {{b.gate_up}},
                        .ffn_out = b.ffn_out,
                        .router = {},
                        .experts = {}});
  return w;
}

Plan ModelTensors::plan(const ModelConfig& config, const std::string& kind, DType dtype,
                        TensorParallelShard share, std::int64_t multiple) {
  check_trainable(config);
  Plan plan;
  for (const WeightLayout::Pack& pack : WeightLayout(config, share).packs) {
    plan.align(kAlignedElements * size_of(dtype));
    plan.add(str(kind, "/", pack.name), pack.shape, dtype);
  }
  plan.align(std::lcm(kAlignedElements, multiple) * size_of(dtype));
  return plan;
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
