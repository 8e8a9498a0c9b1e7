#include "training/optimizer_shard.h"

#include <algorithm>
#include <iterator>

namespace lacuna {
namespace {

std::int64_t flat_index_of(const ModelTensors& model, const WeightPiece& piece) {
  return model.named()[piece.weight].flat + piece.first;
}

}  // namespace

std::vector<ElementNumbers> numbers_of(const ModelTensors& weights,
                                       const std::vector<WeightPiece>& pieces) {
  std::vector<std::uint64_t> begins = {0};  // of each whole weight
  for (const NamedWeight& w : weights.named())
    begins.push_back(begins.back() + std::uint64_t(w.whole.count()));
  std::vector<ElementNumbers> numbers;
  for (const WeightPiece& piece : pieces) {
    const NamedWeight& w = weights.named()[piece.weight];
    const std::int64_t stride = w.whole[w.whole.rank - 1];
    numbers.push_back({.begin = begins[piece.weight] + std::uint64_t(w.row * stride + w.col),
                       .first = piece.first,
                       .width = w.tensor.cols(),
                       .stride = stride});
  }
  return numbers;
}

Plan OptimizerShard::plan(const std::vector<FlatRange>& owned, const std::string& kind,
                          DType dtype) {
  std::int64_t elements = 0;
  for (const FlatRange& range : owned) elements += range.size;
  Plan plan;
  plan.add(kind + "/owned", {elements}, dtype);
  return plan;
}

OptimizerShard::OptimizerShard(const ModelTensors& tensors, const std::vector<FlatRange>& owned)
    : owned_(owned), storage_(tensors.flat()), pieces_(lacuna::pieces_within(tensors, owned)) {
  for (const FlatRange& range : owned) begins_.push_back(range.begin);
  for (const WeightPiece& piece : pieces_) flat_index_.push_back(flat_index_of(tensors, piece));
}

OptimizerShard::OptimizerShard(Memory& memory, const ModelTensors& model,
                               const std::vector<FlatRange>& owned, const std::string& kind,
                               DType dtype)
    : arena_(std::make_shared<Arena>(memory, plan(owned, kind, dtype))),
      owned_(owned),
      storage_((*arena_)[Slot{0}]) {
  std::int64_t before = 0;
  for (const FlatRange& range : owned) {
    begins_.push_back(before);
    for (WeightPiece piece : lacuna::pieces_within(model, {range})) {
      const std::int64_t at = flat_index_of(model, piece);
      piece.values = storage_.row_range(before + at - range.begin, piece.values.count());
      pieces_.push_back(piece);
      flat_index_.push_back(at);
    }
    before += range.size;
  }
}

Tensor OptimizerShard::elements(const FlatRange& range) const {
  const auto after =
      std::upper_bound(owned_.begin(), owned_.end(), range.begin,
                       [](std::int64_t at, const FlatRange& owned) { return at < owned.begin; });
  CHECK(after != owned_.begin() && range.end() <= std::prev(after)->end(), "elements [",
        range.begin, ", ", range.end(), ") are not this rank's");
  const auto i = std::size_t(std::prev(after) - owned_.begin());
  return storage_.row_range(begins_[i] + range.begin - owned_[i].begin, range.size);
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
  return storage_;
}

}  // namespace lacuna
