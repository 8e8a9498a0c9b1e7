#include <algorithm>
#include <cstring>
#include <functional>
#include <type_traits>
#include <vector>

#include "core/half.h"
#include "core/tensor_of.h"
#include "tests/kernels/support.h"

// A sequence gets the same bits in any batch: a row's results depend neither on the other rows of
// the call nor on the number of threads.

namespace lacuna::testing {
namespace {

template <class T>
T of(float x) {
  if constexpr (std::is_same_v<T, float>)
    return x;
  else
    return to_bf16(x);
}

/// Normal numbers.
template <class T>
Array<T> numbers(Shape shape, std::uint64_t seed, std::int64_t gap = 0) {
  const Array<float> x = normal(shape, seed);
  Array<T> y(shape, gap);
  for (std::int64_t i = 0; i < x.count(); ++i) y[i] = of<T>(x[i]);
  return y;
}

template <class T>
class RowIndependence : public ::testing::Test {};
using Types = ::testing::Types<float, BFloat16>;
TYPED_TEST_SUITE(RowIndependence, Types);

/// Computes rows [first, first + rows) of y; of all there are, each element must then have the same
/// bits whatever the range.
template <class T>
using ComputeRows =
    std::function<void(CpuOps&, Array<T>& y, std::int64_t first, std::int64_t rows)>;

template <class T>
void expect_independent(std::int64_t all, std::int64_t cols, const ComputeRows<T>& compute) {
  for (const SimdKernels* kernels : instruction_sets()) {
    CpuOps one(1, *kernels), three(3, *kernels);
    Array<T> expected({all, cols}, 5);
    expected.set(of<T>(0.5f));
    compute(one, expected, 0, all);
    for (CpuOps* ops : {&one, &three})
      for (const std::int64_t rows : {1, 2, 3, 4, 5, 7, 8, 16, 23, 24, 32, 33, 191, 257, 700}) {
        if (rows > all) continue;
        SCOPED_TRACE(str(rows, " of ", all, " rows, ", ops->description()));
        Array<T> y({all, cols}, 5);
        y.set(of<T>(0.5f));
        const std::int64_t first = all - rows;
        compute(*ops, y, first, rows);
        for (std::int64_t m = first; m < all; ++m)
          ASSERT_EQ(std::memcmp(&y.at(m, 0), &expected.at(m, 0), std::size_t(cols) * sizeof(T)), 0)
              << "row " << m;
        EXPECT_TRUE(y.guards_hold());
      }
  }
}

template <class T>
Tensor rows_of(Array<T>& x, std::int64_t first, std::int64_t rows) {
  return x.tensor().row_range(first, rows);
}

// Of few rows and of many, in depths of less than a vector, of one block and of several; also so
// many weights that few rows take turns at them (for_blocks_by_reading()).
TYPED_TEST(RowIndependence, Linear) {
  using T = TypeParam;
  const struct {
    std::int64_t rows, in, out;
  } sizes[] = {{700, 37, 64},  {260, 512, 72},  {200, 1408, 50},
               {33, 2050, 17}, {20, 2051, 301}, {300, 64, 200}};
  for (const GradMode mode : {GradMode::overwrite, GradMode::accumulate})
    for (const auto [all, in, out] : sizes) {
      SCOPED_TRACE(str(in, " to ", out));
      Array<T> x = numbers<T>({all, in}, 1, 3), w = numbers<T>({out, in}, 2);
      expect_independent<T>(
          all, out, [&](CpuOps& ops, Array<T>& y, std::int64_t first, std::int64_t rows) {
            ops.linear_forward(rows_of(y, first, rows), rows_of(x, first, rows), w.tensor(), mode);
          });
    }
}

TYPED_TEST(RowIndependence, RmsNorm) {
  using T = TypeParam;
  const std::int64_t all = 700, cols = 77;
  Array<T> x = numbers<T>({all, cols}, 1), delta = numbers<T>({all, cols}, 2);
  Array<T> w = numbers<T>({cols}, 3), sum({all, cols}), to({all, cols});
  Array<float> rstd(Shape{all});
  for (const bool add : {false, true})
    expect_independent<T>(
        all, cols, [&](CpuOps& ops, Array<T>& y, std::int64_t first, std::int64_t rows) {
          const Tensor part = rows_of(x, first, rows), own = rows_of(to, first, rows);
          if (add)
            ops.add_rmsnorm_forward(rows_of(sum, first, rows), own,
                                    rstd.tensor().row_range(first, rows), part,
                                    rows_of(delta, first, rows), w, 1e-5f);
          else
            ops.rmsnorm_forward(own, rstd.tensor().row_range(first, rows), part, w, 1e-5f);
          ops.copy(rows_of(y, first, rows), own);
        });
}

/// Each row sees the keys of one interval or two, of its own: fixed by its number.
KeyIntervals keys_of_row(std::int64_t row, std::int64_t keys) {
  const CounterRng rng{3, Purpose::benchmark, std::uint64_t(row)};
  std::int32_t cut[4];
  for (std::uint32_t i = 0; i < 4; ++i)
    cut[i] = std::int32_t(rng.below(std::uint64_t(keys) + 1, i));
  std::sort(cut, cut + 4);
  if (cut[0] == cut[1]) return key_interval(0, std::int32_t(keys));
  return {cut[0], cut[1], cut[2], cut[3]};
}

TYPED_TEST(RowIndependence, Attention) {
  using T = TypeParam;
  const std::int64_t all = 257, heads = 4, kv_heads = 2;
  for (const std::int64_t dim : {24, 64})
    for (const std::int64_t keys : {31, 700}) {
      SCOPED_TRACE(str("head dimension ", dim, ", ", keys, " keys"));
      Array<T> q = numbers<T>({all, heads * dim}, 1, 3), out({all, heads * dim});
      Array<T> k = numbers<T>({keys, kv_heads * dim}, 2), v = numbers<T>({keys, kv_heads * dim}, 3);
      Array<float> lse({all, heads});
      std::vector<KeyIntervals> visible;
      for (std::int64_t i = 0; i < all; ++i) visible.push_back(keys_of_row(i, keys));
      expect_independent<T>(
          all, heads * dim, [&](CpuOps& ops, Array<T>& y, std::int64_t first, std::int64_t rows) {
            const std::vector<std::int32_t> query_offsets = {0, std::int32_t(rows)},
                                            key_offsets = {0, std::int32_t(keys)};
            AttentionShape shape;
            shape.heads = heads;
            shape.kv_heads = kv_heads;
            shape.head_dim = dim;
            shape.query_offsets = tensor_of(query_offsets);
            shape.key_offsets = tensor_of(key_offsets);
            shape.query_keys = tensor_of(visible).row_range(first, rows);
            ops.attention_forward(rows_of(out, first, rows), rows_of(lse, first, rows),
                                  rows_of(q, first, rows), k, v, shape);
            ops.copy(rows_of(y, first, rows), rows_of(out, first, rows));
          });
    }
}

}  // namespace
}  // namespace lacuna::testing
