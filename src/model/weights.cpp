#include "model/weights.h"

#include <algorithm>
#include <numeric>
#include <string_view>

namespace lacuna {
namespace {

// Tensors begin at multiples of this, so that their parts in flat() do not depend on the dtype: 64
// bytes of the narrowest float.
constexpr std::int64_t kAlignedElements = 32;

/// Where each weight of the table lies.
struct Layout {
  struct Part {
    Slot slot;            // of the packed tensor
    std::int64_t row;     // of that, at which it begins
    Shape shape;          // what this rank holds of it
    std::int64_t at = 0;  // its first row or column in the whole
  };
  Plan plan;
  std::vector<ModelWeight> weights;
  std::vector<Part> parts;

  Layout(const ModelConfig& m, const std::string& kind, DType dtype, TensorParallelShard share,
         std::int64_t multiple) {
    CHECK(m.vocab_size > 0, "model.vocab_size is ", m.vocab_size, "; it must be known by now");
    CHECK(m.num_layers > 0, "model.num_layers is ", m.num_layers, "; there must be a block");
    const ShardDims own(m, share);
    weights = model_weights(m);
    for (const ModelWeight& w : weights) parts.push_back(part_of(w, own, share));
    for (std::size_t first = 0, end = 0; first < weights.size(); first = end) {
      Shape packed = parts[first].shape;
      packed.extent[0] = 0;
      for (; end < weights.size() && packed_together(weights[first], weights[end]); ++end) {
        parts[end].row = packed[0];
        packed.extent[0] += parts[end].shape[0];
      }
      plan.align(kAlignedElements * size_of(dtype));
      const std::string block =
          weights[first].block < 0 ? "" : str("blocks.", weights[first].block, ".");
      const Slot slot = plan.add(str(kind, "/", block, weights[first].spec->packed), packed, dtype);
      for (std::size_t i = first; i < end; ++i) parts[i].slot = slot;
    }
    plan.align(std::lcm(kAlignedElements, multiple) * size_of(dtype));
  }

  static bool packed_together(const ModelWeight& a, const ModelWeight& b) {
    return a.block == b.block && std::string_view(a.spec->packed) == b.spec->packed;
  }

  static Part part_of(const ModelWeight& w, const ShardDims& own, TensorParallelShard share) {
    Part part{{}, 0, w.shape};
    std::int64_t& rows = part.shape.extent[0];
    switch (w.spec->axis) {
      case ParallelAxis::none:
        break;
      case ParallelAxis::rows:
        part.at = (rows /= share.count) * share.index;
        break;
      case ParallelAxis::columns:
        part.at = (part.shape.extent[1] /= share.count) * share.index;
        break;
      case ParallelAxis::ids:
        rows = own.ids;
        part.at = own.first_id;
    }
    return part;
  }
};

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
    case WeightRole::attention_out:
      return block().attention_out;
    case WeightRole::ffn_norm:
      return block().ffn_norm;
    case WeightRole::gate:
    case WeightRole::up:
      return block().gate_up;
    case WeightRole::ffn_out:
      return block().ffn_out;
    case WeightRole::final_norm:
      return t.final_norm;
    case WeightRole::head:
      return t.head;
  }
  fail("a weight that is no tensor of the model");
}

}  // namespace

ModelTensors::ModelTensors(Memory& memory, const ModelConfig& config, const std::string& kind,
                           DType dtype, TensorParallelShard share, std::int64_t multiple)
    : blocks(std::size_t(std::max<std::int64_t>(0, config.num_layers))),
      share_(share),
      arena_(memory, plan(config, kind, dtype, share, multiple)) {
  const Layout layout(config, kind, dtype, share, multiple);
  for (std::size_t i = 0; i < layout.weights.size(); ++i) {
    const ModelWeight& w = layout.weights[i];
    const Layout::Part& part = layout.parts[i];
    const Tensor packed = tensor_of(*this, w) = arena_[part.slot];
    const bool columns = w.spec->axis == ParallelAxis::columns;
    const Tensor own = w.shape.rank == 1 ? packed : packed.row_range(part.row, part.shape[0]);
    named_.push_back(
        {w.spec, w.name, w.block, w.shape, own, columns ? 0 : part.at, columns ? part.at : 0});
  }
  if (config.tie_embeddings) head = embedding;
}

ModelTensors::operator ModelWeights() const {
  ModelWeights w{embedding, {}, final_norm, head, embedding.dtype, share_};
  for (const BlockTensors& b : blocks)
    w.blocks.push_back(
        {b.attention_norm, {{b.qkv}}, b.attention_out, b.ffn_norm, {{b.gate_up}}, b.ffn_out});
  return w;
}

Plan ModelTensors::plan(const ModelConfig& config, const std::string& kind, DType dtype,
                        TensorParallelShard share, std::int64_t multiple) {
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
