#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/checks.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/simd.h"
#include "kernels/float_types.h"

// Tiles in the manner of arXiv:2205.14135 and 2307.08691: see attention_tiles.inc. This file cuts
// the work: what one thread computes depends on the shapes and on how many threads there are, never
// on which of them is free.

namespace lacuna {
namespace {

/// The shape's tensors as plain arrays, checked.
struct Segments {
  const std::int32_t* queries;
  const std::int32_t* keys;
  const KeyIntervals* visible;           // of each query
  std::vector<KeyIntervals> hulls;       // of each tile of queries, segment after segment
  std::vector<std::int64_t> first_tile;  // of each segment
  std::int64_t count, heads, kv_heads, dim, group;

  std::int64_t query_count(std::int64_t s) const { return queries[s + 1] - queries[s]; }
  std::int64_t key_count(std::int64_t s) const { return keys[s + 1] - keys[s]; }
  /// Of the tiles from the one that begins with row `query` of segment s.
  const KeyIntervals* hulls_from(std::int64_t s, std::int64_t query) const {
    return hulls.data() + first_tile[std::size_t(s)] + (query - queries[s]) / kAttentionQueryTile;
  }
  float scale() const { return float(1.0 / std::sqrt(double(dim))); }
};

/// Offsets of segments over `rows` rows.
const std::int32_t* check_offsets(const char* op, const char* name, const Tensor& t,
                                  std::int64_t rows) {
  const auto* offsets = t.as<std::int32_t>();
  const std::int64_t segments = t.count() - 1;
  CHECK(offsets[0] == 0 && offsets[segments] == rows, op, ": ", name, " runs from ", offsets[0],
        " to ", offsets[segments], "; it must run from 0 to ", rows);
  CHECK(std::is_sorted(offsets, offsets + segments + 1), op, ": ", name, " must not decrease");
  return offsets;
}

void check_intervals(const char* op, std::int64_t query, const KeyIntervals& k, std::int64_t begin,
                     std::int64_t end) {
  CHECK(begin <= k.begin0 && k.begin0 < k.end0 && k.end0 <= k.begin1 && k.begin1 <= k.end1 &&
            k.end1 <= end,
        op, ": query_keys[", query, "] is [", k.begin0, ",", k.end0, ") and [", k.begin1, ",",
        k.end1, "); they must ascend within [", begin, ",", end,
        "), the keys of the query's segment, and the first must not be empty");
}

/// What at least one of the queries sees lies within; of the form of KeyIntervals.
KeyIntervals hull_of(const KeyIntervals* visible, std::int64_t queries) {
  constexpr std::int32_t kMost = std::numeric_limits<std::int32_t>::max();
  KeyIntervals h{kMost, 0, kMost, 0};
  for (std::int64_t i = 0; i < queries; ++i) {
    const KeyIntervals& k = visible[i];
    h.begin0 = std::min(h.begin0, k.begin0);
    h.end0 = std::max(h.end0, k.end0);
    if (k.begin1 == k.end1) continue;
    h.begin1 = std::min(h.begin1, k.begin1);
    h.end1 = std::max(h.end1, k.end1);
  }
  const std::int32_t end = std::max(h.end0, h.end1);
  return h.begin1 <= h.end0 || h.end1 == 0 ? key_interval(h.begin0, end) : h;
}

/// After the checks of shapes and dtypes.
Segments read_segments(const char* op, std::int64_t queries, std::int64_t keys,
                       const AttentionShape& shape) {
  Segments g{};
  g.count = shape.query_offsets.count() - 1;
  g.heads = shape.heads;
  g.kv_heads = shape.kv_heads;
  g.dim = shape.head_dim;
  g.group = shape.heads / shape.kv_heads;
  g.queries = check_offsets(op, "query_offsets", shape.query_offsets, queries);
  g.keys = check_offsets(op, "key_offsets", shape.key_offsets, keys);
  g.visible = reinterpret_cast<const KeyIntervals*>(shape.query_keys.as<std::int32_t>());
  for (std::int64_t s = 0; s < g.count; ++s) {
    CHECK(g.query_count(s) == 0 || g.key_count(s) > 0, op, ": segment ", s, " has ",
          g.query_count(s), " queries and no keys");
    for (std::int64_t i = g.queries[s]; i < g.queries[s + 1]; ++i)
      check_intervals(op, i, g.visible[i], g.keys[s], g.keys[s + 1]);
    g.first_tile.push_back(std::int64_t(g.hulls.size()));
    for (std::int64_t i = g.queries[s]; i < g.queries[s + 1]; i += kAttentionQueryTile)
      g.hulls.push_back(
          hull_of(g.visible + i, std::min(kAttentionQueryTile, g.queries[s + 1] - i)));
  }
  return g;
}

/// Rows [first, first + count) of segment s.
struct Chunk {
  std::int64_t segment, first, count;
};

/// Cuts the rows of every segment into chunks of about equal size, at most `rows` of them each.
std::vector<Chunk> cut(const std::int32_t* offsets, std::int64_t segments, std::int64_t rows) {
  std::vector<Chunk> chunks;
  for (std::int64_t s = 0; s < segments; ++s)
    for (std::int64_t first = offsets[s]; first < offsets[s + 1]; first += rows)
      chunks.push_back({s, first, std::min<std::int64_t>(rows, offsets[s + 1] - first)});
  return chunks;
}

// Rows per piece of work, whole tiles of queries. Long ones share the packing of keys and values
// among their queries; where that leaves threads idle, short ones of whole tiles.
constexpr std::int64_t kLongChunk = 8 * kAttentionQueryTile, kShortChunk = 2 * kAttentionQueryTile;

std::vector<Chunk> cut_for(const std::int32_t* offsets, std::int64_t segments, std::int64_t heads,
                           int threads) {
  std::vector<Chunk> chunks = cut(offsets, segments, kLongChunk);
  if (threads > 1 && std::int64_t(chunks.size()) * heads < 4 * std::int64_t{threads})
    chunks = cut(offsets, segments, kShortChunk);
  return chunks;
}

}  // namespace

void CpuOps::attention_forward(Tensor out, Tensor lse, Tensor q, Tensor k, Tensor v,
                               const AttentionShape& shape) {
  const Checks check = checks("attention_forward");
  check_attention_forward(check, out, lse, q, k, v, shape);
  const Segments g = read_segments(check.op(), q.rows(), k.rows(), shape);
  const std::vector<Chunk> chunks = cut_for(g.queries, g.count, g.heads, pool_.size());
  // Few queries cost little beside the packing of their keys, which the heads of a group share
  // then.
  const auto is_short = [&](const Chunk& c) { return c.count * g.group <= kLongChunk; };
  const bool together =
      std::int64_t(chunks.size()) * g.kv_heads >= 2 * std::int64_t{pool_.size()} &&
      std::all_of(chunks.begin(), chunks.end(), is_short);
  const std::int64_t group = together ? g.group : 1, pieces = g.heads / group;
  const auto compute = [&](std::int64_t item, int thread, auto type) {
    using T = typename decltype(type)::type;
    const AttentionTiles<T>& tiles = simd_.loops<T>().attention;
    const Chunk c = chunks[std::size_t(item / pieces)];
    const std::int64_t head = item % pieces * group, column = head * g.dim;
    const std::int64_t kv_column = head / g.group * g.dim, first_key = g.keys[c.segment];
    AttentionForwardPiece<T> a{};
    a.out = out.as<T>() + c.first * out.stride + column;
    a.lse = lse.as<float>() + c.first * lse.stride + head;
    a.q = q.as<T>() + c.first * q.stride + column;
    a.k = k.as<T>() + first_key * k.stride + kv_column;
    a.v = v.as<T>() + first_key * v.stride + kv_column;
    a.out_stride = out.stride;
    a.lse_stride = lse.stride;
    a.q_stride = q.stride;
    a.k_stride = k.stride;
    a.v_stride = v.stride;
    a.visible = g.visible + c.first;
    a.hulls = g.hulls_from(c.segment, c.first);
    a.queries = c.count;
    a.keys = g.key_count(c.segment);
    a.key_row = first_key;
    a.head_dim = g.dim;
    a.group = group;
    a.scale = g.scale();
    a.scratch = scratch(thread, std::size_t(tiles.forward_scratch(c.count * group, g.dim)));
    tiles.forward(a);
  };
  visit_float(q.dtype, [&](auto type) {
    pool_.for_each(std::int64_t(chunks.size()) * pieces,
                   [&](std::int64_t item, int thread) { compute(item, thread, type); });
  });
}

void CpuOps::attention_backward(Tensor dq, Tensor dk, Tensor dv, Tensor dout, Tensor out,
                                Tensor lse, Tensor q, Tensor k, Tensor v,
                                const AttentionShape& shape) {
  const Checks check = checks("attention_backward");
  check_attention_backward(check, dq, dk, dv, dout, out, lse, q, k, v, shape);
  const Segments g = read_segments(check.op(), q.rows(), k.rows(), shape);

  // `count` query heads from `head` on, which share a key head, and ranges of rows of a segment.
  const auto piece = [&](auto type, Chunk queries, Chunk keys, std::int64_t head,
                         std::int64_t count, int thread) {
    using T = typename decltype(type)::type;
    const std::int64_t column = head * g.dim, kv_column = head / g.group * g.dim;
    AttentionBackwardPiece<T> a{};
    a.dq = dq.as<T>() + queries.first * dq.stride + column;
    a.dk = dk.as<T>() + keys.first * dk.stride + kv_column;
    a.dv = dv.as<T>() + keys.first * dv.stride + kv_column;
    a.dout = dout.as<T>() + queries.first * dout.stride + column;
    a.out = out.as<T>() + queries.first * out.stride + column;
    a.lse = lse.as<float>() + queries.first * lse.stride + head;
    a.q = q.as<T>() + queries.first * q.stride + column;
    a.k = k.as<T>() + keys.first * k.stride + kv_column;
    a.v = v.as<T>() + keys.first * v.stride + kv_column;
    a.dq_stride = dq.stride;
    a.dk_stride = dk.stride;
    a.dv_stride = dv.stride;
    a.dout_stride = dout.stride;
    a.out_stride = out.stride;
    a.lse_stride = lse.stride;
    a.q_stride = q.stride;
    a.k_stride = k.stride;
    a.v_stride = v.stride;
    a.visible = g.visible + queries.first;
    a.hulls = g.hulls_from(queries.segment, queries.first);
    a.queries = queries.count;
    a.keys = keys.count;
    a.key_row = keys.first;
    a.head_dim = g.dim;
    a.group = count;
    a.scale = g.scale();
    const std::int64_t floats =
        simd_.loops<T>().attention.backward_scratch(queries.count * count, g.dim);
    a.scratch = scratch(thread, std::size_t(floats));
    return a;
  };
  const auto all_queries = [&](std::int64_t s) { return Chunk{s, g.queries[s], g.query_count(s)}; };
  const auto all_keys = [&](std::int64_t s) { return Chunk{s, g.keys[s], g.key_count(s)}; };

  // One key head of one segment at a time takes five products per score. When there are too few of
  // those for the threads, dk and dv first, a range of keys at a time, then dq, a range of queries
  // at a time: four products and three, but as many pieces as are wanted.
  const std::int64_t threads = pool_.size(), whole = g.count * g.kv_heads;
  const std::int64_t rounds = (whole + threads - 1) / threads;
  visit_float(q.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const AttentionTiles<T>& tiles = simd_.loops<T>().attention;
    if (5 * rounds * threads <= 7 * whole) {
      pool_.for_each(whole, [&](std::int64_t item, int thread) {
        const std::int64_t s = item / g.kv_heads, head = item % g.kv_heads * g.group;
        tiles.backward(piece(type, all_queries(s), all_keys(s), head, g.group, thread));
      });
      return;
    }
    const std::vector<Chunk> keys = cut_for(g.keys, g.count, g.kv_heads, pool_.size());
    pool_.for_each(std::int64_t(keys.size()) * g.kv_heads, [&](std::int64_t item, int thread) {
      const Chunk c = keys[std::size_t(item / g.kv_heads)];
      const std::int64_t head = item % g.kv_heads * g.group;
      auto a = piece(type, all_queries(c.segment), c, head, g.group, thread);
      a.dq = nullptr;
      tiles.backward(a);
    });
    const std::vector<Chunk> queries = cut_for(g.queries, g.count, g.heads, pool_.size());
    pool_.for_each(std::int64_t(queries.size()) * g.heads, [&](std::int64_t item, int thread) {
      const Chunk c = queries[std::size_t(item / g.heads)];
      auto a = piece(type, c, all_keys(c.segment), item % g.heads, 1, thread);
      a.dk = a.dv = nullptr;
      tiles.backward(a);
    });
  });
}

}  // namespace lacuna
