// Attention of every backend and dtype against one reference, which knows no tiles.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>

#include "tests/kernels/attention_backend.h"

namespace lacuna::testing {
namespace {

constexpr Mask kMasks[] = {Mask::bidirectional, Mask::causal};

Segment diverged(std::int64_t keys) {
  Segment s = whole_segment(keys);
  s.diverged = true;
  return s;
}

std::vector<Segment> whole_segments(const std::vector<std::int64_t>& lengths) {
  std::vector<Segment> segments;
  for (const std::int64_t n : lengths) segments.push_back(whole_segment(n));
  return segments;
}

bool is_same(const HostArray& x, const HostArray& y) {
  const std::size_t n = x.values.size();
  return n == y.values.size() &&
         (n == 0 || std::memcmp(x.values.data(), y.values.data(), n * sizeof(float)) == 0);
}

HostArray columns(const HostArray& x, std::int64_t from, std::int64_t n) {
  HostArray y({x.shape[0], n});
  for (std::int64_t i = 0; i < y.count(); ++i) y[i] = x[i / n * x.shape[1] + from + i % n];
  return y;
}

/// A case's tensors in the memory of `ops`; rows of q, k, v and their gradients lie `gap` elements
/// apart.
struct AttentionTensors {
  AttentionTensors(Ops& ops, const AttentionCase& c, DType type, std::int64_t gap = 0)
      : q(ops, c.q, type, {gap, 0}),
        kv(ops, c.kv, type, {gap, 0}),
        dout(ops, c.dout, type),
        out(ops, c.q.shape, type),
        lse(ops, {c.queries(), c.heads.q}, DType::f32),
        dq(ops, c.q.shape, type, {gap, 0}),
        dkv(ops, c.kv.shape, type, {gap, 0}),
        shape(c.shape()),
        ops_(ops),
        kv_cols_(c.kv_cols()),
        query_offsets_(ops, shape.query_offsets.shape, c.rows.query_offsets),
        key_offsets_(ops, shape.key_offsets.shape, c.rows.key_offsets),
        query_keys_(ops, shape.query_keys.shape, DType::i32) {
    ops.copy(query_keys_, shape.query_keys);
    shape.query_offsets = query_offsets_;
    shape.key_offsets = key_offsets_;
    shape.query_keys = query_keys_;
  }
  Tensor left(const DeviceArray& x) const { return x.tensor().column_range(0, kv_cols_); }
  Tensor right(const DeviceArray& x) const { return x.tensor().column_range(kv_cols_, kv_cols_); }
  void forward() { ops_.attention_forward(out, lse, q, left(kv), right(kv), shape); }
  void backward() {
    ops_.attention_backward(dq, left(dkv), right(dkv), dout, out, lse, q, left(kv), right(kv),
                            shape);
  }

  DeviceArray q, kv, dout, out, lse, dq, dkv;
  AttentionShape shape;

 private:
  Ops& ops_;
  std::int64_t kv_cols_;
  DeviceArray query_offsets_, key_offsets_, query_keys_;
};

class AttentionTest : public ::testing::TestWithParam<AttentionBackend> {
 protected:
  static const AttentionBackend& backend() { return GetParam(); }
  static DType type() { return backend().dtype; }
  /// The head layout of case i.
  static const Heads& heads(std::size_t i) { return backend().heads[i % backend().heads.size()]; }
  /// A mask for case i.
  static Mask mask(std::size_t i) { return kMasks[i % 2]; }
  static std::int64_t tile() { return backend().tile; }

