#include <cmath>
#include <cstring>

#include "tests/cuda/support.h"
#include "tests/support/attention_rows.h"

namespace lacuna::testing {
namespace {

Segment diverged(std::int64_t keys) {
  Segment s = whole_segment(keys);
  s.diverged = true;
  return s;
}

struct AttentionCase {
  AttentionCase(std::int64_t h, std::int64_t k, std::int64_t d, AttentionRows r,
                std::int64_t gap_ = 0, bool tensor_cores_ = true)
      : heads(h), kv_heads(k), dim(d), rows(std::move(r)), gap(gap_), tensor_cores(tensor_cores_) {}
  AttentionCase(std::int64_t h, std::int64_t k, std::int64_t d, Mask mask,
                const std::vector<Segment>& segments, std::int64_t gap_ = 0,
                bool tensor_cores_ = true)
      : AttentionCase(h, k, d, masked_rows(mask, segments), gap_, tensor_cores_) {}

  std::int64_t heads, kv_heads, dim;
  AttentionRows rows;
  std::int64_t gap = 0;      // elements between rows of q, k and v beyond the packed tensor's
  bool tensor_cores = true;  // in bf16: whether scores' weights are rounded to it
};

/// Values and, for each, a bound on the error of computing it: `weights` relative for each weight
/// of a weighted sum, 5e-5 for f32 sums, scores and exponentials, and none for the rounding at the
/// end.
struct Bounded {
  explicit Bounded(std::int64_t rows, std::int64_t cols)
      : value({rows, cols}), error({rows, cols}) {}
  void add(std::int64_t i, double term, double relative, double absolute = 0) {
    value[i] += float(term);
    error[i] += float(std::abs(term) * relative + absolute);
  }
  HostArray value, error;
};

::testing::AssertionResult is_within(const HostArray& actual, const Bounded& expected, DType type) {
  for (std::int64_t i = 0; i < actual.count(); ++i) {
    const double e = expected.value[i],
                 bound = expected.error[i] + one_rounding(type) * std::abs(e);
    if (std::isnan(e) && std::isnan(actual[i])) continue;
    if (!(std::abs(actual[i] - e) <= bound + 1e-6))
      return ::testing::AssertionFailure()
             << "element " << i << " of " << str(actual.shape) << " is " << actual[i]
             << ", expected " << e << " within " << bound;
  }
  return ::testing::AssertionSuccess();
}

constexpr double kF32 = 5e-5;

/// What kernels/ops.h says, row by row; the backward pass from `out` as given.
struct Attention {
  Attention(const AttentionCase& shape, std::int64_t query_rows, std::int64_t key_rows)
      : c(shape),
        out(query_rows, c.heads * c.dim),
        lse(query_rows, c.heads),
        dq(query_rows, c.heads * c.dim),
        dk(key_rows, c.kv_heads * c.dim),
        dv(key_rows, c.kv_heads * c.dim) {}

  /// f(head, query row, the key rows it sees) for every query and head.
  template <class F>
  void for_queries(F&& f) {
    for (std::int64_t query = 0; query < c.rows.queries(); ++query) {
      std::vector<std::int64_t> seen;
      c.rows.for_keys_of(query, [&](std::int64_t key) { seen.push_back(key); });
      for (std::int64_t h = 0; h < c.heads; ++h) f(h, query, seen);
    }
  }
  double dot(const HostArray& x, std::int64_t xrow, std::int64_t xhead, const HostArray& y,
             std::int64_t yrow, std::int64_t yhead) const {
    double sum = 0;
    for (std::int64_t d = 0; d < c.dim; ++d)
      sum += double(x[xrow * x.shape[1] + xhead * c.dim + d]) *
             double(y[yrow * y.shape[1] + yhead * c.dim + d]);
    return sum;
  }

