#pragma once
#include <algorithm>
#include <cstdint>

namespace lacuna {

/// The key rows that a query row sees: [begin0, end0) and [begin1, end1). One row of
/// AttentionShape::query_keys. Ascending and disjoint, begin0 < end0 <= begin1 <= end1; the second
/// interval is empty (begin1 == end1) where one says it all.
struct KeyIntervals {
  std::int32_t begin0, end0, begin1, end1;
  bool operator==(const KeyIntervals&) const = default;
};
static_assert(sizeof(KeyIntervals) == 4 * sizeof(std::int32_t));

/// One interval.
constexpr KeyIntervals key_interval(std::int64_t begin, std::int64_t end) {
  const auto last = static_cast<std::int32_t>(end);
  return {static_cast<std::int32_t>(begin), last, last, last};
}

/// What the query at `position` of a sequence sees, whose keys are the rows [begin, end), one per
/// position.
constexpr KeyIntervals bidirectional_keys(std::int64_t begin, std::int64_t end) {
  return key_interval(begin, end);
}
constexpr KeyIntervals causal_keys(std::int64_t begin, std::int64_t position) {
  return key_interval(begin, begin + position + 1);
}
/// Positions are divided into blocks of `block` from position 0: its own block and earlier ones.
constexpr KeyIntervals block_causal_keys(std::int64_t begin, std::int64_t end,
                                         std::int64_t position, std::int64_t block) {
  return key_interval(begin, std::min(end, begin + (position / block + 1) * block));
}

}  // namespace lacuna
