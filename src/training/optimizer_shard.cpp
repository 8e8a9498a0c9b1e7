#include "training/optimizer_shard.h"

#include <algorithm>

namespace lacuna {
namespace {

std::int64_t flat_index_of(const ModelTensors& model, const WeightPiece& piece) {
  return model.flat_index(model.named()[piece.weight].tensor) + piece.first;
}

}  // namespace

Plan OptimizerShard::plan(const std::vector<FlatRange>& owned, const std::string& kind) {
  std::int64_t elements = 0;
  for (const FlatRange& range : owned) elements += range.size;
  Plan plan;
  plan.add(kind + "/owned", {elements});
  return plan;
}

OptimizerShard::OptimizerShard(const ModelTensors& tensors, const std::vector<FlatRange>& owned)
    : pieces_(lacuna::pieces_within(tensors, owned)) {
  for (const WeightPiece& piece : pieces_) flat_index_.push_back(flat_index_of(tensors, piece));
}

OptimizerShard::OptimizerShard(Memory& memory, const ModelTensors& model,
                               const std::vector<FlatRange>& owned, const std::string& kind)
    : arena_(std::make_unique<Arena>(memory, plan(owned, kind))) {
  std::int64_t before = 0;
  for (const FlatRange& range : owned) {
    for (WeightPiece piece : lacuna::pieces_within(model, {range})) {
      const std::int64_t at = flat_index_of(model, piece);
      piece.values = flat().row_range(before + at - range.begin, piece.values.count());
      pieces_.push_back(piece);
      flat_index_.push_back(at);
    }
    before += range.size;
  }
}

std::vector<WeightPiece> OptimizerShard::pieces_within(const std::vector<FlatRange>& ranges) const {
  std::vector<WeightPiece> within;
  for (const FlatRange& range : ranges)
    for (std::size_t i = 0; i < pieces_.size(); ++i) {
      const WeightPiece& p = pieces_[i];
      const std::int64_t at = flat_index_[i], begin = std::max(at, range.begin),
                         end = std::min(at + p.values.count(), range.end());
      if (begin < end)
        within.push_back(
            {p.weight, p.first + begin - at, p.values.row_range(begin - at, end - begin)});
    }
  return within;
}

Tensor OptimizerShard::flat() const {
  CHECK(arena_, "elements of other tensors are not one vector");
  return (*arena_)[Slot{0}];
}

}  // namespace lacuna