  void forward(const HostArray& q, const HostArray& k, const HostArray& v, double weights) {
    for_queries([&](std::int64_t h, std::int64_t i, const std::vector<std::int64_t>& seen) {
      const std::int64_t kv = h / (c.heads / c.kv_heads);
      std::vector<double> s;
      double total = 0;
      for (const std::int64_t key : seen) {
        s.push_back(dot(q, i, h, k, key, kv) / std::sqrt(double(c.dim)));
        total += std::exp(s.back());
      }
      lse.add(i * c.heads + h, std::log(total), 0, kF32);
      for (std::size_t j = 0; j < seen.size(); ++j)
        for (std::int64_t d = 0; d < c.dim; ++d)
          out.add((i * c.heads + h) * c.dim + d,
                  std::exp(s[j]) / total * double(v[seen[j] * v.shape[1] + kv * c.dim + d]),
                  weights + kF32);
    });
  }

  void backward(const HostArray& dout, const HostArray& given_out, const HostArray& given_lse,
                const HostArray& q, const HostArray& k, const HostArray& v, double weights) {
    const double scale = 1 / std::sqrt(double(c.dim));
    for_queries([&](std::int64_t h, std::int64_t i, const std::vector<std::int64_t>& seen) {
      const std::int64_t kv = h / (c.heads / c.kv_heads), at = (i * c.heads + h) * c.dim;
      const double delta = dot(dout, i, h, given_out, i, h);
      double dout_size = 0;
      for (std::int64_t d = 0; d < c.dim; ++d) dout_size += std::abs(double(dout[at + d])) * 4;
      for (const std::int64_t j : seen) {
        const double p =
            std::exp(dot(q, i, h, k, j, kv) * scale - double(given_lse[i * c.heads + h]));
        const double ds = p * (dot(dout, i, h, v, j, kv) - delta) * scale;
        const double ds_error = kF32 * p * dout_size * scale;
        const std::int64_t from = (j * c.kv_heads + kv) * c.dim;
        for (std::int64_t d = 0; d < c.dim; ++d) {
          dv.add(from + d, p * double(dout[at + d]), weights + kF32);
          dk.add(from + d, ds * double(q[at + d]), weights + kF32,
                 ds_error * std::abs(double(q[at + d])));
          dq.add(at + d, ds * double(k[from + d]), weights + kF32,
                 ds_error * std::abs(double(k[from + d])));
        }
      }
    });
  }

