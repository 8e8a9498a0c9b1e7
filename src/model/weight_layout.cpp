#include "model/weight_layout.h"

#include <algorithm>
#include <string_view>

#include "core/check.h"

namespace lacuna {
namespace {

bool packed_together(const ModelWeight& a, const ModelWeight& b) {
  return a.block == b.block && a.expert == b.expert &&
         std::string_view(a.spec->packed) == b.spec->packed;
}

WeightLayout::Part part_of(const ModelWeight& w, const ShardDims& own, TensorParallelShard share) {
  WeightLayout::Part part{w.shape};
  std::int64_t& rows = part.shape.extent[0];
  const bool vector = w.shape.rank == 1;
  switch (w.spec->axis) {
    case ParallelAxis::none:
      break;
    case ParallelAxis::rows:
      (vector ? part.col : part.row) = (rows /= share.count) * share.index;
      break;
    case ParallelAxis::columns:
      part.col = (part.shape.extent[1] /= share.count) * share.index;
      break;
    case ParallelAxis::ids:
      rows = own.ids;
      part.row = own.first_id;
  }
  return part;
}

}  // namespace

WeightLayout::WeightLayout(const ModelConfig& m, TensorParallelShard shard)
    : share(shard), tied_head(m.tie_embeddings) {
  CHECK(m.vocab_size > 0, "model.vocab_size is ", m.vocab_size, "; it must be known by now");
  CHECK(m.num_layers > 0, "model.num_layers is ", m.num_layers, "; there must be a block");
  const ShardDims own(m, share);
  weights = model_weights(m);
  for (const ModelWeight& w : weights) parts.push_back(part_of(w, own, share));
  pack();
}

WeightLayout::WeightLayout(const ModelConfig& m, const LoraConfig& lora, TensorParallelShard shard)
    : share(shard) {
  const WeightLayout model(m, share);
  const ShardDims own(m, share);
  weights = adapter_weights(m, lora);
  CHECK(!weights.empty(), "lora.targets names no matrix of the model");
  for (const ModelWeight& w : weights) {
    Part& part = parts.emplace_back(part_of(w, own, share));
    if (w.spec->role != WeightRole::lora_b) continue;
    const WeightSpec* const target = adapter_of(*w.spec).target;
    const auto adapted = std::find_if(
        model.weights.begin(), model.weights.end(),
        [&](const ModelWeight& other) { return other.spec == target && other.block == w.block; });
    part.target_row = model.parts[std::size_t(adapted - model.weights.begin())].packed_row;
  }
  pack();
}

void WeightLayout::pack() {
  for (std::size_t first = 0, end = 0; first < weights.size(); first = end) {
    Shape shape = parts[first].shape;
    shape.extent[0] = 0;
    for (; end < weights.size() && packed_together(weights[first], weights[end]); ++end) {
      parts[end].packed_row = shape[0];
      shape.extent[0] += parts[end].shape[0];
    }
    const ModelWeight& w = weights[first];
    const std::string block = w.block < 0 ? "" : str("blocks.", w.block, "."),
                      expert = w.expert < 0 ? "" : str("experts.", w.expert, ".");
    packs.push_back({first, end, block + expert + w.spec->packed, shape});
  }
}

}  // namespace lacuna
