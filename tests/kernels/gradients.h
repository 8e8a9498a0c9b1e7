#pragma once
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/ops.h"
#include "tests/kernels/device_array.h"

// What every backend's operations on gradients must do: for the CPU's tests and the GPU's.

namespace lacuna::testing {

inline bool same_bits(const HostArray& a, const HostArray& b) {
  return a.count() == b.count() &&
         std::memcmp(a.values.data(), b.values.data(), a.values.size() * sizeof(float)) == 0;
}

/// A gradient that overwrites has the bits of one that is added to 0, whatever was there (NaN). -0,
/// which 0 + -0 is not, counts as 0. `add(dw, mode)` forms it.
template <class Add>
void expect_overwrites(Ops& ops, Shape shape, DType type, const Add& add) {
  DeviceArray added(ops, HostArray(shape, 0), type), overwritten(ops, shape, type);
  add(added, GradMode::accumulate);
  add(overwritten, GradMode::overwrite);
  HostArray result = overwritten.read();
  for (float& x : result.values) x += 0.0f;
  EXPECT_TRUE(same_bits(result, added.read())) << shape << ' ' << type;
  EXPECT_TRUE(overwritten.guards_hold());
}

/// Of weights, norms and embeddings; of no rows too. `type`: of the activations.
inline void expect_gradients_overwrite(Ops& ops, DType type) {
  for (const std::int64_t rows : {0, 1, 37, 300})
    for (const DType gradient : {DType::f32, type}) {
      const std::int64_t out = 24, in = 40;
      const DeviceArray dy(ops, normal({rows, out}, 1, type), type),
          x(ops, normal({rows, in}, 2, type), type), dx(ops, Shape{rows, in}, type);
      expect_overwrites(ops, {out, in}, gradient, [&](Tensor dw, GradMode mode) {
        ops.linear_backward_weight(dw, dy, x, mode);
      });
      const DeviceArray w(ops, normal(Shape{in}, 3, type), type),
          rstd(ops, HostArray(Shape{rows}, 0.7f), DType::f32);
      const DeviceArray of_norm(ops, normal({rows, in}, 4, type), type);
      expect_overwrites(ops, Shape{in}, gradient, [&](Tensor dw, GradMode mode) {
        ops.rmsnorm_backward(dx, dw, of_norm, x, rstd, w, GradMode::overwrite, mode);
      });
      std::vector<std::int32_t> ids;
      for (std::int32_t i = 0; i < rows; ++i) ids.push_back(i * i % 11);
      const DeviceArray which(ops, Shape{rows}, ids);
      expect_overwrites(ops, {13, in}, gradient, [&](Tensor dw, GradMode mode) {
        ops.embedding_backward(dw, of_norm, which, mode);
      });
    }
}

/// The squares of several tensors, aligned to packs and not, some of them empty; in either mode.
inline void expect_squares_of_many(Ops& ops, DType type) {
  const std::int64_t sizes[] = {3, 0, 70000, 1000, 131072, 1};
  std::vector<std::unique_ptr<DeviceArray>> arrays;
  std::vector<Tensor> tensors;
  double expected = 0;
  for (const std::int64_t n : sizes) {
    const HostArray x = normal(Shape{n}, std::uint64_t(n), type);
    for (const float value : x.values) expected += double(value) * double(value);
    arrays.push_back(std::make_unique<DeviceArray>(ops, x, type, Layout{0, n == 1000 ? 1 : 0}));
    tensors.push_back(*arrays.back());
  }
  const DeviceArray sum(ops, Shape{1}, std::vector<double>{NAN});
  const auto value = [&] { return sum.read_as<double>()[0]; };
  ops.add_squares(sum, tensors, 2, GradMode::overwrite);
  const double first = value();
  EXPECT_NEAR(first, 2 * expected, 1e-12 * expected);
  ops.add_squares(sum, tensors, 1);
  EXPECT_NEAR(value(), 3 * expected, 1e-12 * expected);
  ops.add_squares(sum, tensors, 2, GradMode::overwrite);
  EXPECT_EQ(value(), first);  // in a fixed order
  // A factor of 0 tells of what is not finite, and of nothing else.
  ops.add_squares(sum, tensors, 0);
  EXPECT_EQ(value(), first);
  const DeviceArray infinite(ops, HostArray(Shape{1}, INFINITY), type);
  ops.add_squares(sum, {tensors[0], infinite}, 0);
  EXPECT_TRUE(std::isnan(value()));
  ops.add_squares(sum, {}, 1, GradMode::overwrite);
  EXPECT_EQ(value(), 0);
}

/// Each element of a sum is rounded with the word of its number, in either mode.
inline void expect_gradient_sums(Ops& ops) {
  const std::int64_t n = 9001;
  const HostArray before = rounded(normal(Shape{n}, 1, DType::bf16), DType::bf16),
                  x = normal(Shape{n}, 2, DType::f32);
  const GradientRounding rounding{0x123456789abcdef, 77, (1 << 20) - 1};
  const ElementNumbers numbers[] = {
      {.begin = 3, .first = 2},
      {.begin = 5, .first = 11, .width = 37, .stride = 101},
      {.begin = (std::uint64_t{1} << 32) - 777, .first = 1, .width = 5000, .stride = 5001}};
  for (const GradMode mode : {GradMode::overwrite, GradMode::accumulate})
    for (const std::int64_t shift : {0, 1}) {
      std::vector<std::unique_ptr<DeviceArray>> sums;
      const DeviceArray dx(ops, x, DType::f32, {0, shift}), none(ops, Shape{0}, DType::f32),
          empty(ops, Shape{0}, DType::bf16);
      std::vector<GradientSumPiece> pieces;
      for (const ElementNumbers& of : numbers) {
        sums.push_back(mode == GradMode::accumulate
                           ? std::make_unique<DeviceArray>(ops, before, DType::bf16)
                           : std::make_unique<DeviceArray>(ops, Shape{n}, DType::bf16));
        pieces.push_back({*sums.back(), dx, of});
        pieces.push_back({empty, none, of});
      }
      ops.add_to_gradient_sums(pieces, mode, rounding);
      for (std::size_t p = 0; p < sums.size(); ++p) {
        const auto found = sums[p]->read_as<BFloat16>();
        for (std::int64_t i = 0; i < n; ++i) {
          const std::uint64_t number = numbers[p][i];
          const float sum = mode == GradMode::accumulate ? before[i] + x[i] : x[i];
          const std::uint32_t word = rounding.words(number)[number % 4];
          ASSERT_EQ(found[std::size_t(i)].bits, round_stochastically(sum, word & 0xffff).bits) << i;
        }
        EXPECT_TRUE(sums[p]->guards_hold());
      }
    }
}

/// A softmax over the ids of three ranks, from what each knows of its own.
inline void expect_complete_logits(Ops& ops, DType type) {
  const std::int64_t rows = 200;
  const int ranks = 3;
  const std::int32_t first = 10, ids = 7;
  const HostArray lse = normal({ranks, rows}, 1, DType::f32, 5);
  std::vector<std::int32_t> targets;
  for (std::int64_t m = 0; m < rows; ++m) targets.push_back(std::int32_t(m % 25));
  const DeviceArray d_lse(ops, lse, DType::f32), logits(ops, {rows, ids + 1}, type, {3, 0}),
      d_targets(ops, Shape{rows}, targets), own(ops, Shape{rows}, DType::i32),
      loss(ops, HostArray(Shape{rows}, 2), DType::f32);
  ops.complete_logits(logits.tensor().column_range(ids, 1), own, d_lse, d_targets, 1, first, ids);
  ops.keep_own_losses(loss, own, ids);
  const HostArray column = logits.read(), losses = loss.read();
  const auto found = own.read_as<std::int32_t>();
  for (std::int64_t m = 0; m < rows; ++m) {
    const double expected =
        std::log(std::exp(double(lse[m])) + std::exp(double(lse[2 * rows + m])));
    EXPECT_NEAR(column[m * (ids + 1) + ids], expected,
                one_rounding(type) * std::abs(expected) + 1e-6);
    const std::int32_t target = targets[std::size_t(m)] - first;
    const bool is_own = target >= 0 && target < ids;
    EXPECT_EQ(found[std::size_t(m)], is_own ? target : ids);
    EXPECT_EQ(losses[m], is_own ? 2 : 0);
  }
  EXPECT_TRUE(logits.guards_hold() && own.guards_hold() && loss.guards_hold());
}

}  // namespace lacuna::testing
