#include "data/permutation.h"

#include "core/check.h"

namespace lacuna {
namespace {

constexpr std::uint32_t kRounds = 8;
// A round's number stands above the half-word in the generator's 32-bit position.
constexpr int kMostHalfBits = 28;

}  // namespace

Permutation::Permutation(std::int64_t n, CounterRng rng) : n_(std::uint64_t(n)), rng_(rng) {
  CHECK(n >= 1 && n <= std::int64_t{1} << (2 * kMostHalfBits), "a permutation of ", n, " items");
  while ((std::uint64_t{1} << (2 * half_bits_)) < n_) ++half_bits_;
}

std::int64_t Permutation::operator()(std::int64_t i) const {
  CHECK(i >= 0 && std::uint64_t(i) < n_, "item ", i, " of a permutation of ", n_);
  const std::uint64_t mask = (std::uint64_t{1} << half_bits_) - 1;
  std::uint64_t x = std::uint64_t(i);
  do {
    std::uint64_t left = x >> half_bits_, right = x & mask;
    for (std::uint32_t round = 0; round < kRounds; ++round) {
      const std::uint32_t position = round << kMostHalfBits | std::uint32_t(right);
      const std::uint64_t next = left ^ (rng_.block(position)[0] & mask);
      left = right;
      right = next;
    }
    x = left << half_bits_ | right;
  } while (x >= n_);
  return std::int64_t(x);
}

std::int64_t permuted_sample(std::int64_t index, std::int64_t n, std::uint64_t seed) {
  CHECK(index >= 0, "sample ", index);
  return Permutation(n, {seed, Purpose::data_order, std::uint64_t(index / n)})(index % n);
}

}  // namespace lacuna
