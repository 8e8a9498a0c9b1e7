#include "training/buckets.h"

#include <algorithm>

namespace lacuna {

Buckets::Buckets(std::int64_t elements, int ranks, std::int64_t bucket_elements) : ranks_(ranks) {
  const std::int64_t unit = multiple(ranks);
  CHECK(ranks >= 1 && elements % unit == 0, elements, " elements cannot be cut into parts for ",
        ranks, " ranks; it must be a multiple of ", unit);
  const std::int64_t step = std::max(unit, bucket_elements / unit * unit);
  for (std::int64_t end = elements; end > 0; end = ranges_.back().begin) {
    const std::int64_t begin = std::max<std::int64_t>(0, end - step);
    ranges_.push_back({begin, end - begin});
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