  const AttentionCase& c;
  Bounded out, lse, dq, dk, dv;
};

bool is_same(const HostArray& x, const HostArray& y) {
  return std::memcmp(x.values.data(), y.values.data(), x.values.size() * sizeof(float)) == 0;
}

HostArray columns(const HostArray& x, std::int64_t from, std::int64_t n) {
  HostArray y({x.shape[0], n});
  for (std::int64_t i = 0; i < y.count(); ++i) y[i] = x[i / n * x.shape[1] + from + i % n];
  return y;
}

/// Rows of `x` that are of diverged segments become `value`; of keys, or else of queries.
void diverge(HostArray& x, const AttentionCase& c, bool of_keys, std::int64_t from,
             std::int64_t columns, float value) {
  const std::vector<std::int32_t>& offsets = of_keys ? c.rows.key_offsets : c.rows.query_offsets;
  for (std::size_t s = 0; s < c.rows.diverged.size(); ++s)
    for (std::int64_t i = offsets[s]; c.rows.diverged[s] && i < offsets[s + 1]; ++i)
      for (std::int64_t j = 0; j < columns; ++j) x[i * x.shape[1] + from + j] = value;
}

class CudaAttentionTest : public CudaOpsTest {
 protected:
  virtual CudaOps& ops() { return device(); }
  void check(const AttentionCase& c) {
    const std::int64_t queries = c.rows.queries(), keys = c.rows.keys();
    SCOPED_TRACE(str("H ", c.heads, " K ", c.kv_heads, " D ", c.dim, ", ", queries, " queries, ",
                     keys, " keys"));
    const std::int64_t q_cols = c.heads * c.dim, kv_cols = c.kv_heads * c.dim;
    const Layout packed{c.gap, 0};
    HostArray q = normal({queries, q_cols}, 1, type());
    HostArray kv = normal({keys, 2 * kv_cols}, 2, type());
    HostArray dout = normal({queries, q_cols}, 3, type());
    diverge(q, c, false, 0, q_cols, NAN);
    diverge(kv, c, true, 0, kv_cols, NAN);
    diverge(kv, c, true, kv_cols, kv_cols, INFINITY);
    diverge(dout, c, false, 0, q_cols, INFINITY);
    DeviceArray d_q(ops(), q, type(), packed), d_kv(ops(), kv, type(), packed);
    const Tensor d_k = d_kv.tensor().column_range(0, kv_cols);
    const Tensor d_v = d_kv.tensor().column_range(kv_cols, kv_cols);
    const Shape offsets{std::int64_t(c.rows.query_offsets.size())};
    DeviceArray d_query_offsets(ops(), offsets, c.rows.query_offsets);
    DeviceArray d_key_offsets(ops(), offsets, c.rows.key_offsets);
    DeviceArray d_query_keys(ops(), {queries, 4}, DType::i32);
    ops().copy(d_query_keys, tensor_of(c.rows.query_keys));
    AttentionShape shape;
    shape.heads = c.heads;
    shape.kv_heads = c.kv_heads;
    shape.head_dim = c.dim;
    shape.query_offsets = d_query_offsets;
    shape.key_offsets = d_key_offsets;
    shape.query_keys = d_query_keys;

    const double weights = is_f32() || !c.tensor_cores ? 0 : 0x1p-8;
    const HostArray k = columns(kv, 0, kv_cols), v = columns(kv, kv_cols, kv_cols);
    Attention expected(c, queries, keys);
    expected.forward(q, k, v, weights);
    DeviceArray out(ops(), {queries, q_cols}, type());
    DeviceArray lse(ops(), {queries, c.heads}, DType::f32);
    ops().attention_forward(out, lse, d_q, d_k, d_v, shape);
    EXPECT_TRUE(is_within(out.read(), expected.out, type()));
    EXPECT_TRUE(is_within(lse.read(), expected.lse, DType::f32));
    EXPECT_TRUE(out.guards_hold() && lse.guards_hold());

    expected.backward(dout, out.read(), lse.read(), q, k, v, weights);
    DeviceArray d_dout(ops(), dout, type()), dq(ops(), {queries, q_cols}, type(), packed);
    DeviceArray dkv(ops(), {keys, 2 * kv_cols}, type(), packed);
    const auto backward = [&] {
      ops().attention_backward(dq, dkv.tensor().column_range(0, kv_cols),
                               dkv.tensor().column_range(kv_cols, kv_cols), d_dout, out, lse, d_q,
                               d_k, d_v, shape);
    };
    backward();
    const HostArray got_dq = dq.read(), got_dkv = dkv.read();
    EXPECT_TRUE(is_within(got_dq, expected.dq, type()));
    EXPECT_TRUE(is_within(columns(got_dkv, 0, kv_cols), expected.dk, type()));
    EXPECT_TRUE(is_within(columns(got_dkv, kv_cols, kv_cols), expected.dv, type()));
    EXPECT_TRUE(dq.guards_hold() && dkv.guards_hold());
    backward();  // again: the same bits
    EXPECT_TRUE(is_same(dq.read(), got_dq));
    EXPECT_TRUE(is_same(dkv.read(), got_dkv));
  }
};
INSTANTIATE_TEST_SUITE_P(Cuda, CudaAttentionTest, ::testing::ValuesIn(all_cases()), case_name);

// Lengths of one row, of whole tiles (64) and one more or less; heads that share keys.
TEST_P(CudaAttentionTest, Full64) {
  check({2, 1, 64, Mask::bidirectional, {whole_segment(1), whole_segment(64), whole_segment(70)}});
}
TEST_P(CudaAttentionTest, Full128) {
  check({2, 2, 128, Mask::bidirectional, {whole_segment(65), whole_segment(3)}});
}
TEST_P(CudaAttentionTest, Causal64) {
  check({3, 1, 64, Mask::causal, {whole_segment(130), whole_segment(5)}});
}
TEST_P(CudaAttentionTest, Causal128) { check({2, 1, 128, Mask::causal, {whole_segment(97)}}); }

/// Some positions only, in no order, and a segment nobody asks about: its dk and dv are zero.
TEST_P(CudaAttentionTest, SomeQueries) {
  const std::vector<Segment> segments = {
      {150, {149, 0, 64, 63, 2, 100}}, {40, {}}, {2, {1}}, whole_segment(66)};
  check({2, 1, 64, Mask::causal, segments});
  check({2, 2, 128, Mask::bidirectional, segments});
  check({2, 1, 24, Mask::causal, segments, 0, false});
}

/// Pairs of intervals against the reference, which knows no tiles.
TEST_P(CudaAttentionTest, RandomIntervals) {
  const std::vector<Segment> segments = {
      whole_segment(150), {400, {0, 0, 0}}, {1, {0, 0}}, {40, {}}, whole_segment(67)};
  check({2, 1, 64, random_rows(1, segments)});
  check({2, 1, 64, random_rows(2, segments)});
  check({2, 2, 128, random_rows(3, segments)});
  check({2, 1, 24, random_rows(4, segments), 0, false});
}

TEST_P(CudaAttentionTest, BlockDiffusion) {
  AttentionRows rows;
  add_block_diffusion(rows, 130, 32);
  add_block_diffusion(rows, 5, 4);
  check({2, 1, 64, rows});
  check({1, 1, 24, rows, 0, false});
}

/// A sequence that has diverged leaves the ones beside it, whose tiles hold rows of it, as they
/// are.
TEST_P(CudaAttentionTest, DivergedNeighbours) {
  const std::vector<Segment> segments = {diverged(30),     whole_segment(70), diverged(50),
                                         whole_segment(3), {40, {0, 5, 39}},  diverged(20)};
  check({2, 1, 64, Mask::bidirectional, segments});
  check({1, 1, 128, Mask::causal, segments});
  check({1, 1, 24, Mask::bidirectional, segments, 0, false});
}

/// The kernels for any width; and those of ordinary widths when rows are not in whole packs.
TEST_P(CudaAttentionTest, OtherWidths) {
  const std::vector<Segment> segments = {whole_segment(33), whole_segment(1), {70, {69, 3}}};
  for (const std::int64_t dim : {1, 6, 33, 80})
    check({2, 1, dim, Mask::causal, segments, 0, false});
  check({1, 1, 256, Mask::bidirectional, {whole_segment(40)}, 0, false});
  check({2, 1, 64, Mask::bidirectional, segments, 3, false});
}

TEST_P(CudaAttentionTest, NoRows) {
  DeviceArray q(device(), {0, 64}, type()), kv(device(), {0, 64}, type());
  DeviceArray lse(device(), {0, 1}, DType::f32);
  DeviceArray offsets(device(), {1}, std::vector<std::int32_t>{0});
  AttentionShape shape;
  shape.heads = shape.kv_heads = 1;
  shape.head_dim = 64;
  shape.query_offsets = shape.key_offsets = offsets;
  DeviceArray intervals(device(), {0, 4}, DType::i32);
  shape.query_keys = intervals;
  device().attention_forward(q, lse, q, kv, kv, shape);
  device().attention_backward(q, kv, kv, q, q, lse, q, kv, kv, shape);
  DeviceArray wide(device(), {0, 512}, type());
  shape.head_dim = 512;
  EXPECT_TRUE(
      contains(error_of([&] { device().attention_forward(wide, lse, wide, wide, wide, shape); }),
               "attention_forward: head_dim is 512; it must be 1 to 256"));
}

/// By wgmma and TMA: tiles of 128 rows, two under way at a time. By the separate backward kernels,
/// then by the fused one.
class HopperAttentionTest : public CudaAttentionTest {
 protected:
  void SetUp() override {
    CudaAttentionTest::SetUp();
    if (IsSkipped()) return;
    for (const bool fused : {false, true})
      hopper_.push_back(std::make_unique<CudaOps>(
          DeviceOptions{.hopper_attention = true, .fused_hopper_attention = fused}));
    if (!contains(hopper_[0]->description(), "attention by wgmma"))
      GTEST_SKIP() << hopper_[0]->description() << " has no wgmma";
  }
  CudaOps& ops() override { return *hopper_[kernels_]; }
  void check(const AttentionCase& c) {
    for (kernels_ = 0; kernels_ < hopper_.size(); ++kernels_) {
      SCOPED_TRACE(ops().description());
      CudaAttentionTest::check(c);
    }
  }