  static void check(Heads heads, Mask mask, const std::vector<Segment>& segments) {
    check(heads, masked_rows(mask, segments));
  }
  /// Forward and backward against the reference, and backward twice.
  static void check(Heads heads, const AttentionRows& rows, std::int64_t gap = 0,
                    double score_scale = 1) {
    const AttentionCase c(heads, rows, type(), score_scale);
    SCOPED_TRACE(c.name());
    AttentionReference expected(c, backend().precision);
    std::optional<HostArray> last_out, last_lse;  // many of a backend's Ops give the same
    backend().on_each([&](Ops& ops) {
      AttentionTensors t(ops, c, type(), gap);
      t.forward();
      const HostArray out = t.out.read(), lse = t.lse.read();
      EXPECT_TRUE(is_within(out, expected.out, type()));
      EXPECT_TRUE(is_within(lse, expected.lse, DType::f32));
      EXPECT_TRUE(t.out.guards_hold() && t.lse.guards_hold());

      if (!last_out || !is_same(out, *last_out) || !is_same(lse, *last_lse))
        expected.backward(out, lse);
      last_out = out;
      last_lse = lse;
      t.backward();
      const HostArray dq = t.dq.read(), dkv = t.dkv.read();
      EXPECT_TRUE(is_within(dq, expected.dq, type()));
      EXPECT_TRUE(is_within(columns(dkv, 0, c.kv_cols()), expected.dk, type()));
      EXPECT_TRUE(is_within(columns(dkv, c.kv_cols(), c.kv_cols()), expected.dv, type()));
      EXPECT_TRUE(t.dq.guards_hold() && t.dkv.guards_hold());
      t.backward();
      EXPECT_TRUE(is_same(t.dq.read(), dq) && is_same(t.dkv.read(), dkv))
          << "differs from run to run";
    });
  }
  static void check_forward(Heads heads, const AttentionRows& rows) {
    const AttentionCase c(heads, rows, type());
    SCOPED_TRACE(c.name());
    const AttentionReference expected(c, backend().precision);
    backend().on_each([&](Ops& ops) {
      AttentionTensors t(ops, c, type());
      t.forward();
      EXPECT_TRUE(is_within(t.out.read(), expected.out, type()));
      EXPECT_TRUE(is_within(t.lse.read(), expected.lse, DType::f32));
      EXPECT_TRUE(t.out.guards_hold() && t.lse.guards_hold());
    });
  }
  void check_lengths(Mask mask, const std::vector<std::vector<std::int64_t>>& cases) {
    for (std::size_t i = 0; i < cases.size(); ++i) check(heads(i), mask, whole_segments(cases[i]));
  }
  /// Positions around the tiles in no order, sequences without queries or without keys.
  static std::vector<Segment> some_queries() {
    const auto t = std::int32_t(tile());
    return {{2 * t + 22, {2 * t + 21, 0, t, t - 1, 2, t + 36}},
            {40, {}},
            {0, {}},
            {2, {1}},
            {t + 1, {t, t, 0}},
            whole_segment(66)};
  }
};
INSTANTIATE_TEST_SUITE_P(Backends, AttentionTest, ::testing::ValuesIn(attention_backends()),
                         [](const auto& tested) { return tested.param.name; });

TEST_P(AttentionTest, Bidirectional) {
  check_lengths(Mask::bidirectional, backend().bidirectional);
}
TEST_P(AttentionTest, Causal) { check_lengths(Mask::causal, backend().causal); }

TEST_P(AttentionTest, GroupedQueries) {
  const std::int64_t dim = backend().heads[0].dim;
  check({6, 1, dim}, Mask::causal, {whole_segment(tile() / 2)});
  check({6, 2, dim}, Mask::bidirectional, {whole_segment(tile() / 2 - 1)});
  check({6, 3, dim}, Mask::causal, {whole_segment(tile() / 2), whole_segment(3)});
}

TEST_P(AttentionTest, OtherHeadDims) {
  if (backend().other_dims.empty()) GTEST_SKIP() << "kernels for these head dimensions alone";
  const std::vector<Segment> segments = {whole_segment(33), whole_segment(1), {70, {69, 3}}};
  for (const std::int64_t dim : backend().other_dims)
    for (const Mask m : kMasks) check({2, 1, dim}, m, segments);
}

TEST_P(AttentionTest, SomeQueries) {
  for (std::size_t i = 0; i < std::max<std::size_t>(2, backend().heads.size()); ++i)
    check(heads(i), mask(i + 1), some_queries());
}

TEST_P(AttentionTest, RandomIntervals) {
  const std::vector<Segment> segments = {whole_segment(2 * tile() + 22),
                                         {6 * tile() + 16, {0, 0, 0}},
                                         {1, {0, 0}},
                                         {40, {}},
                                         whole_segment(67)};
  for (std::uint64_t i = 0; i < backend().random_cases; ++i)
    check(heads(i), random_rows(i + 1, segments));
}

/// Steps of decoding with a cache: few queries, and keys of more than one block where keys are cut.
TEST_P(AttentionTest, FewQueries) {
  for (const Heads& h : backend().heads) check(h, random_rows(1, {{600, {0, 0, 0, 0, 0}}}));
  const std::int64_t dim = heads(0).dim;
  check_forward({2, 1, dim}, random_rows(2, {{300, {0, 0, 0}}, {520, {0}}, {64, {0, 0}}}));
  check_forward({8, 2, dim},
                masked_rows(Mask::causal, {{513, {512, 255, 256, 0, 3, 2, 1, 64, 9}}}));
  // Above 4096 keys, more of them in each block.
  check_forward({2, 1, dim}, masked_rows(Mask::causal, {{4200, {4199, 4100}}}));
}

HostArray row_range(const HostArray& x, std::int64_t from, std::int64_t n) {
  HostArray y({n, x.shape[1]});
  std::copy_n(x.values.begin() + from * x.shape[1], y.count(), y.values.begin());
  return y;
}

/// What a sequence gets does not depend on those beside it.
TEST_P(AttentionTest, FewQueriesAloneAndTogether) {
  const std::vector<Segment> segments = {{300, {0, 0, 0}}, {520, {0}}, {1000, {0, 0}}};
  AttentionCase together({2, 1, heads(0).dim}, random_rows(3, segments), type());
  backend().on_each([&](Ops& ops) {
    AttentionTensors t(ops, together, type());
    t.forward();
    const HostArray out = t.out.read(), lse = t.lse.read();
    for (std::size_t i = 0; i < segments.size(); ++i) {
      const AttentionRows& all = together.rows;
      const std::int64_t query = all.query_offsets[i], key = all.key_offsets[i];
      const auto queries = std::int64_t(segments[i].queries.size());
      std::vector<KeyIntervals> intervals;
      for (std::int64_t m = query; m < query + queries; ++m) {
        const KeyIntervals& k = all.query_keys[std::size_t(m)];
        const auto first = std::int32_t(key);
        intervals.push_back({k.begin0 - first, k.end0 - first, k.begin1 - first, k.end1 - first});
      }
      AttentionRows rows;
      rows.add(segments[i].keys, intervals);
      AttentionCase alone(together.heads, rows, type());
      alone.q = row_range(together.q, query, queries);
      alone.kv = row_range(together.kv, key, segments[i].keys);
      AttentionTensors own(ops, alone, type());
      own.forward();
      EXPECT_TRUE(is_same(own.out.read(), row_range(out, query, queries))) << i;
      EXPECT_TRUE(is_same(own.lse.read(), row_range(lse, query, queries))) << i;
    }
  });
}

TEST_P(AttentionTest, BlockDiffusion) {
  for (std::size_t i = 0; i < backend().blocks.size(); ++i) {
    AttentionRows rows;
    add_block_diffusion(rows, std::int32_t(2 * tile() + 2), backend().blocks[i]);
    add_block_diffusion(rows, 5, 4);
    check(heads(i), rows);
  }
}

/// A sequence that has diverged leaves the ones beside it, whose tiles hold rows of it, as they
/// are.
TEST_P(AttentionTest, DivergedNeighbours) {
  const std::vector<Segment> segments = {diverged(30),     whole_segment(tile() + 6), diverged(50),
                                         whole_segment(3), {40, {0, 5, 39}},          diverged(20)};
  for (std::size_t i = 0; i < backend().heads.size(); ++i) check(heads(i), mask(i), segments);
}

TEST_P(AttentionTest, StridedRows) {
  const std::vector<Segment> segments = whole_segments({50, tile() + 12});
  check({2, 2, 128}, masked_rows(Mask::bidirectional, segments), backend().gap);
}

/// Scores of some hundreds: all weight on few keys, and nothing overflows.
TEST_P(AttentionTest, LargeScores) {
  for (const Mask m : kMasks)
    check({1, 1, heads(0).dim}, masked_rows(m, {whole_segment(tile() + 12)}), 0, 100);
}

TEST_P(AttentionTest, NoQueriesOrNoRows) {
  check({2, 1, heads(0).dim}, Mask::bidirectional, {{5, {}}, {0, {}}});  // dk and dv are 0
  check({2, 1, heads(0).dim}, Mask::bidirectional, {{0, {}}});
  check({1, 1, heads(0).dim}, Mask::causal, {});
}

/// Results of a forward pass before and after `change` of k and v.
template <class Change>
void expect_same_results(Ops& ops, AttentionCase c, DType type, std::int64_t queries,
                         Change&& change) {
  AttentionTensors before(ops, c, type);
  before.forward();
  change(c.kv);
  AttentionTensors after(ops, c, type);
  after.forward();
  const HostArray out = before.out.read(), again = after.out.read();
  EXPECT_EQ(std::memcmp(out.values.data(), again.values.data(),
                        std::size_t(queries * c.q_cols()) * sizeof(float)),
            0);
  const HostArray lse = before.lse.read(), lse_again = after.lse.read();
  EXPECT_EQ(std::memcmp(lse.values.data(), lse_again.values.data(),
                        std::size_t(queries * c.heads.q) * sizeof(float)),
            0);
}

/// Tiles of keys that no query of a tile sees are not read: they may hold anything.
TEST_P(AttentionTest, DoesNotReadTilesOutsideTheHull) {
  constexpr std::int64_t kTile = 256;  // a multiple of every kernel's
  AttentionRows rows;
  rows.add(4 * kTile, std::vector<KeyIntervals>(
                          100, KeyIntervals{kTile, kTile + 44, 3 * kTile + 32, 3 * kTile + 132}));
  const AttentionCase c({1, 1, heads(0).dim}, rows, type());
  backend().on_each([&](Ops& ops) {
    expect_same_results(ops, c, type(), 100, [](HostArray& kv) {
      for (std::int64_t i = 0; i < kv.count(); ++i)
        if (i / kv.shape[1] / kTile % 2 == 0) kv[i] = std::numeric_limits<float>::quiet_NaN();
    });
  });
}

/// Causal attention does not see what comes later.
TEST_P(AttentionTest, CausalIgnoresLaterKeys) {
  const std::int64_t length = tile() + 72, later = tile() + 22;
  const AttentionCase c({1, 1, heads(0).dim}, masked_rows(Mask::causal, {whole_segment(length)}),
                        type());
  backend().on_each([&](Ops& ops) {
    expect_same_results(ops, c, type(), later, [&](HostArray& kv) {
      for (std::int64_t i = later * kv.shape[1]; i < kv.count(); ++i) kv[i] = float(i % 512);
    });
  });
}

/// Bidirectional attention does not know the order of keys.
TEST_P(AttentionTest, BidirectionalIgnoresTheOrderOfKeys) {
  const std::int64_t length = tile() + 22;
  AttentionCase c({2, 1, heads(0).dim}, masked_rows(Mask::bidirectional, {whole_segment(length)}),
                  type());
  const AttentionReference expected(c, backend().precision);
  const HostArray kv = c.kv;
  for (std::int64_t i = 0; i < kv.count(); ++i)
    c.kv[i] = kv[(length - 1 - i / kv.shape[1]) * kv.shape[1] + i % kv.shape[1]];
  backend().on_each([&](Ops& ops) {
    AttentionTensors reversed(ops, c, type());
    reversed.forward();
    EXPECT_TRUE(is_within(reversed.out.read(), expected.out, type()));
    EXPECT_TRUE(is_within(reversed.lse.read(), expected.lse, DType::f32));
  });
}

}  // namespace
}  // namespace lacuna::testing
