#pragma once
#include <cstdint>
#include <vector>

#include "model/weights.h"

namespace lacuna {

/// ModelTensors::flat() of a model that n data parallel ranks have copies of, cut into buckets, and
/// each bucket into one equal part per rank. A bucket lies within one of the ranges that are cut:
/// units of ModelTensors, or all of flat(). Buckets are numbered from the end: in the order in
/// which a backward pass completes gradients.
///
/// A rank's parts are what it alone updates when optimizer states are sharded, what it counts in
/// the gradient norm, and what it writes to a checkpoint.
class Buckets {
 public:
  /// Consecutive ranges whose sizes are multiples of multiple(ranks). Buckets have about
  /// `bucket_elements`.
  Buckets(const std::vector<FlatRange>& cut, int ranks, std::int64_t bucket_elements);
  Buckets(std::int64_t elements, int ranks, std::int64_t bucket_elements)
      : Buckets({{0, elements}}, ranks, bucket_elements) {}

  /// What flat() must be a multiple of: parts are whole lines of 64 bytes of any float type.
  static std::int64_t multiple(int ranks) { return 32 * std::int64_t{ranks}; }

  const std::vector<FlatRange>& ranges() const { return ranges_; }
  /// Rank `rank`'s part of a bucket.
  FlatRange part(const FlatRange& bucket, int rank) const;
  /// Its parts of all buckets, from the beginning of flat().
  std::vector<FlatRange> parts(int rank) const;

 private:
  int ranks_;
  std::vector<FlatRange> ranges_;
};

}  // namespace lacuna
