// The CPU backend's bf16: each operation against the same in f32 of the same numbers, which other
// tests compare with PyTorch and f64, rounded once; for every instruction set.
#include <bit>
#include <cmath>
#include <functional>
#include <limits>

#include "core/tensor_of.h"
#include "tests/kernels/device_array.h"
#include "tests/kernels/support.h"

namespace lacuna::testing {
namespace {

constexpr DType kBf16 = DType::bf16;
const double kRounding = one_rounding(kBf16);
constexpr float kInf = std::numeric_limits<float>::infinity();

struct Size {
  std::int64_t rows, cols;
};
// Less than a vector, whole vectors and not, more rows than a thread's share.
constexpr Size kSizes[] = {{1, 1}, {3, 5}, {5, 64}, {19, 100}, {2, 1033}, {70, 515}};

/// test(ops, host): a bf16 backend of each kind and an f32 one with the same loops.
void on_each(const std::function<void(CpuOps&, CpuOps&)>& test) {
  on_every_backend([&](CpuOps& ops) { test(ops, ops); });
}

/// Normal numbers with the values among them that rounding and sums treat apart.
HostArray with_special_values(Shape shape, std::uint64_t seed) {
  HostArray x = normal(shape, seed, kBf16);
  const float special[] = {NAN, kInf, -kInf, 0.0f, -0.0f, 1e-40f, 3.3e38f, -3.3e38f};
  for (std::int64_t i = 0; i < x.count(); ++i)
    if (i % 5 == 0) x[i] = special[std::size_t(i / 5 % 8)];
  return rounded(x, kBf16);
}

/// Equal bits, but for the sign and payload of NaN.
void expect_same(const HostArray& actual, const HostArray& expected) {
  EXPECT_TRUE(is_close(actual, expected, 0, 0));
}

TEST(Bf16, ConversionsRoundAsToBf16Does) {
  // Every bf16, the two neighbours of each tie between bf16 numbers and the tie, some f32 between.
  std::vector<std::uint32_t> bits;
  for (std::uint32_t high = 0; high < 0x10000; ++high)
    for (const std::uint32_t low : {0u, 1u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu})
      bits.push_back(high << 16 | low);
  HostArray x(Shape{std::int64_t(bits.size())});
  for (std::int64_t i = 0; i < x.count(); ++i) x[i] = std::bit_cast<float>(bits[std::size_t(i)]);
  on_every_instruction_set([&](CpuOps& ops) {
    DeviceArray y(ops, x.shape, kBf16);
    HostArray back(x.shape);
    ops.copy(y, x);
    ops.copy(back, y);
    const auto halves = y.read_as<BFloat16>();
    for (std::int64_t i = 0; i < x.count(); ++i) {
      ASSERT_EQ(halves[std::size_t(i)].bits, to_bf16(x[i]).bits) << bits[std::size_t(i)];
      ASSERT_EQ(std::bit_cast<std::uint32_t>(back[i]),
                std::uint32_t{halves[std::size_t(i)].bits} << 16);
    }
    EXPECT_TRUE(y.guards_hold());
  });
}

TEST(Bf16, FillAddAndScale) {
  const HostArray x = with_special_values({1037}, 1), y = with_special_values({1037}, 2);
  on_each([&](CpuOps& ops, CpuOps& host) {
    DeviceArray filled(ops, {37}, kBf16);
    ops.fill(filled, 0.3f);
    expect_same(filled.read(), HostArray({37}, to_float(to_bf16(0.3f))));
    EXPECT_TRUE(filled.guards_hold());
    for (const DType to : {DType::f32, kBf16})
      for (const DType from : {DType::f32, kBf16}) {
        HostArray expected = y;
        DeviceArray sum(ops, y, to), added(ops, x, from);
        ops.add(sum, added);
        host.add(expected, x);
        expect_same(sum.read(), rounded(expected, to));
        EXPECT_TRUE(sum.guards_hold());
      }
    for (const DType to : {DType::f32, kBf16})
      for (const DType from : {DType::f32, kBf16}) {
        HostArray expected = y;
        DeviceArray sum(ops, y, to), added(ops, x, from);
        ops.axpby(sum, 0.5f, added, 2.0f);
        host.axpby(expected, 0.5f, x, 2.0f);
        expect_same(sum.read(), rounded(expected, to));
        EXPECT_TRUE(sum.guards_hold());
      }
    const HostArray logits = x, other = y;
    HostArray expected = logits;
    DeviceArray a(ops, logits, kBf16), b(ops, other, kBf16);
    ops.apply_cfg(a, b, 0.5f);
    host.apply_cfg(expected, other, 0.5f);
    expect_same(a.read(), rounded(expected, kBf16));
  });
}

TEST(Bf16, Rows) {
  const std::int64_t rows = 40, cols = 33;
  const HostArray x = with_special_values({rows, cols}, 1), y = normal({3, cols}, 2, kBf16);
  const std::vector<std::int32_t> picked = {39, 0, 17};
  on_each([&](CpuOps& ops, CpuOps& host) {
    DeviceArray all(ops, x, kBf16, {5, 0}), some(ops, y, kBf16), found(ops, {3, cols}, kBf16);
    HostArray expected_all = x, expected(Shape{3, cols});
    const Tensor at = tensor_of(picked);
    ops.gather_rows(found, all, at);
    host.gather_rows(expected, x, at);
    expect_same(found.read(), expected);
    ops.scatter_add_rows(all, some, at);
    host.scatter_add_rows(expected_all, y, at);
    expect_same(all.read(), rounded(expected_all, kBf16));
    ops.scatter_rows(all, some, at);
    host.scatter_rows(expected_all, y, at);
    expect_same(all.read(), rounded(expected_all, kBf16));
    EXPECT_TRUE(all.guards_hold() && found.guards_hold());
  });
}

TEST(Bf16, Embedding) {
  const std::vector<std::int32_t> ids = {10, 0, 3, 3, 7, 3};
  for (const DType table : {DType::f32, kBf16})
    for (const DType type : {DType::f32, kBf16}) {
      const HostArray w = normal({11, 70}, 1, table), dy = normal({6, 70}, 2, type);
      on_each([&](CpuOps& ops, CpuOps& host) {
        DeviceArray d_w(ops, w, table), y(ops, {6, 70}, type), d_dy(ops, dy, type);
        HostArray expected({6, 70}), dw = w;
        ops.embedding_forward(y, tensor_of(ids), d_w);
        host.embedding_forward(expected, tensor_of(ids), w);
        expect_same(y.read(), rounded(expected, type));
        ops.embedding_backward(d_w, d_dy, tensor_of(ids));
        host.embedding_backward(dw, dy, tensor_of(ids));
        // Three rows have id 3: a rounding for each, of sums below 16.
        EXPECT_TRUE(is_close(d_w.read(), dw, 0, table == kBf16 ? 3 * 0x1p-5 : 0));
        EXPECT_TRUE(y.guards_hold() && d_w.guards_hold());
      });
    }
}

TEST(Bf16, RmsNorm) {
  for (const auto [rows, cols] : kSizes)
    for (const DType weights : {DType::f32, kBf16}) {
      const HostArray x = normal({rows, cols}, 1, kBf16), delta = normal({rows, cols}, 2, kBf16);
      const HostArray w = normal({cols}, 3, weights), dy = normal({rows, cols}, 4, kBf16);
      on_each([&](CpuOps& ops, CpuOps& host) {
        DeviceArray d_x(ops, x, kBf16), d_delta(ops, delta, kBf16), d_w(ops, w, weights);
        DeviceArray y(ops, x.shape, kBf16), sum(ops, x.shape, kBf16);
        DeviceArray rstd(ops, Shape{rows}, DType::f32);
        HostArray expected(x.shape), expected_rstd(Shape{rows}), total = x;
        ops.rmsnorm_forward(y, rstd, d_x, d_w, 1e-5f);
        host.rmsnorm_forward(expected, expected_rstd, x, w, 1e-5f);
        EXPECT_TRUE(is_close(rstd.read(), expected_rstd, 1e-6, 0));
        EXPECT_TRUE(is_close(y.read(), expected, kRounding, 0));
        ops.add_rmsnorm_forward(sum, y, rstd, d_x, d_delta, d_w, 1e-5f);
        host.add(total, delta);
        total = rounded(total, kBf16);  // what is normalised is the sum as stored
        host.rmsnorm_forward(expected, expected_rstd, total, w, 1e-5f);
        expect_same(sum.read(), total);
        EXPECT_TRUE(is_close(y.read(), expected, kRounding, 0));

        for (const GradMode mode : {GradMode::overwrite, GradMode::accumulate})
          for (const DType gradients : {DType::f32, weights}) {
            HostArray dx = delta, dw = w;
            host.rmsnorm_backward(dx, dw, dy, total, expected_rstd, w, mode);
            DeviceArray d_dx(ops, delta, kBf16), d_dy(ops, dy, kBf16), d_dw(ops, w, gradients);
            ops.rmsnorm_backward(d_dx, d_dw, d_dy, sum, rstd, d_w, mode);
            // Terms are products of a few normal numbers: below 100.
            EXPECT_TRUE(is_close(d_dx.read(), dx, kRounding, 0x1p-24 * 64 * 100));
            EXPECT_TRUE(
                is_close(d_dw.read(), dw, one_rounding(gradients), 0x1p-24 * double(rows) * 100));
            EXPECT_TRUE(d_dx.guards_hold() && d_dw.guards_hold());
          }
        EXPECT_TRUE(y.guards_hold() && sum.guards_hold() && rstd.guards_hold());
        ops.rmsnorm_forward(d_x, rstd, d_x, d_w, 1e-5f);  // in place
        host.rmsnorm_forward(expected, expected_rstd, x, w, 1e-5f);
        EXPECT_TRUE(is_close(d_x.read(), expected, kRounding, 0));
      });
    }
}

TEST(Bf16, Rope) {
  const std::vector<std::int32_t> positions = {0, 4, 2, 49, 1, 7, 3};
  for (const std::int64_t half : {1, 3, 32}) {
    const std::int64_t rows = 7, heads = 3, cols = heads * 2 * half;
    const HostArray x = normal({rows, cols}, 1, kBf16);
    HostArray table({50, 2 * half});
    for (std::int64_t p = 0; p < 50; ++p)
      for (std::int64_t j = 0; j < half; ++j) {
        const double angle = double(p) * std::pow(10000.0, -double(j) / double(half));
        table[p * 2 * half + j] = float(std::cos(angle));
        table[p * 2 * half + half + j] = float(std::sin(angle));
      }
    on_each([&](CpuOps& ops, CpuOps& host) {
      for (const Rotation direction : {Rotation::forward, Rotation::inverse}) {
        DeviceArray turned(ops, x, kBf16, {9, 0});
        HostArray expected = x;
        ops.rope(turned, tensor_of(positions), table, direction);
        host.rope(expected, tensor_of(positions), table, direction);
        // A result may be small beside the two products it is the difference of, each below 5.
        EXPECT_TRUE(is_close(turned.read(), expected, kRounding, 5 * 0x1p-22));
        EXPECT_TRUE(turned.guards_hold());
      }
    });
  }
}

TEST(Bf16, SwiGlu) {
  for (const auto [rows, cols] : kSizes) {
    const HostArray gate_up = normal({rows, 2 * cols}, 1, kBf16, 3);
    const HostArray dy = normal({rows, cols}, 2, kBf16);
    on_each([&](CpuOps& ops, CpuOps& host) {
      DeviceArray d_gate_up(ops, gate_up, kBf16), d_dy(ops, dy, kBf16);
      DeviceArray y(ops, dy.shape, kBf16), again(ops, dy.shape, kBf16);
      DeviceArray gradient(ops, gate_up.shape, kBf16);
      HostArray expected(dy.shape), expected_gradient(gate_up.shape);
      ops.swiglu_forward(y, d_gate_up);
      host.swiglu_forward(expected, gate_up);
      EXPECT_TRUE(is_close(y.read(), expected, kRounding, 1e-30));
      ops.swiglu_backward(gradient, again, d_dy, d_gate_up);
      host.swiglu_backward(expected_gradient, expected, dy, gate_up);
      EXPECT_EQ(again.read().values, y.read().values);
      EXPECT_TRUE(is_close(gradient.read(), expected_gradient, kRounding, 1e-4));
      EXPECT_TRUE(y.guards_hold() && again.guards_hold() && gradient.guards_hold());
      ops.swiglu_backward(d_gate_up, d_dy, d_dy, d_gate_up);  // in place
      EXPECT_EQ(d_gate_up.read().values, gradient.read().values);
      EXPECT_EQ(d_dy.read().values, y.read().values);
    });
  }
}

TEST(Bf16, CrossEntropy) {
  for (const std::int64_t vocab : {1, 9, 513, 5003}) {
    const std::int64_t rows = 4;
    const HostArray logits = normal({rows, vocab}, 1, kBf16, 4);
    const HostArray weights = normal({rows}, 3, DType::f32);
    const Array<std::int32_t> ids = integers(rows, vocab, 2);
    const std::vector<std::int32_t> targets = {ids[0], ids[1], ids[2], ids[3]};
    on_each([&](CpuOps& ops, CpuOps& host) {
      DeviceArray x(ops, logits, kBf16, {7, 0}), loss(ops, Shape{rows}, DType::f32);
      HostArray expected = logits, expected_loss(Shape{rows});
      ops.cross_entropy_forward(loss, x, tensor_of(targets));
      host.cross_entropy_forward(expected_loss, logits, tensor_of(targets));
      EXPECT_TRUE(is_close(loss.read(), expected_loss, 1e-6, 20 * 0x1p-22));
      ops.cross_entropy_backward(loss, x, tensor_of(targets), weights);
      host.cross_entropy_backward(expected_loss, expected, tensor_of(targets), weights);
      EXPECT_TRUE(is_close(loss.read(), expected_loss, 1e-6, 20 * 0x1p-22));
      // At the target, p - 1: an error relative to 1, times a weight below 4.
      EXPECT_TRUE(is_close(x.read(), expected, kRounding, 4e-6));
      EXPECT_TRUE(x.guards_hold() && loss.guards_hold());
    });
  }
}

TEST(Bf16, RowStats) {
  const std::int64_t rows = 5, vocab = 4500;
  HostArray logits = normal({rows, vocab}, 1, kBf16, 4);
  logits[2 * vocab + 7] = NAN;
  logits[3 * vocab + 9] = -kInf;
  const std::vector<std::int64_t> keys = {5, 1, 2, 9, 3};
  const std::vector<std::int32_t> current = {1, 2, 3, 4, 4499};
  on_each([&](CpuOps& ops, CpuOps& host) {
    DeviceArray x(ops, logits, kBf16, {3, 0});
    for (const double temperature : {0.0, 0.7}) {
      SamplingParameters p{temperature, 3, 4};
      p.forbidden = {17, 4000, -1, -1};
      const auto stats = [&](CpuOps& with, const Tensor& of) {
        std::vector<HostArray> found(5, HostArray(Shape{rows}));
        std::vector<std::int32_t> draw(5), argmax(5);
        RowStats s;
        s.draw = tensor_of(draw);
        s.argmax = tensor_of(argmax);
        s.p_draw = found[0];
        s.p_first = found[1];
        s.p_second = found[2];
        s.entropy = found[3];
        s.p_current = found[4];
        with.row_stats(s, of, tensor_of(keys), tensor_of(current), p);
        for (std::size_t i = 0; i < 5; ++i) {
          found[0].values.push_back(float(draw[i]));
          found[0].values.push_back(float(argmax[i]));
        }
        return found;
      };
      const auto actual = stats(ops, x), expected = stats(host, logits);
      // The same f32 numbers, so the same bits.
      for (std::size_t i = 0; i < actual.size(); ++i)
        for (std::size_t j = 0; j < actual[i].values.size(); ++j)
          EXPECT_TRUE(actual[i].values[j] == expected[i].values[j] ||
                      (std::isnan(actual[i].values[j]) && std::isnan(expected[i].values[j])));
    }
  });
}

TEST(Bf16, Optimizer) {
  const std::int64_t n = 5003;
  const HostArray w = normal({n}, 1, DType::f32), m = normal({n}, 2, DType::f32);
  HostArray v = normal({n}, 3, DType::f32);
  for (float& x : v.values) x *= x;
  const AdamWParameters p{1e-2, 0.9, 0.95, 1e-8, 0.1, 10};
  const HostArray scale({1}, 0.5f);
  for (const DType gradients : {DType::f32, kBf16})
    for (const DType stored : {DType::f32, kBf16}) {
      const HostArray g = normal({n}, 4, gradients);
      on_each([&](CpuOps& ops, CpuOps& host) {
        HostArray w1 = w, m1 = m, v1 = v, w2 = w, m2 = m, v2 = v;
        DeviceArray d_g(ops, g, gradients), rounded_w(ops, g.shape, stored);
        ops.adamw({{w1, m1, v1, d_g, rounded_w}}, scale, p);
        host.adamw({{w2, m2, v2, g}}, scale, p);
        expect_same(w1, w2);
        expect_same(m1, m2);
        expect_same(v1, v2);
        expect_same(rounded_w.read(), rounded(w2, stored));
        EXPECT_TRUE(rounded_w.guards_hold());
        double sum = 0, expected_sum = 0;
        ops.add_squares(Tensor(&sum, {1}), {d_g}, 2);
        host.add_squares(Tensor(&expected_sum, {1}), {g}, 2);
        EXPECT_NEAR(sum, expected_sum, 1e-12 * expected_sum);
      });
    }
}

// --- products ------------------------------------------------------------------------------------

/// sum_k a(k) b(k) and the sum of its terms' magnitudes, f64.
template <class A, class B>
std::pair<double, double> dot(std::int64_t n, A a, B b) {
  double sum = 0, magnitude = 0;
  for (std::int64_t k = 0; k < n; ++k) {
    sum += double(a(k)) * double(b(k));
    magnitude += std::abs(double(a(k)) * double(b(k)));
  }
  return {sum, magnitude};
}

/// Whether y = before + the product, [rows,cols], summed over `depth` by f32, rounded to its type.
template <class A, class B>
void expect_product(const DeviceArray& y, const HostArray& before, std::int64_t depth, A a, B b) {
  const HostArray actual = y.read();
  const std::int64_t cols = before.shape[1];
  for (std::int64_t i = 0; i < actual.count(); ++i) {
    const auto [sum, magnitude] = dot(
        depth, [&](auto k) { return a(i / cols, k); }, [&](auto k) { return b(k, i % cols); });
    const double expected = sum + double(before[i]);
    // Each of the additions rounds what is at most the sum of the magnitudes.
    const double bound = 0x1p-24 * double(depth + 2) * (magnitude + std::abs(double(before[i]))) +
                         (y.tensor().dtype == kBf16 ? kRounding * std::abs(expected) : 0);
    ASSERT_LE(std::abs(double(actual[i]) - expected), bound)
        << "element " << i << ": " << actual[i] << " instead of " << expected;
  }
  EXPECT_TRUE(y.guards_hold());
}

struct LinearSize {
  std::int64_t n, in, out;
};

TEST(Bf16, LinearOfOddSizes) {
  // Around the blocks and panels of linear_bf16.inc, odd depths, less than a vector.
  for (const auto [n, in, out] : {LinearSize{1, 1, 1},
                                  {1, 30, 2},
                                  {17, 31, 5},
                                  {33, 64, 80},
                                  {7, 1025, 24},
                                  {1030, 9, 21},
                                  {200, 65, 70},
                                  {9, 16, 300},
                                  {65, 2, 529}})
    for (const DType wide : {DType::f32, kBf16})
      for (const GradMode mode : {GradMode::overwrite, GradMode::accumulate}) {
        SCOPED_TRACE(str(n, " rows, ", in, " in, ", out, " out, ", wide));
        const HostArray x = normal({n, in}, 1, kBf16), w = normal({out, in}, 2, kBf16);
        const HostArray dy = normal({n, out}, 3, kBf16), before_y = normal({n, out}, 4, wide);
        const HostArray before_x = normal({n, in}, 5, wide), before_w = normal({out, in}, 6, wide);
        const bool adds = mode == GradMode::accumulate;
        for (const SimdKernels* kernels : instruction_sets()) {
          CpuOps ops(n % 2 ? 1 : 3, *kernels);
          SCOPED_TRACE(ops.description());
          DeviceArray d_x(ops, x, kBf16, {3, 0}), d_w(ops, w, kBf16), d_dy(ops, dy, kBf16, {5, 1});
          DeviceArray y(ops, before_y, wide, {1, 0}), dx(ops, before_x, wide, {2, 0});
          DeviceArray dw(ops, before_w, wide);
          ops.linear_forward(y, d_x, d_w, mode);
          ops.linear_backward_input(dx, d_dy, d_w, mode);
          ops.linear_backward_weight(dw, d_dy, d_x);
          expect_product(
              y, adds ? before_y : HostArray({n, out}), in,
              [&, in = in](auto i, auto k) { return x[i * in + k]; },
              [&, in = in](auto k, auto o) { return w[o * in + k]; });
          expect_product(
              dx, adds ? before_x : HostArray({n, in}), out,
              [&, out = out](auto i, auto k) { return dy[i * out + k]; },
              [&, in = in](auto k, auto c) { return w[k * in + c]; });
          expect_product(
              dw, before_w, n, [&, out = out](auto o, auto k) { return dy[k * out + o]; },
              [&, in = in](auto k, auto c) { return x[k * in + c]; });
        }
      }
}

/// NaN and infinities reach the elements they are terms of, and no other.
TEST(Bf16, LinearSpreadsNanNoFurther) {
  for (const std::int64_t n : {4, 13}) {
    const std::int64_t in = 35, out = 21;
    HostArray x = normal({n, in}, 1, kBf16), w = normal({out, in}, 2, kBf16);
    x[3 * in + in - 1] = NAN;
    w[7 * in] = kInf;
    on_every_instruction_set([&](CpuOps& ops) {
      DeviceArray d_x(ops, x, kBf16, {1, 0}), d_w(ops, w, kBf16), y(ops, {n, out}, kBf16);
      ops.linear_forward(y, d_x, d_w);
      const HostArray result = y.read();
      for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t o = 0; o < out; ++o) {
          const float value = result[i * out + o];
          if (i == 3)
            EXPECT_TRUE(std::isnan(value));
          else if (o == 7)
            EXPECT_EQ(value, x[i * in] > 0 ? kInf : -kInf);
          else
            EXPECT_TRUE(std::isfinite(value));
        }
    });
  }
}

TEST(Bf16, LinearOfNoRows) {
  on_every_instruction_set([](CpuOps& ops) {
    DeviceArray x(ops, Shape{0, 4}, kBf16), y(ops, Shape{0, 2}, kBf16);
    DeviceArray w(ops, HostArray({2, 4}, 7), kBf16), dw(ops, HostArray({2, 4}, 7), DType::f32);
    ops.linear_forward(y, x, w);
    ops.linear_backward_input(x, y, w, GradMode::overwrite);
    ops.linear_backward_weight(dw, y, x);
    EXPECT_EQ(dw.read().values, std::vector<float>(8, 7));
    EXPECT_TRUE(y.guards_hold() && x.guards_hold());
  });
}

TEST(Bf16, NamesWhatDisagrees) {
  CpuOps ops(1);
  DeviceArray x(ops, {4, 6}, kBf16), w(ops, {3, 6}, DType::f32), y(ops, {4, 3}, kBf16);
  DeviceArray f16(ops, {4, 6}, DType::f16), norm(ops, Shape{6}, DType::f32);
  DeviceArray rstd(ops, Shape{4}, DType::f32);
  EXPECT_EQ(error_of([&] { ops.linear_forward(y, x, w); }),
            "linear_forward: y is [4,3] bf16; it must be f32");
  EXPECT_EQ(error_of([&] { ops.rmsnorm_forward(f16, rstd, f16, norm, 1e-5f); }),
            "rmsnorm_forward: x is [4,6] f16; it must be f32 or bf16");
  EXPECT_EQ(error_of([&] { ops.add_rmsnorm_forward(x, x, rstd, x, f16, norm, 1e-5f); }),
            "add_rmsnorm_forward: delta is [4,6] f16; it must be [4,6] bf16");
}

}  // namespace
}  // namespace lacuna::testing
