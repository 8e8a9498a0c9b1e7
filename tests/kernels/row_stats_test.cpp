#include <cmath>
#include <limits>
#include <vector>

#include "tests/kernels/row_stats_reference.h"
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
  RowStats stats;
  stats.draw = d.tokens;
  stats.p_draw = d.confidence;
  ops.row_stats(stats, logits, keys, Tensor(), p);
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
    const PlainStats row(&logits.at(m, 0), logits.cols(), keys[m], 0, p);
    d.tokens[m] = row.draw;
    d.confidence[m] = float(row.p_draw);
  }
  return d;
}

/// The results that take no noise, with memory for each.
struct Sure {
  explicit Sure(std::int64_t rows)
      : argmax(Shape{rows}),
        first(Shape{rows}),
        second(Shape{rows}),
        entropy(Shape{rows}),
        current(Shape{rows}) {}
  RowStats stats() {
    RowStats s;
    s.argmax = argmax;
    s.p_first = first;
    s.p_second = second;
    s.entropy = entropy;
    s.p_current = current;
    return s;
  }
  bool guards_hold() const {
    return argmax.guards_hold() && first.guards_hold() && second.guards_hold() &&
           entropy.guards_hold() && current.guards_hold();
  }
  bool same_bits(const Sure& other) const {
    return argmax.same_bits(other.argmax) && first.same_bits(other.first) &&
           second.same_bits(other.second) && entropy.same_bits(other.entropy) &&
           current.same_bits(other.current);
  }
  Array<std::int32_t> argmax;
  Array<float> first, second, entropy, current;
};

Sure sure_plainly(Array<float>& logits, const Array<std::int32_t>& current,
                  const SamplingParameters& p) {
  Sure s(logits.rows());
  for (std::int64_t m = 0; m < logits.rows(); ++m) {
    const PlainStats row(&logits.at(m, 0), logits.cols(), 0, current[m], p);
    s.argmax[m] = row.argmax;
    s.first[m] = float(row.p_first);
    s.second[m] = float(row.p_second);
    s.entropy[m] = float(row.entropy);
    s.current[m] = float(row.p_current);
  }
  return s;
}

