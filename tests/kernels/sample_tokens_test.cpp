#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/kernels/sampling_reference.h"
#include "tests/kernels/support.h"

namespace lacuna::testing {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Drawn {
  Array<std::int32_t> tokens;
  Array<float> confidence;
};

Drawn draw(CpuOps& ops, Array<float>& logits, Array<std::int64_t>& keys,
           const SamplingParameters& p) {
  Drawn d{Array<std::int32_t>(Shape{logits.rows()}), Array<float>(Shape{logits.rows()})};
  ops.sample_tokens(d.tokens, d.confidence, logits, keys, p);
  EXPECT_TRUE(d.tokens.guards_hold() && d.confidence.guards_hold());
  return d;
}

Array<std::int64_t> keys_from(std::int64_t first, std::int64_t n) {
  Array<std::int64_t> keys(Shape{n});
  for (std::int64_t i = 0; i < n; ++i) keys[i] = first + i;
  return keys;
}

Drawn draw_plainly(Array<float>& logits, const Array<std::int64_t>& keys,
                   const SamplingParameters& p) {
  Drawn d{Array<std::int32_t>(Shape{logits.rows()}), Array<float>(Shape{logits.rows()})};
  for (std::int64_t m = 0; m < logits.rows(); ++m) {
    const PlainDraw drawn = draw_row_plainly(&logits.at(m, 0), logits.cols(), keys[m], p);
    d.tokens[m] = drawn.token;
    d.confidence[m] = float(drawn.confidence);
  }
  return d;
}

// generate.py of LLaDA computes exp(logits) / (-log u)^temperature in f64.
TEST(SampleTokens, AgreesWithLladaInPyTorch) {
  const Golden golden("kernels_sample_tokens");
  const std::uint64_t seed = std::stoull(golden.metadata("seed"));
  const std::uint64_t step = std::stoull(golden.metadata("step"));
  Array<float> logits = copied<float>(golden["logits"]);
  Array<std::int64_t> keys = copied<std::int64_t>(golden["row_keys"]);
  const struct {
    std::string name;
    double temperature;
  } cases[] = {{"greedy", 0}, {"cool", 0.5}, {"plain", 1}, {"hot", 2}};
  on_every_backend([&](CpuOps& ops) {
    for (const auto& c : cases) {
      SCOPED_TRACE(c.name);
      Drawn d = draw(ops, logits, keys, {c.temperature, seed, step});
      EXPECT_TRUE(d.tokens.same_bits(copied<std::int32_t>(golden[c.name + "_tokens"])));
      EXPECT_TRUE(is_close(d.confidence, golden[c.name + "_confidence"], 2e-6, 0));
    }
  });
}

// The bound that spares most logarithms must never spare the winner's.
TEST(SampleTokens, DrawsWhatThePlainLoopDraws) {
  for (const std::int64_t cols : {1, 2, 127, 128, 129, 2049, 5003}) {
    for (const double temperature : {0.0, 1e-300, 1e-30, 1e-3, 0.3, 1.0, 5.0, 1e6}) {
      SCOPED_TRACE(str(cols, " columns, temperature ", temperature));
      const std::int64_t rows = 20;
      Array<float> logits = normal({rows, cols}, 1, 3);
      for (std::int64_t v = 0; v < cols; ++v) {
        logits.at(1, v) = 0;                      // all alike: noise alone decides
        logits.at(2, v) += 3e4f;                  // a common shift, large beside the temperature
        logits.at(3, v) *= 1e4f;                  // steep
        if (v % 3) logits.at(4, v) = -kInfinity;  // some forbidden
      }
      // Some rows' positions cross 2^32, where the generator's index changes.
      Array<std::int64_t> keys = keys_from((std::int64_t{1} << 32) / cols - rows / 2, rows);
      const SamplingParameters p{temperature, 5, 6};
      Drawn expected = draw_plainly(logits, keys, p);
      on_every_instruction_set([&](CpuOps& ops) {
        Drawn d = draw(ops, logits, keys, p);
        EXPECT_TRUE(d.tokens.same_bits(expected.tokens));
        EXPECT_TRUE(is_close(d.confidence, expected.confidence, 5e-6, 1e-37));
      });
    }
  }
}

TEST(SampleTokens, IsTheSameForAnyThreadsAndBatches) {
  Array<float> logits = normal({40, 700}, 1);
  Array<std::int64_t> keys = keys_from(1000, 40);
  const SamplingParameters p{1, 2, 3};
  CpuOps one(1);
  const Drawn expected = draw(one, logits, keys, p);
  on_every_backend([&](CpuOps& ops) {
    const Drawn d = draw(ops, logits, keys, p);
    EXPECT_TRUE(d.tokens.same_bits(expected.tokens));
  });
  // Row 17 alone: its key names its noise, wherever it lies.
  Array<float> row({1, 700});
  for (std::int64_t v = 0; v < 700; ++v) row[v] = logits.at(17, v);
  List<std::int64_t> key{1017};
  EXPECT_EQ(draw(one, row, key, p).tokens[0], expected.tokens[17]);
}

// argmax of logits + temperature * Gumbel noise is distributed as softmax(logits / temperature).
// By Hoeffding's inequality and a union over the tokens, some frequency among n draws is off by
// more than d with a chance below 2 V exp(-2 n d^2): here 10^-9.
TEST(SampleTokens, FollowsTheSoftmax) {
  CpuOps ops(2);
  const std::int64_t n = 200000;
  const List<float> one{0.0f, 1.0f, -1.0f, 2.0f, 0.5f, -kInfinity, 1.5f};
  const std::int64_t vocab = one.count();
  const double d = std::sqrt(std::log(2e9 * double(vocab)) / (2 * double(n)));
  Array<float> logits({n, vocab});
  for (std::int64_t m = 0; m < n; ++m)
    for (std::int64_t v = 0; v < vocab; ++v) logits.at(m, v) = one[v];
  Array<std::int64_t> keys = keys_from(0, n);
  for (const double temperature : {0.5, 1.0, 3.0}) {
    const Drawn drawn = draw(ops, logits, keys, {temperature, 8, 0});
    std::vector<double> counts(static_cast<std::size_t>(vocab));
    for (std::int64_t m = 0; m < n; ++m) ++counts[std::size_t(drawn.tokens[m])];
    double sum = 0;
    for (std::int64_t v = 0; v < vocab; ++v) sum += std::exp(double(one[v]) / temperature);
    for (std::int64_t v = 0; v < vocab; ++v)
      EXPECT_NEAR(counts[std::size_t(v)] / double(n), std::exp(double(one[v]) / temperature) / sum,
                  d)
          << v << " at " << temperature;
    EXPECT_EQ(counts[5], 0) << "impossible";
  }
}

TEST(SampleTokens, DrawsAnewForAnotherStepSeedOrRow) {
  CpuOps ops(1);
  Array<float> logits({1000, 50});
  logits.set(0);
  Array<std::int64_t> keys = keys_from(0, 1000), others = keys_from(1000, 1000);
  const Drawn first = draw(ops, logits, keys, {1, 1, 1});
  const auto equal = [&](const Drawn& other) {
    int n = 0;
    for (std::int64_t m = 0; m < 1000; ++m) n += first.tokens[m] == other.tokens[m];
    return n;
  };
  // Two independent uniform draws of 50 agree in 20 of 1000 rows, with deviation 4.4.
  EXPECT_LT(equal(draw(ops, logits, keys, {1, 1, 2})), 60);
  EXPECT_LT(equal(draw(ops, logits, keys, {1, 2, 1})), 60);
  EXPECT_LT(equal(draw(ops, logits, others, {1, 1, 1})), 60);
  // 2^32 positions on, the low halves are the same and the noise is not.
  Array<float> wide({20, 4096});
  wide.set(0);
  Array<std::int64_t> near = keys_from(0, 20), far = keys_from(std::int64_t{1} << 20, 20);
  const Drawn a = draw(ops, wide, near, {1, 1, 1}), b = draw(ops, wide, far, {1, 1, 1});
  int same = 0;
  for (std::int64_t m = 0; m < 20; ++m) same += a.tokens[m] == b.tokens[m];
  EXPECT_LT(same, 3);
}

TEST(SampleTokens, TiesGoToTheSmallestToken) {
  on_every_backend([](CpuOps& ops) {
    Array<float> logits({3, 5000});
    logits.set(-1);
    logits.at(0, 4999) = logits.at(0, 2500) = logits.at(0, 2047) = 7;
    Array<std::int64_t> keys = keys_from(0, 3);
    const Drawn d = draw(ops, logits, keys, {});
    EXPECT_EQ(d.tokens[0], 2047);
    EXPECT_EQ(d.tokens[1], 0);
    EXPECT_NEAR(d.confidence[1], 1.0 / 5000, 1e-9);
  });
}

// Rows that no token can come from are visible as such, and do no harm.
TEST(SampleTokens, ShowsWhatIsNotANumber) {
  on_every_instruction_set([](CpuOps& ops) {
    for (const double temperature : {0.0, 1.0}) {
      Array<float> logits({4, 300});
      logits.set(0);
      logits.at(0, 7) = NAN;
      logits.at(3, 9) = kInfinity;
      for (std::int64_t v = 0; v < 300; ++v) {
        logits.at(1, v) = NAN;
        logits.at(2, v) = -kInfinity;
      }
      Array<std::int64_t> keys = keys_from(0, 4);
      const Drawn d = draw(ops, logits, keys, {temperature, 1, 1});
      EXPECT_NE(d.tokens[0], 7);
      EXPECT_EQ(d.tokens[3], 9);
      for (std::int64_t m = 0; m < 4; ++m) {
        EXPECT_TRUE(std::isnan(d.confidence[m])) << m;
        EXPECT_TRUE(d.tokens[m] >= 0 && d.tokens[m] < 300);
      }
    }
  });
}

TEST(SampleTokens, OfNoRows) {
  CpuOps ops(2);
  Array<float> logits(Shape{0, 9});
  Array<std::int64_t> keys(Shape{0});
  draw(ops, logits, keys, {1, 1, 1});
}

TEST(SampleTokens, NamesWhatIsWrong) {
  CpuOps ops(1);
  Array<float> logits = normal({2, 3}, 1), confidence(Shape{2}), short_confidence(Shape{1}),
               empty(Shape{2, 0});
  Array<std::int32_t> tokens(Shape{2});
  Array<std::int64_t> keys = keys_from(0, 2);
  const auto message = [&](const SamplingParameters& p) {
    return error_of([&] { ops.sample_tokens(tokens, confidence, logits, keys, p); });
  };
  EXPECT_EQ(message({-1, 0, 0}), "sample_tokens: temperature is -1; it must be finite, 0 or more");
  EXPECT_EQ(message({kInfinity, 0, 0}),
            "sample_tokens: temperature is inf; it must be finite, 0 or more");
  EXPECT_EQ(message({NAN, 0, 0}),
            "sample_tokens: temperature is nan; it must be finite, 0 or more");
  EXPECT_EQ(message({1, 0, std::uint64_t{1} << 32}),
            "sample_tokens: step is 4294967296; it must be below 2^32");
  EXPECT_EQ(error_of([&] { ops.sample_tokens(tokens, short_confidence, logits, keys, {}); }),
            "sample_tokens: confidence is [1] f32; it must be [2] f32");
  EXPECT_EQ(error_of([&] { ops.sample_tokens(tokens, confidence, empty, keys, {}); }),
            "sample_tokens: logits is [2,0] f32; it must have columns");
}

}  // namespace
}  // namespace lacuna::testing
