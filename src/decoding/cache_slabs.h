#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include "model/sequences.h"

namespace lacuna {

/// Divides the rows of a KV cache among texts: each gets one slab, contiguous.
class CacheSlabs {
 public:
  explicit CacheSlabs(std::int64_t rows) : rows_(rows) {}
  /// The first gap of so many rows; nothing where there is none.
  std::optional<CacheRows> take(std::int64_t rows);
  void give_back(const CacheRows& slab);

 private:
  const std::int64_t rows_;
  std::vector<CacheRows> taken_;  // ascending
};

}  // namespace lacuna