// generate.py of LLaDA computes exp(logits) / (-log u)^temperature in f64.
TEST(RowStats, AgreesWithLladaInPyTorch) {
  const Golden golden("kernels_row_stats");
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

TEST(RowStats, AgreesWithPyTorch) {
  const Golden golden("kernels_row_stats");
  Array<float> logits = copied<float>(golden["logits"]);
  Array<std::int32_t> current = copied<std::int32_t>(golden["current"]);
  const Array<std::int32_t> ids = copied<std::int32_t>(golden["forbidden"]);
  on_every_backend([&](CpuOps& ops) {
    for (const std::string name : {"all", "allowed"}) {
      SCOPED_TRACE(name);
      SamplingParameters p;
      if (name == "allowed")
        for (std::int64_t i = 0; i < ids.count(); ++i) p.forbidden[std::size_t(i)] = ids[i];
      Sure found(logits.rows());
      ops.row_stats(found.stats(), logits, Tensor(), current, p);
      EXPECT_TRUE(found.argmax.same_bits(copied<std::int32_t>(golden[name + "_argmax"])));
      EXPECT_TRUE(is_close(found.first, golden[name + "_first"], 2e-6, 0));
      EXPECT_TRUE(is_close(found.second, golden[name + "_second"], 2e-6, 0));
      EXPECT_TRUE(is_close(found.entropy, golden[name + "_entropy"], 2e-6, 0));
      EXPECT_TRUE(is_close(found.current, golden[name + "_current"], 2e-6, 0));
    }
  });
}

// In f32 sums of at most 2048 terms, each of 2 units in the last place: 1e-6 relative.
TEST(RowStats, AgreesWithTheDefinitions) {
  for (const std::int64_t cols : {1, 2, 3, 127, 2048, 2049, 5003})
    for (const std::int64_t gap : {0, 3})
      for (const bool some : {false, true}) {
        if (some && cols < 5) continue;
        SCOPED_TRACE(str(cols, " columns, ", gap, " between rows, forbidden: ", some));
        const std::int64_t rows = 9;
        Array<float> logits = normal({rows, cols}, 1, 3, gap);
        for (std::int64_t v = 0; v < cols; ++v) {
          logits.at(1, v) = 0;                              // the entropy is log V
          logits.at(2, v) += 3e4f;                          // a common shift
          logits.at(3, v) *= 1e4f;                          // nothing but the first counts
          if (v % 3) logits.at(4, v) = -kInfinity;          // some impossible
          if (v != cols / 2) logits.at(5, v) = -kInfinity;  // all but one
          logits.at(6, v) = float(v);                       // each chunk has a new maximum
          logits.at(7, v) = float(-v);                      // none but the first has
        }
        logits.at(8, 0) = logits.at(8, cols - 1) = 20;  // the same twice, in two chunks
        Array<std::int32_t> current = integers(rows, cols, 4);
        SamplingParameters p;
        if (some) p.forbidden = {std::int32_t(cols - 1), 0, std::int32_t(cols / 2 + 1), 1};
        const Sure expected = sure_plainly(logits, current, p);
        on_every_backend([&](CpuOps& ops) {
          Sure found(rows);
          ops.row_stats(found.stats(), logits, Tensor(), current, p);
          EXPECT_TRUE(found.argmax.same_bits(expected.argmax));
          EXPECT_TRUE(is_close(found.first, Array<float>(expected.first), 5e-6, 0));
          EXPECT_TRUE(is_close(found.second, Array<float>(expected.second), 5e-6, 1e-37));
          EXPECT_TRUE(is_close(found.entropy, Array<float>(expected.entropy), 5e-6, 1e-6));
          EXPECT_TRUE(is_close(found.current, Array<float>(expected.current), 5e-6, 1e-37));
          EXPECT_TRUE(found.guards_hold());
        });
      }
}

// Neither the other rows nor the other results change a row's.
TEST(RowStats, ARowIsTheSameAlone) {
  on_every_instruction_set([](CpuOps& ops) {
    const std::int64_t rows = 7, cols = 4100;
    Array<float> logits = normal({rows, cols}, 1, 3);
    Array<std::int32_t> current = integers(rows, cols, 2), drawn(Shape{rows});
    Array<std::int64_t> keys = keys_from(5, rows);
    const SamplingParameters p{0.8, 1, 2, {17, -1, 3000, -1}};
    Sure together(rows), alone(rows);
    Array<float> confidence(Shape{rows});
    RowStats all = together.stats();
    all.draw = drawn;
    all.p_draw = confidence;
    ops.row_stats(all, logits, keys, current, p);
    const Drawn only_drawn = draw(ops, logits, keys, p);
    EXPECT_TRUE(only_drawn.tokens.same_bits(drawn));
    EXPECT_TRUE(only_drawn.confidence.same_bits(confidence));
    for (std::int64_t m = 0; m < rows; ++m) {
      const auto row = [m](Tensor t) { return t.row_range(m, 1); };
      RowStats stats = alone.stats(), one;
      one.argmax = row(stats.argmax);
      ops.row_stats(one, row(logits), Tensor(), Tensor(), p);
      for (Tensor RowStats::*result :
           {&RowStats::p_first, &RowStats::p_second, &RowStats::entropy, &RowStats::p_current}) {
        RowStats next;
        next.*result = row(stats.*result);
        ops.row_stats(next, row(logits), Tensor(), row(current), p);
      }
    }
    EXPECT_TRUE(alone.same_bits(together));
  });
}

TEST(RowStats, NeverDrawsWhatIsForbidden) {
  on_every_backend([](CpuOps& ops) {
    const std::int64_t rows = 300, cols = 6;
    Array<float> logits({rows, cols});
    for (std::int64_t m = 0; m < rows; ++m)
      for (std::int64_t v = 0; v < cols; ++v) logits.at(m, v) = v == 4 ? 50.0f : 0.0f;
    Array<std::int64_t> keys = keys_from(0, rows);
    for (const double temperature : {0.0, 1.0, 100.0}) {
      const Drawn d = draw(ops, logits, keys, {temperature, 3, 0, {4, 0, 4, -1}});
      for (std::int64_t m = 0; m < rows; ++m) {
        EXPECT_NE(d.tokens[m], 4);
        EXPECT_NE(d.tokens[m], 0);
        EXPECT_NEAR(d.confidence[m], 0.25, 1e-6);
      }
    }
    // Forbidden, what is not a number does no harm.
    for (std::int64_t m = 0; m < rows; ++m) logits.at(m, 4) = NAN;
    const Drawn d = draw(ops, logits, keys, {1, 3, 0, {4, -1, -1, -1}});
    for (std::int64_t m = 0; m < rows; ++m) EXPECT_NEAR(d.confidence[m], 0.2, 1e-6);
  });
}

// The bounds that spare most logarithms, and most random numbers, must never spare the winner's.
TEST(RowStats, DrawsWhatThePlainLoopDraws) {
  for (const std::int64_t cols : {1, 2, 127, 128, 129, 2049, 5003}) {
    for (const double temperature : {0.0, 1e-300, 1e-30, 1e-3, 0.3, 1.0, 5.0, 1e6}) {
      SCOPED_TRACE(str(cols, " columns, temperature ", temperature));
      const std::int64_t rows = 20;
      Array<float> logits = normal({rows, cols}, 1, 3);
      logits.at(5, cols / 3) = 40;  // far above the others
      for (std::int64_t v = 0; v < cols; ++v) {
        logits.at(1, v) = 0;                      // all alike: noise alone decides
        logits.at(2, v) += 3e4f;                  // a common shift, large beside the temperature
        logits.at(3, v) *= 1e4f;                  // steep
        if (v % 3) logits.at(4, v) = -kInfinity;  // some forbidden
      }
      // Some rows' positions cross 2^32, where the generator's index changes.
      Array<std::int64_t> keys = keys_from((std::int64_t{1} << 32) / cols - rows / 2, rows);
      SamplingParameters p{temperature, 5, 6};
      if (cols > 127) p.forbidden = {126, std::int32_t(cols - 1), -1, 0};
      Drawn expected = draw_plainly(logits, keys, p);
      on_every_instruction_set([&](CpuOps& ops) {
        Drawn d = draw(ops, logits, keys, p);
        EXPECT_TRUE(d.tokens.same_bits(expected.tokens));
        EXPECT_TRUE(is_close(d.confidence, expected.confidence, 5e-6, 1e-37));
      });
    }
  }
}

TEST(RowStats, IsTheSameForAnyThreadsAndBatches) {
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
TEST(RowStats, FollowsTheSoftmax) {
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

TEST(RowStats, DrawsAnewForAnotherStepSeedOrRow) {
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

TEST(RowStats, TiesGoToTheSmallestToken) {
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
TEST(RowStats, ShowsWhatIsNotANumber) {
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

TEST(RowStats, OfNoRows) {
  CpuOps ops(2);
  Array<float> logits(Shape{0, 9});
  Array<std::int64_t> keys(Shape{0});
  draw(ops, logits, keys, {1, 1, 1});
}

TEST(RowStats, NamesWhatIsWrong) {
  CpuOps ops(1);
  Array<float> logits = normal({2, 3}, 1), one(Shape{2}), short_one(Shape{1}), empty(Shape{2, 0});
  Array<std::int32_t> tokens(Shape{2}), current(Shape{2});
  current[0] = 2;
  current[1] = 3;
  Array<std::int64_t> keys = keys_from(0, 2);
  RowStats draws;
  draws.draw = tokens;
  draws.p_draw = one;
  const auto message = [&](const SamplingParameters& p) {
    return error_of([&] { ops.row_stats(draws, logits, keys, Tensor(), p); });
  };
  EXPECT_EQ(message({-1, 0, 0}), "row_stats: temperature is -1; it must be finite, 0 or more");
  EXPECT_EQ(message({kInfinity, 0, 0}),
            "row_stats: temperature is inf; it must be finite, 0 or more");
  EXPECT_EQ(message({NAN, 0, 0}), "row_stats: temperature is nan; it must be finite, 0 or more");
  EXPECT_EQ(message({1, 0, std::uint64_t{1} << 32}),
            "row_stats: step is 4294967296; it must be below 2^32");
  EXPECT_EQ(message({0, 0, 0, {-1, 3, -1, -1}}),
            "row_stats: forbidden[1] is 3; it must be -1 (none) or in [0,3)");
  EXPECT_EQ(message({0, 0, 0, {-1, -1, -1, -2}}),
            "row_stats: forbidden[3] is -2; it must be -1 (none) or in [0,3)");
  EXPECT_EQ(message({0, 0, 0, {2, 0, 2, 1}}), "row_stats: all 3 tokens are forbidden");
  EXPECT_EQ(message({0, 0, 0, {2, 0, 2, 0}}), "");
  const auto message_of = [&](const RowStats& stats, const Tensor& x, const Tensor& row_keys,
                              const Tensor& now) {
    return error_of([&] { ops.row_stats(stats, x, row_keys, now, {}); });
  };
  EXPECT_EQ(message_of(draws, empty, keys, Tensor()),
            "row_stats: logits is [2,0] f32; it must have columns");
  EXPECT_EQ(message_of(draws, logits, Tensor(), Tensor()),
            "row_stats: row_keys [] f32 has no memory");
  RowStats wrong;
  wrong.entropy = short_one;
  EXPECT_EQ(message_of(wrong, logits, keys, Tensor()),
            "row_stats: entropy is [1] f32; it must be [2] f32");
  wrong = RowStats();
  wrong.argmax = one;
  EXPECT_EQ(message_of(wrong, logits, keys, Tensor()),
            "row_stats: argmax is [2] f32; it must be [2] i32");
  wrong = RowStats();
  wrong.p_current = one;
  EXPECT_EQ(message_of(wrong, logits, Tensor(), current),
            "row_stats: current[1] is 3; it must be in [0,3)");
}

}  // namespace
}  // namespace lacuna::testing
