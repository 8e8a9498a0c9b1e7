#pragma once
#include <cstdint>
#include <list>
#include <optional>
#include <span>
#include <vector>

#include "decoding/cache_slabs.h"

namespace lacuna {

/// Which keys and values of texts that are done are kept for texts that begin with the same tokens,
/// and where: in rows of the KV cache of their own. Of models whose rows do not see what follows
/// them (causal and block-causal attention), so that what is kept is exact. Where there is no room,
/// the least recently used text is evicted.
class PrefixCache {
 public:
  /// In the rows [first, first + rows) of the cache.
  PrefixCache(std::int64_t first, std::int64_t rows);

  struct Found {
    std::int64_t count = 0;  // of the tokens, from the first on
    std::int64_t row = 0;    // where the first of them is kept
  };
  /// The longest beginning of `tokens` that is kept.
  Found find(std::span<const std::int32_t> tokens);
  /// Where to put the rows of `tokens`, from the first on; nothing where they are kept already. Of
  /// a longer text than there are rows, its beginning.
  std::optional<CacheRows> add(std::span<const std::int32_t> tokens);

 private:
  struct Kept {
    std::vector<std::int32_t> tokens;
    CacheRows rows;  // of slabs_
  };
  void drop(std::list<Kept>::iterator text);

  const std::int64_t first_, rows_;
  CacheSlabs slabs_;
  std::list<Kept> texts_;  // the last used first
};

}  // namespace lacuna
