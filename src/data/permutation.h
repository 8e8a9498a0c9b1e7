#pragma once
#include <cstdint>

#include "core/philox.h"

namespace lacuna {

/// A pseudo-random permutation of [0, n) that can be asked for any position on its own: nothing is
/// shuffled, stored or replayed, so resuming an epoch needs only the position. A Feistel network
/// over the smallest even number of bits that holds n; values that fall outside [0, n) are sent
/// through again until one falls inside (cycle walking; fewer than four times on average).
class Permutation {
 public:
  /// `rng` is the key; its blocks [0, 2^31) are used. Throws Error unless 1 <= n <= 2^56.
  Permutation(std::int64_t n, CounterRng rng);
  /// Where `i`, in [0, n), goes.
  std::int64_t operator()(std::int64_t i) const;

 private:
  std::uint64_t n_;
  CounterRng rng_;
  int half_bits_ = 1;
};

/// Which of n items sample `index` of a run is: each epoch deals every item once, in an order that
/// depends on the seed and the epoch alone.
std::int64_t permuted_sample(std::int64_t index, std::int64_t n, std::uint64_t seed);

}  // namespace lacuna
