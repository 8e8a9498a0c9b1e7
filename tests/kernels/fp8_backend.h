#pragma once
#include <cmath>
#include <limits>

#include "core/fp8.h"
#include "tests/kernels/device_array.h"
#include "tests/support/golden.h"

// Products in FP8, on every backend.

namespace lacuna::testing {

/// A matrix [N,C] in FP8, in both orders.
template <class Code>
struct QuantisedArray {
  QuantisedArray(Ops& o, const Tensor& x)
      : ops(o),
        codes(o, {x.rows(), x.cols()}, dtype_of<Code>),
        transposed(o, {x.cols(), padded_for_fp8(x.rows())}, dtype_of<Code>),
        factor(o, {1}, DType::f32),
        amax(o, {1}, DType::f32) {
    ops.absolute_maximum(amax, x);
    ops.quantise_fp8(codes, transposed, factor, x, amax);
  }
  Fp8Matrix rows() const { return {codes, factor}; }
  Fp8Matrix columns() const { return {transposed, factor}; }
  bool guards_hold() const {
    return codes.guards_hold() && transposed.guards_hold() && factor.guards_hold() &&
           amax.guards_hold();
  }

  Ops& ops;
  DeviceArray codes, transposed, factor, amax;
};

/// A golden tensor as f32.
inline HostArray values_of(const Tensor& t) {
  HostArray x(t.shape);
  for (std::int64_t i = 0; i < t.count(); ++i)
    x[i] = t.dtype == DType::f64 ? float(t.as<double>()[i]) : t.as<float>()[i];
  return x;
}

template <class Code>
void expect_codes(const QuantisedArray<Code>& q, const Tensor& expected) {
  const auto codes = q.codes.template read_as<Code>(),
             transposed = q.transposed.template read_as<Code>();
  const std::int64_t rows = expected.rows(), cols = expected.cols(), padded = padded_for_fp8(rows);
  for (std::int64_t row = 0; row < padded; ++row)
    for (std::int64_t col = 0; col < cols; ++col) {
      const std::uint8_t code =
          row < rows ? expected.as<std::uint8_t>()[row * cols + col] : std::uint8_t{0};
      if (row < rows) {
        ASSERT_EQ(codes[std::size_t(row * cols + col)].bits, code) << row << "," << col;
      }
      ASSERT_EQ(transposed[std::size_t(col * padded + row)].bits, code) << row << "," << col;
    }
  EXPECT_TRUE(q.guards_hold());
}

/// A linear layer forward and backward: codes and scales are PyTorch's, results its f64 sums
/// rounded to bf16, or to f32. Operands and results are columns of wider tensors, too.
inline void expect_linear_in_fp8_agrees_with_pytorch(Ops& ops) {
  const Golden golden("fp8_linear");
  for (const std::int64_t gap : {0, 16}) {
    const Layout layout{gap, gap};
    const DeviceArray x(ops, values_of(golden["x"]), DType::bf16, layout),
        w(ops, values_of(golden["w"]), DType::bf16),
        dy(ops, values_of(golden["dy"]), DType::bf16, layout);
    const QuantisedArray<E4M3> qx(ops, x), qw(ops, w);
    const QuantisedArray<E5M2> qdy(ops, dy);
    expect_codes(qx, golden["x_codes"]);
    expect_codes(qw, golden["w_codes"]);
    expect_codes(qdy, golden["dy_codes"]);
    EXPECT_EQ(qx.factor.read().values, std::vector{float(golden["factors"].as<double>()[0])});
    EXPECT_EQ(qw.factor.read().values, std::vector{float(golden["factors"].as<double>()[1])});
    EXPECT_EQ(qdy.factor.read().values, std::vector{float(golden["factors"].as<double>()[2])});

    const auto expect = [&](const char* name, const Fp8Matrix& a, const Fp8Matrix& b) {
      const HostArray expected = values_of(golden[name]);
      float largest = 0;
      for (const float v : expected.values) largest = std::max(largest, std::fabs(v));
      for (const DType type : {DType::bf16, DType::f32}) {
        SCOPED_TRACE(str(name, " in ", type));
        // f32 sums of some 50 terms, which may be larger than what they add up to.
        const double sums = 0x1p-20 * double(largest);
        DeviceArray y(ops, expected.shape, type, layout);
        ops.multiply_fp8(y, a, b, GradMode::overwrite);
        EXPECT_TRUE(is_close(y.read(), expected, one_rounding(type), sums));
        ops.multiply_fp8(y, a, b, GradMode::accumulate);
        HostArray twice = expected;
        for (float& v : twice.values) v *= 2;
        EXPECT_TRUE(is_close(y.read(), twice, 2 * one_rounding(type), 2 * sums));
        EXPECT_TRUE(y.guards_hold());
      }
    };
    expect("y", qx.rows(), qw.rows());
    expect("dx", qdy.rows(), qw.columns());
    expect("dw", qdy.columns(), qx.columns());
  }
}

/// Sizes around the tiles of kernels; each element's code is that of its own division.
inline void expect_quantisation_of_odd_sizes(Ops& ops, DType type) {
  for (const auto& [rows, cols] : {std::pair<std::int64_t, std::int64_t>{0, 16},
                                   {1, 1},
                                   {17, 5},
                                   {130, 68},
                                   {300, 64},
                                   {3, 129}}) {
    SCOPED_TRACE(str(rows, " x ", cols));
    HostArray x = normal({rows, cols}, 1, type, 0.01);
    if (rows > 3) x[7] = -0.75f;
    const DeviceArray dx(ops, x, type, {cols % 2 ? 3 : 0, 0});
    const QuantisedArray<E5M2> q(ops, dx);
    float largest = 0;
    for (const float v : x.values) largest = std::max(largest, std::fabs(v));
    EXPECT_EQ(q.amax.read()[0], largest);
    const float f = fp8_factor<E5M2>(largest);
    EXPECT_EQ(q.factor.read()[0], f);
    std::vector<std::uint8_t> expected;
    for (const float v : x.values) expected.push_back(to_fp8<E5M2>(v / f).bits);
    expect_codes(q, Tensor(expected.data(), {rows, cols}));
  }
}

/// The gradient of a weight from no rows.
inline void expect_sums_over_nothing(Ops& ops) {
  const DeviceArray none(ops, {0, 16}, DType::bf16);
  const QuantisedArray<E4M3> x(ops, none);
  const QuantisedArray<E5M2> dy(ops, none);
  DeviceArray dw(ops, HostArray({16, 16}, 3), DType::f32);
  ops.multiply_fp8(dw, dy.columns(), x.columns(), GradMode::accumulate);
  EXPECT_EQ(dw.read().values, HostArray({16, 16}, 3).values);
  ops.multiply_fp8(dw, dy.columns(), x.columns(), GradMode::overwrite);
  EXPECT_EQ(dw.read().values, HostArray({16, 16}, 0).values);
}

/// NaN and infinities anywhere make the whole product NaN, so that the loss or the gradients' norm
/// shows them; zeros give zeros.
inline void expect_not_finite_is_kept(Ops& ops) {
  const DeviceArray w(ops, normal({16, 32}, 2, DType::bf16), DType::bf16);
  const QuantisedArray<E4M3> qw(ops, w);
  const float inf = std::numeric_limits<float>::infinity();
  for (const float bad : {std::nanf(""), inf, -inf, 0.0f}) {
    HostArray x = normal({20, 32}, 1, DType::bf16);
    if (bad == 0.0f) x = HostArray({20, 32});
    x[333] = bad;
    const DeviceArray dx(ops, x, DType::bf16);
    const QuantisedArray<E5M2> q(ops, dx);
    DeviceArray y(ops, {20, 16}, DType::bf16);
    ops.multiply_fp8(y, q.rows(), qw.rows(), GradMode::overwrite);
    for (const float v : y.read().values) {
      if (bad == 0.0f)
        EXPECT_EQ(v, 0.0f);
      else
        EXPECT_TRUE(std::isnan(v));
    }
  }
}

/// The amax that an operation leaves of its result, in place of that of an earlier call.
inline void expect_amax_of_results(Ops& ops, DType type) {
  for (const std::int64_t cols : {64, 9, 2500}) {
    const std::int64_t rows = 37;
    const DeviceArray x(ops, normal({rows, cols}, 1, type), type),
        delta(ops, normal({rows, cols}, 2, type), type), w(ops, normal({cols}, 3, type), type),
        gate_up(ops, normal({rows, 2 * cols}, 4, type), type);
    DeviceArray y(ops, {rows, cols}, type), sum(ops, {rows, cols}, type),
        d_gate_up(ops, {rows, 2 * cols}, type), rstd(ops, {rows}, DType::f32);
    DeviceArray amax(ops, HostArray({1}, 1e30f), DType::f32),
        other(ops, HostArray({1}, 1e30f), DType::f32), expected(ops, {1}, DType::f32);
    const auto expect = [&](const DeviceArray& found, const Tensor& of) {
      ops.absolute_maximum(expected, of);
      EXPECT_EQ(found.read().values, expected.read().values);
      EXPECT_TRUE(found.guards_hold());
    };
    ops.rmsnorm_forward(y, rstd, x, w, 1e-5f, amax);
    expect(amax, y);
    ops.add_rmsnorm_forward(sum, y, rstd, x, delta, w, 1e-5f, amax);
    expect(amax, y);
    ops.swiglu_forward(y, gate_up, amax);
    expect(amax, y);
    ops.swiglu_backward(d_gate_up, y, delta, gate_up, amax, other);
    expect(amax, d_gate_up);
    expect(other, y);
  }
}

}  // namespace lacuna::testing
