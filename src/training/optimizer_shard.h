#pragma once
#include <memory>
#include <string>
#include <vector>

#include "core/arena.h"
#include "kernels/stochastic_rounding.h"
#include "model/weights.h"

namespace lacuna {

/// The numbers of pieces' elements among those of all weights, whole, in their order.
std::vector<ElementNumbers> numbers_of(const ModelTensors& weights,
                                       const std::vector<WeightPiece>& pieces);

/// A number for each weight that this rank updates: its moments, master weight, gradient. When they
/// are sharded that is its parts of the buckets, else every weight it holds. Copies share the
/// memory.
class OptimizerShard {
 public:
  /// Zeroed memory for ranges of a model's flat(). `kind` as in ModelTensors.
  OptimizerShard(Memory& memory, const ModelTensors& model, const std::vector<FlatRange>& owned,
                 const std::string& kind, DType dtype = DType::f32);
  /// Those elements of `tensors` themselves.
  OptimizerShard(const ModelTensors& tensors, const std::vector<FlatRange>& owned);
  /// All of them.
  OptimizerShard(const ModelTensors& tensors)  // NOLINT(google-explicit-constructor)
      : OptimizerShard(tensors, {{0, tensors.flat().count()}}) {}
  static Plan plan(const std::vector<FlatRange>& owned, const std::string& kind,
                   DType dtype = DType::f32);

  DType dtype() const { return storage_.dtype; }
  /// The ranges of the model's flat() that it has.
  const std::vector<FlatRange>& owned() const { return owned_; }
  /// In the order of flat(), the same for all tensors of the same ranges.
  const std::vector<WeightPiece>& pieces() const { return pieces_; }
  /// Where a piece lies in the model's flat().
  FlatRange place(std::size_t piece) const {
    return {flat_index_[piece], pieces_[piece].values.count()};
  }
  /// What of them lies in ranges of the model's flat().
  std::vector<WeightPiece> pieces_within(const std::vector<FlatRange>& ranges) const;
  /// A range of the model's flat(), all of it in one range that is owned, as a vector.
  Tensor elements(const FlatRange& range) const;
  /// All elements one behind the other, with zeros where alignment left gaps. Not of the elements
  /// of other tensors.
  Tensor flat() const;

 private:
  std::shared_ptr<Arena> arena_;
  std::vector<FlatRange> owned_;
  std::vector<std::int64_t> begins_;  // of each owned range, in storage_
  Tensor storage_;
  std::vector<WeightPiece> pieces_;
  std::vector<std::int64_t> flat_index_;  // of each piece, in the model's flat()
};

}  // namespace lacuna
