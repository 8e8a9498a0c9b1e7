#pragma once
#include <cstdint>
#include <numeric>
#include <vector>

#include "core/philox.h"
#include "kernels/key_intervals.h"

// Attention masks of the tests, for every backend.

namespace lacuna::testing {

enum class Mask : std::uint8_t { bidirectional, causal };

/// One sequence: how many keys it has, and the position among them of each query row.
struct Segment {
  std::int64_t keys;
  std::vector<std::int32_t> queries;
  bool diverged = false;  // its q and k are NaN, its v and dout infinite
};
/// All positions of `keys` keys are queries.
inline Segment whole_segment(std::int64_t keys) {
  Segment s{keys, std::vector<std::int32_t>(std::size_t(keys)), false};
  std::iota(s.queries.begin(), s.queries.end(), 0);
  return s;
}

/// What AttentionShape's tensors hold.
struct AttentionRows {
  std::vector<std::int32_t> query_offsets{0}, key_offsets{0};
  std::vector<KeyIntervals> query_keys;
  std::vector<bool> diverged;  // of each sequence

  std::int64_t queries() const { return query_offsets.back(); }
  std::int64_t keys() const { return key_offsets.back(); }
  /// Adds a sequence whose queries see `intervals`, counted from its first key.
  void add(std::int64_t key_count, const std::vector<KeyIntervals>& intervals,
           bool has_diverged = false) {
    const std::int32_t first = key_offsets.back();
    for (const KeyIntervals& k : intervals)
      query_keys.push_back({first + k.begin0, first + k.end0, first + k.begin1, first + k.end1});
    query_offsets.push_back(std::int32_t(query_keys.size()));
    key_offsets.push_back(first + std::int32_t(key_count));
    diverged.push_back(has_diverged);
  }
  /// visit(key) for every key row that query row `query` sees, in ascending order.
  template <class F>
  void for_keys_of(std::int64_t query, F&& visit) const {
    const KeyIntervals& k = query_keys[std::size_t(query)];
    for (std::int64_t key = k.begin0; key < k.end0; ++key) visit(key);
    for (std::int64_t key = k.begin1; key < k.end1; ++key) visit(key);
  }
};

inline AttentionRows masked_rows(Mask mask, const std::vector<Segment>& segments) {
  AttentionRows rows;
  for (const Segment& s : segments) {
    std::vector<KeyIntervals> intervals;
    for (const std::int32_t position : s.queries)
      intervals.push_back(mask == Mask::causal ? causal_keys(0, position)
                                               : bidirectional_keys(0, s.keys));
    rows.add(s.keys, intervals, s.diverged);
  }
  return rows;
}

/// Any two intervals, the second one empty for a quarter of the queries; a quarter of the sequences
/// has intervals of a few keys only, far apart, so that whole tiles are seen by nobody.
inline AttentionRows random_rows(std::uint64_t seed, const std::vector<Segment>& segments) {
  AttentionRows rows;
  const CounterRng rng{seed, Purpose::benchmark, 7};
  std::uint32_t at = 0;
  const auto below = [&](std::int64_t n) {
    return std::int32_t(rng.below(std::uint64_t(n), at++));
  };
  for (const Segment& s : segments) {
    std::vector<KeyIntervals> intervals;
    const bool narrow = below(4) == 0;
    for (std::size_t i = 0; i < s.queries.size(); ++i) {
      const auto keys = std::int32_t(s.keys);
      KeyIntervals k{};
      k.begin0 = below(keys);
      k.end0 = k.begin0 + 1 + below(narrow ? std::min(4, keys - k.begin0) : keys - k.begin0);
      k.begin1 = k.end0 + below(keys - k.end0 + 1);
      k.end1 = below(4) == 0 ? k.begin1 : k.begin1 + below(keys - k.begin1 + 1);
      intervals.push_back(k);
    }
    rows.add(s.keys, intervals);
  }
  return rows;
}

/// Block diffusion's training rows (arXiv:2503.09573, section 3.2): `length` noisy rows, then as
/// many clean ones. Noisy rows see their own noisy block and the clean blocks before it; clean rows
/// the clean blocks up to their own.
inline void add_block_diffusion(AttentionRows& rows, std::int32_t length, std::int32_t block) {
  std::vector<KeyIntervals> intervals;
  for (std::int32_t i = 0; i < length; ++i) {
    const std::int32_t begin = i / block * block, end = std::min(begin + block, length);
    intervals.push_back({begin, end, length, length + begin});
  }
  for (std::int32_t i = 0; i < length; ++i)
    intervals.push_back(key_interval(length, length + std::min((i / block + 1) * block, length)));
  rows.add(2 * length, intervals);
}

}  // namespace lacuna::testing
