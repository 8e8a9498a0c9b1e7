#include "decoding/cache_slabs.h"

#include <algorithm>

namespace lacuna {

std::optional<CacheRows> CacheSlabs::take(std::int64_t rows) {
  std::int64_t free = 0;
  auto next = taken_.begin();
  while (next != taken_.end() && next->begin - free < rows) free = (next++)->end;
  if (free + rows > rows_) return std::nullopt;
  return *taken_.insert(next, {std::int32_t(free), std::int32_t(free + rows)});
}

void CacheSlabs::give_back(const CacheRows& slab) {
  taken_.erase(std::find(taken_.begin(), taken_.end(), slab));
}

}  // namespace lacuna
