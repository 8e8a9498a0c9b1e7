#pragma once
#include <algorithm>
#include <cstdint>

namespace lacuna {

/// `count` elements cut into one part per rank, all but the last ones of equal length and on cache
/// lines.
struct Parts {
  std::int64_t count, length;
  Parts(std::int64_t n, int ranks) : count(n), length((n + ranks - 1) / ranks) {
    length = (length + 63) / 64 * 64;
  }
  /// All of `part` elements.
  static Parts equal(std::int64_t part, int ranks) {
    Parts parts(part * ranks, ranks);
    parts.length = part;
    return parts;
  }
  std::int64_t begin(int rank) const { return std::min(count, rank * length); }
  std::int64_t size(int rank) const { return std::min(count, begin(rank) + length) - begin(rank); }
};

}  // namespace lacuna
