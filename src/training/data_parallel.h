#pragma once
#include <cstddef>
#include <cstdint>

#include "comm/communicator.h"
#include "model/model.h"
#include "training/buckets.h"

namespace lacuna {

/// Bytes of a bucket of f32 gradients: large enough for bandwidth, small enough that the
/// reduction of the last one, which nothing overlaps, is a small part of a step.
inline constexpr std::int64_t kBucketBytes = std::int64_t{16} << 20;

/// Adds up the gradients of ranks that have copies of the same weights, bucket by bucket while the
/// backward pass goes on. Sharded (ZeRO-1, arXiv:1910.02054, section 5.1), each rank gets the sums
/// of its own parts alone, and after the update the weights of the others' parts.
class DataParallel {
 public:
  /// Borrows the ranks and the buckets.
  DataParallel(Communicator& ranks, const Buckets& buckets, bool sharded)
      : ranks_(ranks), buckets_(buckets), sharded_(sharded && ranks.size() > 1) {}

  bool sharded() const { return sharded_; }

  /// For the backward pass of the last micro-batch: begins to add up the buckets that are complete.
  void gradients_complete(const ModelTensors& gradients, const Tensor& lowest);
  /// Adds up the others, and waits for all.
  void finish(const ModelTensors& gradients);
  /// After an update of sharded states: every rank's parts of the weights, on all ranks.
  void gather(const ModelTensors& weights);

 private:
  void add_up(const ModelTensors& gradients, const FlatRange& bucket);

  Communicator& ranks_;
  const Buckets& buckets_;
  const bool sharded_;
  std::size_t begun_ = 0;  // buckets of this step
};

}  // namespace lacuna
