#include <cmath>

#include "core/philox.h"
#include "tests/kernels/support.h"

namespace lacuna::testing {
namespace {

constexpr std::int32_t kMask = -7;  // unlike any token drawn here

struct Corrupted {
  Array<std::int32_t> noisy;
  Array<std::uint8_t> masked;
};

Corrupted corrupt(CpuOps& ops, Array<std::int32_t>& clean, Array<float> p,
                  Array<std::int64_t> samples, std::uint64_t seed) {
  Corrupted c{Array<std::int32_t>({clean.rows(), clean.cols()}),
              Array<std::uint8_t>({clean.rows(), clean.cols()})};
  ops.corrupt(c.noisy, c.masked, clean, p, samples, seed, kMask);
  EXPECT_TRUE(c.noisy.guards_hold() && c.masked.guards_hold());
  return c;
}

Array<std::int32_t> tokens(std::int64_t rows, std::int64_t cols) {
  Array<std::int32_t> clean({rows, cols});
  for (std::int64_t i = 0; i < clean.count(); ++i) clean[i] = std::int32_t(i % 1000);
  return clean;
}

// The file's numbers come from a second writing of Philox, in Python.
TEST(Corrupt, AgreesWithTheSecondImplementation) {
  const Golden golden("kernels_corrupt");
  const std::uint64_t seed = std::stoull(golden.metadata("seed"));
  const std::int32_t mask_token = std::stoi(golden.metadata("mask_token"));
  on_every_backend([&](CpuOps& ops) {
    Array<std::int32_t> noisy({4, 13});
    Array<std::uint8_t> masked({4, 13});
    ops.corrupt(noisy, masked, golden["clean"], golden["p"], golden["samples"], seed, mask_token);
    EXPECT_TRUE(noisy.same_bits(copied<std::int32_t>(golden["noisy"])));
    EXPECT_TRUE(masked.same_bits(copied<std::uint8_t>(golden["masked"])));
  });
}

TEST(Corrupt, IsWhatTheGeneratorSays) {
  Array<std::int32_t> clean = tokens(3, 5001);
  const List<float> p{0.25f, 0.5f, 0.999f};
  const List<std::int64_t> samples{std::int64_t{1} << 35, 0, 17};
  on_every_backend([&](CpuOps& ops) {
    const Corrupted c = corrupt(ops, clean, p, samples, 11);
    for (std::int64_t b = 0; b < 3; ++b) {
      const CounterRng rng{11, Purpose::mask, std::uint64_t(samples[b])};
      for (std::int64_t i = 0; i < 5001; ++i) {
        const bool masked = rng.uniform(std::uint32_t(i)) < p[b];
        ASSERT_EQ(c.masked.at(b, i), masked);
        ASSERT_EQ(c.noisy.at(b, i), masked ? kMask : clean.at(b, i));
      }
    }
  });
}

// The number of masked among n tokens is binomial. By Hoeffding's inequality the share is off by
// more than d with a chance below 2 exp(-2 n d^2): here one in 10^9 per ratio, if all is well.
TEST(Corrupt, MasksTheShareAskedFor) {
  CpuOps ops(2);
  const std::int64_t rows = 64, cols = 4096;
  const double n = double(rows * cols), d = std::sqrt(std::log(2e9) / (2 * n));
  Array<std::int32_t> clean = tokens(rows, cols);
  Array<std::int64_t> samples(Shape{rows});
  for (std::int64_t b = 0; b < rows; ++b) samples[b] = b;
  for (const float ratio : {0.001f, 0.15f, 0.5f, 0.9f}) {
    Array<float> p(Shape{rows});
    p.set(ratio);
    const Corrupted c = corrupt(ops, clean, p, samples, 3);
    double masked = 0, pairs = 0;
    for (std::int64_t b = 0; b < rows; ++b) {
      for (std::int64_t i = 0; i < cols; ++i) {
        masked += c.masked.at(b, i);
        // Neighbours, and the same place in the next row, are independent.
        if (i % 2 == 0 && b % 2 == 0) pairs += c.masked.at(b, i) * c.masked.at(b + 1, i + 1);
      }
    }
    EXPECT_NEAR(masked / n, double(ratio), d);
    EXPECT_NEAR(pairs / (n / 4), double(ratio) * double(ratio), 2 * d);  // a quarter of the trials
  }
}

TEST(Corrupt, MasksNothingAtZeroAndEverythingAtOne) {
  CpuOps ops(1);
  Array<std::int32_t> clean = tokens(2, 3000);
  const Corrupted c = corrupt(ops, clean, List<float>{0.0f, 1.0f}, List<std::int64_t>{0, 0}, 5);
  for (std::int64_t i = 0; i < 3000; ++i) {
    ASSERT_EQ(c.masked.at(0, i), 0);
    ASSERT_EQ(c.masked.at(1, i), 1);
  }
}

TEST(Corrupt, MasksMoreAsTheRatioGrows) {
  CpuOps ops(1);
  Array<std::int32_t> clean = tokens(2, 3000);
  const Corrupted c = corrupt(ops, clean, List<float>{0.3f, 0.6f}, List<std::int64_t>{4, 4}, 5);
  for (std::int64_t i = 0; i < 3000; ++i) ASSERT_LE(c.masked.at(0, i), c.masked.at(1, i));
}

// A sequence's mask depends on its global number and positions, not on who computes it with what.
TEST(Corrupt, DoesNotDependOnTheBatch) {
  CpuOps ops(3);
  Array<std::int32_t> clean = tokens(3, 301);
  const Corrupted together =
      corrupt(ops, clean, List<float>{0.5f, 0.4f, 0.3f}, List<std::int64_t>{7, 8, 9}, 5);
  Array<std::int32_t> last({1, 100});
  for (std::int64_t i = 0; i < 100; ++i) last[i] = clean.at(2, i);
  const Corrupted alone = corrupt(ops, last, List<float>{0.3f}, List<std::int64_t>{9}, 5);
  for (std::int64_t i = 0; i < 100; ++i) ASSERT_EQ(alone.masked.at(0, i), together.masked.at(2, i));
}

TEST(Corrupt, OfNothing) {
  CpuOps ops(2);
  Array<std::int32_t> none(Shape{0, 8}), no_columns(Shape{2, 0});
  corrupt(ops, none, List<float>{}, List<std::int64_t>{}, 1);
}

TEST(Corrupt, NamesWhatDisagrees) {
  CpuOps ops(1);
  Array<std::int32_t> clean = tokens(2, 3), noisy({2, 3}), wrong({3, 2});
  Array<std::uint8_t> masked({2, 3});
  List<float> p{0.5f, 0.5f}, one{0.5f};
  List<std::int64_t> samples{0, 1};
  List<std::int32_t> narrow_samples{0, 1};
  EXPECT_EQ(error_of([&] { ops.corrupt(noisy, masked, clean, one, samples, 1, 0); }),
            "corrupt: p is [1] f32; it must be [2] f32");
  EXPECT_EQ(error_of([&] { ops.corrupt(noisy, masked, clean, p, narrow_samples, 1, 0); }),
            "corrupt: samples is [2] i32; it must be [2] i64");
  EXPECT_EQ(error_of([&] { ops.corrupt(wrong, masked, clean, p, samples, 1, 0); }),
            "corrupt: noisy is [3,2] i32; it must be [2,3] i32");
  EXPECT_EQ(error_of([&] { ops.corrupt(noisy, noisy, clean, p, samples, 1, 0); }),
            "corrupt: masked is [2,3] i32; it must be [2,3] u8");
}

}  // namespace
}  // namespace lacuna::testing
