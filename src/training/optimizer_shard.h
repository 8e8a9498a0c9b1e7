#pragma once
#include <memory>
#include <string>
#include <vector>

#include "core/arena.h"
#include "model/weights.h"

namespace lacuna {

/// One f32 number for each weight that this rank updates: moments, master weights. When optimizer
/// states are sharded that is its parts of the buckets, else every weight it holds.
class OptimizerShard {
 public:
  /// Zeroed memory for ranges of a model's flat(). `kind` as in ModelTensors.
  OptimizerShard(Memory& memory, const ModelTensors& model, const std::vector<FlatRange>& owned,
                 const std::string& kind);
  /// Those elements of `tensors` themselves.
  OptimizerShard(const ModelTensors& tensors, const std::vector<FlatRange>& owned);
  static Plan plan(const std::vector<FlatRange>& owned, const std::string& kind);

  /// In the order of flat(), the same for all tensors of the same ranges.
  const std::vector<WeightPiece>& pieces() const { return pieces_; }
  /// What of them lies in ranges of the model's flat().
  std::vector<WeightPiece> pieces_within(const std::vector<FlatRange>& ranges) const;
  /// All elements one behind the other, with zeros where alignment left gaps. Not of the elements
  /// of other tensors.
  Tensor flat() const;

 private:
  std::unique_ptr<Arena> arena_;
  std::vector<WeightPiece> pieces_;
  std::vector<std::int64_t> flat_index_;  // of each piece, in the model's flat()
};

}  // namespace lacuna