 private:
  std::vector<std::unique_ptr<CudaOps>> hopper_;
  std::size_t kernels_ = 0;
};
INSTANTIATE_TEST_SUITE_P(Cuda, HopperAttentionTest, ::testing::ValuesIn(bf16_cases()), case_name);

TEST_P(HopperAttentionTest, IsWhatTheDeviceGetsUnlessToldOtherwise) {
  EXPECT_TRUE(contains(CudaOps().description(), "attention by wgmma"));
  EXPECT_FALSE(contains(device().description(), "wgmma"));
}
// Lengths of one row, of whole tiles and one more or less, of more tiles than there are stages.
TEST_P(HopperAttentionTest, Full64) {
  check({2,
         1,
         64,
         Mask::bidirectional,
         {whole_segment(1), whole_segment(128), whole_segment(140), whole_segment(300)}});
}
TEST_P(HopperAttentionTest, Full128) {
  check(
      {2, 2, 128, Mask::bidirectional, {whole_segment(127), whole_segment(3), whole_segment(290)}});
}
TEST_P(HopperAttentionTest, Causal64) {
  check({3, 1, 64, Mask::causal, {whole_segment(330), whole_segment(5)}});
}
TEST_P(HopperAttentionTest, Causal128) { check({2, 1, 128, Mask::causal, {whole_segment(270)}}); }
TEST_P(HopperAttentionTest, SomeQueries) {
  const std::vector<Segment> segments = {
      {350, {349, 0, 64, 63, 2, 200}}, {40, {}}, {2, {1}}, whole_segment(66)};
  check({2, 1, 64, Mask::causal, segments});
  check({2, 2, 128, Mask::bidirectional, segments});
}
TEST_P(HopperAttentionTest, RandomIntervals) {
  const std::vector<Segment> segments = {
      whole_segment(300), {700, {0, 0, 0}}, {1, {0, 0}}, {40, {}}, whole_segment(67)};
  check({2, 1, 64, random_rows(1, segments)});
  check({2, 2, 128, random_rows(2, segments)});
}
TEST_P(HopperAttentionTest, BlockDiffusion) {
  AttentionRows rows;
  add_block_diffusion(rows, 260, 32);
  add_block_diffusion(rows, 5, 4);
  check({2, 1, 64, rows});
  check({1, 1, 128, rows});
}
TEST_P(HopperAttentionTest, DivergedNeighbours) {
  const std::vector<Segment> segments = {diverged(30),     whole_segment(140), diverged(50),
                                         whole_segment(3), {40, {0, 5, 39}},   diverged(20)};
  check({2, 1, 64, Mask::bidirectional, segments});
  check({1, 1, 128, Mask::causal, segments});
}
TEST_P(HopperAttentionTest, StridedRows) {
  check({2, 1, 128, Mask::bidirectional, {whole_segment(50), whole_segment(140)}, 8});
}

}  // namespace
}  // namespace lacuna::testing
