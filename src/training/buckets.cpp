#include "training/buckets.h"

#include <algorithm>

namespace lacuna {

Buckets::Buckets(const std::vector<FlatRange>& cut, int ranks, std::int64_t bucket_elements)
    : ranks_(ranks) {
  CHECK(ranks >= 1, "buckets of ", ranks, " ranks");
  const std::int64_t unit = multiple(ranks);
  const std::int64_t step = std::max(unit, bucket_elements / unit * unit);
  for (auto range = cut.rbegin(); range != cut.rend(); ++range) {
    CHECK(range->size % unit == 0, range->size, " elements cannot be cut into parts for ", ranks,
          " ranks; it must be a multiple of ", unit);
    for (std::int64_t end = range->end(); end > range->begin; end = ranges_.back().begin) {
      const std::int64_t begin = std::max(range->begin, end - step);
      ranges_.push_back({begin, end - begin});
    }
  }
}

FlatRange Buckets::part(const FlatRange& bucket, int rank) const {
  const std::int64_t size = bucket.size / ranks_;
  return {bucket.begin + rank * size, size};
}

std::vector<FlatRange> Buckets::parts(int rank) const {
  std::vector<FlatRange> parts;
  for (auto bucket = ranges_.rbegin(); bucket != ranges_.rend(); ++bucket)
    parts.push_back(part(*bucket, rank));
  return parts;
}

}  // namespace lacuna
