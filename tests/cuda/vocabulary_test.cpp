#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "core/tensor_of.h"
#include "tests/cuda/support.h"
#include "tests/kernels/row_stats_reference.h"

namespace lacuna::testing {
namespace {

using CudaVocabularyTest = CudaOpsTest;
INSTANTIATE_TEST_SUITE_P(Cuda, CudaVocabularyTest, ::testing::ValuesIn(all_cases()), case_name);

TEST_P(CudaVocabularyTest, CrossEntropy) {
  for (const std::int64_t vocab : {1, 9, 512, 5003, 6000}) {
    const std::int64_t rows = 4;
    const HostArray logits = normal({rows, vocab}, 1, type(), 4);
    std::vector<std::int32_t> targets = integers(rows, vocab, 2);
    const HostArray weights = normal({rows}, 3, DType::f32);
    DeviceArray dlogits(device(), logits, type()), dtargets(device(), {rows}, targets);
    DeviceArray loss(device(), {rows}, DType::f32), dweights(device(), weights, DType::f32);
    device().cross_entropy_forward(loss, dlogits, dtargets);
    HostArray expected = logits, expected_loss({rows});
    const Tensor host_targets(targets.data(), {rows});
    host.cross_entropy_forward(expected_loss, logits, host_targets);
    EXPECT_TRUE(is_close(loss.read(), expected_loss, 1e-6, 20 * 0x1p-22));
    EXPECT_EQ(dlogits.read().values, logits.values);
    device().cross_entropy_backward(loss, dlogits, dtargets, dweights);
    host.cross_entropy_backward(expected_loss, expected, host_targets, weights);
    EXPECT_TRUE(is_close(loss.read(), expected_loss, 1e-6, 20 * 0x1p-22));
    // At the target, p - 1: an error relative to 1, times a weight below 4.
    EXPECT_TRUE(is_close(dlogits.read(), expected, rounding(), 4e-6));
    EXPECT_TRUE(dlogits.guards_hold() && loss.guards_hold());
  }
}

/// The bits depend neither on how far apart rows lie nor on where they begin, which decide how they
/// are loaded; and nothing between them is written.
TEST_P(CudaVocabularyTest, CrossEntropyOfStridedLogits) {
  for (const std::int64_t vocab : {1, 9, 512, 5003}) {
    const std::int64_t rows = 3;
    const HostArray logits = normal({rows, vocab}, 1, type(), 4);
    const HostArray weights = normal({rows}, 3, DType::f32);
    DeviceArray targets(device(), {rows}, integers(rows, vocab, 2)),
        dweights(device(), weights, DType::f32);
    std::vector<float> expected_loss, expected;
    for (const Layout layout : {Layout{}, Layout{64 - vocab % 64, 0}, Layout{1, 0}, Layout{0, 1}}) {
      DeviceArray x(device(), logits, type(), layout), loss(device(), {rows}, DType::f32);
      device().cross_entropy_forward(loss, x, targets);
      const std::vector<float> forward_loss = loss.read().values;
      device().cross_entropy_backward(loss, x, targets, dweights);
      if (expected.empty()) {
        expected_loss = loss.read().values;
        expected = x.read().values;
      }
      EXPECT_EQ(forward_loss, expected_loss) << vocab << ' ' << layout.gap << ' ' << layout.shift;
      EXPECT_EQ(loss.read().values, expected_loss) << vocab << ' ' << layout.gap;
      EXPECT_EQ(x.read().values, expected) << vocab << ' ' << layout.gap << ' ' << layout.shift;
      EXPECT_TRUE(x.guards_hold());
    }
  }
}

/// Logits of -inf (excluded tokens) and very large ones.
TEST_P(CudaVocabularyTest, CrossEntropyOfExtremeLogits) {
  const float inf = std::numeric_limits<float>::infinity();
  HostArray logits({3, 16}, -inf);
  logits[3] = 2;
  for (std::int64_t v = 0; v < 16; ++v) logits[16 + v] = v == 5 ? 1e30f : -1e30f;
  for (std::int64_t v = 0; v < 16; ++v) logits[32 + v] = -1000;
  const std::vector<std::int32_t> targets = {3, 5, 0};
  DeviceArray dlogits(device(), logits, type()), dtargets(device(), {3}, targets);
  DeviceArray loss(device(), {3}, DType::f32), weights(device(), HostArray({3}, 1), DType::f32);
  device().cross_entropy_backward(loss, dlogits, dtargets, weights);
  EXPECT_EQ(loss.read()[0], 0);
  EXPECT_EQ(loss.read()[1], 0);
  EXPECT_NEAR(loss.read()[2], std::log(16.0), 1e-6);
  const HostArray gradient = dlogits.read();
  for (std::int64_t i = 0; i < 32; ++i) EXPECT_EQ(gradient[i], 0) << i;
  EXPECT_NEAR(gradient[32], 1.0 / 16 - 1, 1e-6 + rounding());
}

TEST_P(CudaVocabularyTest, TargetsOutOfRangeGiveNan) {
  const std::vector<std::int32_t> targets = {-1, 4, 0};
  DeviceArray logits(device(), HostArray({3, 4}), type()), dtargets(device(), {3}, targets);
  DeviceArray loss(device(), {3}, DType::f32);
  device().cross_entropy_forward(loss, logits, dtargets);
  EXPECT_TRUE(std::isnan(loss.read()[0]) && std::isnan(loss.read()[1]));
  EXPECT_NEAR(loss.read()[2], std::log(4.0), 1e-6);
}

TEST_P(CudaVocabularyTest, Guide) {
  for (const std::int64_t vocab : {5, 64}) {
    const HostArray x = normal({3, vocab}, 1, type()), u = normal({3, vocab}, 2, type());
    DeviceArray dx(device(), x, type()), du(device(), u, type());
    HostArray expected = x;
    host.apply_cfg(expected, u, 1.5f);
    device().apply_cfg(dx, du, 1.5f);
    // Terms below 5 times 2.5.
    EXPECT_TRUE(is_close(dx.read(), expected, rounding(), 12.5 * 0x1p-22));
    EXPECT_TRUE(dx.guards_hold());
  }
}

/// The results of RowStats for some rows, on the device.
struct DeviceStats {
  DeviceStats(CudaOps& ops, std::int64_t rows)
      : draw(ops, {rows}, DType::i32),
        argmax(ops, {rows}, DType::i32),
        p_draw(ops, {rows}, DType::f32),
        p_first(ops, {rows}, DType::f32),
        p_second(ops, {rows}, DType::f32),
        entropy(ops, {rows}, DType::f32),
        p_current(ops, {rows}, DType::f32) {}
  RowStats all() const { return {draw, p_draw, argmax, p_first, p_second, entropy, p_current}; }
  bool guards_hold() const {
    return draw.guards_hold() && argmax.guards_hold() && p_draw.guards_hold() &&
           p_first.guards_hold() && p_second.guards_hold() && entropy.guards_hold() &&
           p_current.guards_hold();
  }
  DeviceArray draw, argmax, p_draw, p_first, p_second, entropy, p_current;
};

TEST_P(CudaVocabularyTest, RowStats) {
  const float inf = std::numeric_limits<float>::infinity();
  for (const std::int64_t vocab : {1, 37, 8192, 20001})
    for (const double temperature : {0.0, 1e-30, 0.1, 0.7, 30.0}) {
      const std::int64_t rows = 6;
      HostArray logits = normal({rows, vocab}, 5, type(), 2);
      for (std::int64_t v = 0; v < vocab; ++v) {
        logits[vocab + v] = 0;                             // noise alone decides
        logits[2 * vocab + v] += 256;                      // a common shift
        if (v % 3 != 0) logits[3 * vocab + v] = -inf;      // some impossible
        if (v != vocab - 1) logits[4 * vocab + v] = -inf;  // all but one
      }
      logits[5 * vocab + vocab / 3] = 40;  // far above the others
      const std::vector<std::int64_t> keys = {
          0, 12, (std::int64_t{1} << 32) / vocab - 1, std::int64_t{1} << 31, 7, 8};
      const std::vector<std::int32_t> current = integers(rows, vocab, 6);
      SamplingParameters p{temperature, 9, 4};
      if (vocab > 8192) p.forbidden = {8191, -1, 0, std::int32_t(vocab - 2)};
      DeviceArray dlogits(device(), rounded(logits, type()), type(), {vocab % 2 * 3, 0});
      DeviceArray dkeys(device(), {rows}, keys), dcurrent(device(), {rows}, current);
      DeviceStats found(device(), rows);
      device().row_stats(found.all(), dlogits, dkeys, dcurrent, p);
      const auto draw = found.draw.read_as<std::int32_t>();
      const auto argmax = found.argmax.read_as<std::int32_t>();
      logits = rounded(logits, type());
      for (std::int64_t m = 0; m < rows; ++m) {
        SCOPED_TRACE(str(vocab, " at ", temperature, ", row ", m));
        const auto at = std::size_t(m);
        const PlainStats expected(logits.values.data() + m * vocab, vocab, keys[at], current[at],
                                  p);
        EXPECT_EQ(draw[at], expected.draw);
        EXPECT_EQ(argmax[at], expected.argmax);
        // Sums of 32 and then 256 terms, by trees: a few units in the last place.
        const auto is_near = [](float x, double value) {
          EXPECT_NEAR(x, value, 5e-6 * value + 1e-37);
        };
        is_near(found.p_draw.read()[m], expected.p_draw);
        is_near(found.p_first.read()[m], expected.p_first);
        is_near(found.p_second.read()[m], expected.p_second);
        is_near(found.p_current.read()[m], expected.p_current);
        EXPECT_NEAR(found.entropy.read()[m], expected.entropy, 5e-6 * expected.entropy + 1e-6);
      }
      EXPECT_TRUE(found.guards_hold());
    }
}

/// The bits depend neither on how rows lie nor on which results are asked for.
TEST_P(CudaVocabularyTest, RowStatsOfStridedLogits) {
  const SamplingParameters p{0.5, 1, 2, {3, -1, -1, -1}};
  for (const std::int64_t vocab : {9, 512, 9001}) {
    const std::int64_t rows = 3;
    const HostArray logits = normal({rows, vocab}, 1, type(), 4);
    DeviceArray keys(device(), {rows}, std::vector<std::int64_t>{0, 1, 2}),
        current(device(), {rows}, integers(rows, vocab, 2));
    std::vector<float> expected, expected_draw;
    for (const Layout layout : {Layout{}, Layout{64 - vocab % 64, 0}, Layout{1, 0}, Layout{0, 1}}) {
      DeviceArray x(device(), logits, type(), layout);
      DeviceStats all(device(), rows), some(device(), rows);
      device().row_stats(all.all(), x, keys, current, p);
      RowStats draw;
      draw.p_draw = some.p_draw;
      device().row_stats(draw, x, keys, Tensor(), p);
      EXPECT_EQ(some.p_draw.read().values, all.p_draw.read().values);
      if (expected.empty()) {
        expected = all.entropy.read().values;
        expected_draw = all.p_draw.read().values;
      }
      EXPECT_EQ(all.entropy.read().values, expected) << vocab << ' ' << layout.gap;
      EXPECT_EQ(all.p_draw.read().values, expected_draw) << vocab << ' ' << layout.gap;
      EXPECT_TRUE(x.guards_hold());
    }
  }
}

/// Equal logits: the first wins, and the second is as probable; nothing but -inf: token 0.
TEST_P(CudaVocabularyTest, RowStatsTies) {
  HostArray logits({3, 9000});
  for (std::int64_t v = 0; v < 9000; ++v) {
    logits[v] = v == 8500 || v == 300 || v == 301 ? 1.0f : 0.0f;
    logits[9000 + v] = 2;
    logits[18000 + v] = -std::numeric_limits<float>::infinity();
  }
  const std::vector<std::int64_t> keys = {0, 1, 2};
  DeviceArray dlogits(device(), logits, type()), dkeys(device(), {3}, keys);
  DeviceArray current(device(), {3}, std::vector<std::int32_t>{0, -1, 0});
  for (const double temperature : {0.0, 1e-300}) {
    DeviceStats found(device(), 3);
    device().row_stats(found.all(), dlogits, dkeys, current, {temperature, 1, 1});
    EXPECT_EQ(found.draw.read_as<std::int32_t>(), (std::vector<std::int32_t>{300, 0, 0}));
    EXPECT_EQ(found.argmax.read_as<std::int32_t>(), (std::vector<std::int32_t>{300, 0, 0}));
    EXPECT_EQ(found.p_second.read()[0], found.p_first.read()[0]);
    EXPECT_EQ(found.p_second.read()[1], found.p_first.read()[1]);
    EXPECT_TRUE(std::isnan(found.p_current.read()[1])) << "current -1";
  }
}

TEST_P(CudaVocabularyTest, RowStatsShowWhatIsNotANumber) {
  const float inf = std::numeric_limits<float>::infinity();
  HostArray logits({4, 300});
  logits[7] = NAN;
  for (std::int64_t v = 0; v < 300; ++v) {
    logits[300 + v] = NAN;
    logits[600 + v] = -inf;
  }
  logits[900 + 9] = inf;
  DeviceArray dlogits(device(), logits, type());
  DeviceArray keys(device(), {4}, std::vector<std::int64_t>{0, 1, 2, 3});
  DeviceArray current(device(), {4}, std::vector<std::int32_t>{0, 0, 0, 0});
  for (const double temperature : {0.0, 1.0}) {
    DeviceStats found(device(), 4);
    device().row_stats(found.all(), dlogits, keys, current, {temperature, 1, 1});
    for (const DeviceArray* x :
         {&found.p_draw, &found.p_first, &found.p_second, &found.entropy, &found.p_current})
      for (const float value : x->read().values) EXPECT_FALSE(std::isfinite(value));
    for (const std::int32_t token : found.draw.read_as<std::int32_t>())
      EXPECT_TRUE(token >= 0 && token < 300);
    EXPECT_NE(found.draw.read_as<std::int32_t>()[0], 7);
    EXPECT_EQ(found.draw.read_as<std::int32_t>()[3], 9);
    // Forbidden, it does no harm.
    device().row_stats(found.all(), dlogits, keys, current, {temperature, 1, 1, {7, -1, -1, -1}});
    EXPECT_NEAR(found.p_draw.read()[0], 1.0 / 299, 1e-7);
  }
}

/// Segments of many rows, of more than are sorted in shared memory and of none, of which some are
/// masked; equal scores; at least nothing, some and more than there are; two rows per draw.
TEST_P(CudaVocabularyTest, DecidesAsTheHostDoes) {
  const std::int32_t mask = 99;
  const std::vector<std::int32_t> offsets = {0, 700, 700, 701, 760, 1860},
                                  least = {120, 5, 1, 100, 513}, nothing = {0, 1, 1, 1, 1},
                                  fine = {0};
  const std::int64_t n = offsets.back(), size = 3 * n;
  std::vector<std::int32_t> canvas = integers(size, 90, 1), rows;
  const std::vector<std::int32_t> tokens = integers(n, 100, 2), none(std::size_t(n), -1);
  const auto values = [&](std::uint64_t seed, float divisor) {
    HostArray x({n});
    const std::vector<std::int32_t> numbers = integers(n, 40, seed);
    for (std::int64_t m = 0; m < n; ++m) x[m] = float(numbers[std::size_t(m)]) / divisor;
    return x;
  };
  HostArray p_draw = values(3, 40), first = values(4, 40), second = values(5, 80),
            entropy = values(6, 4000);
  const std::vector<std::int32_t> part = integers(n, 4, 7);
  for (std::int32_t r = 0; r < 2; ++r)
    for (std::int32_t m = 0; m < n; ++m) {
      const std::int64_t at = r * n + m;
      rows.push_back(std::int32_t((at * 7919) % size));  // 7919 is prime: all distinct
      if (r == 1 ? m % 3 == 0 : m % 11 == 0) rows.back() = -1;
      if (rows.back() >= 0 && part[std::size_t(m)]) canvas[std::size_t(rows.back())] = mask;
    }
  struct RuleCase {
    CommitRule rule;
    double bound;
    std::vector<std::int32_t> least;
    bool damaged = false;
  };
  for (const RuleCase& c :
       {RuleCase{CommitRule::count, 0, least}, RuleCase{CommitRule::count, 0, least, true},
        RuleCase{CommitRule::above, 0.5, nothing}, RuleCase{CommitRule::above, 0.975, least},
        RuleCase{CommitRule::margin, 0.3, nothing}, RuleCase{CommitRule::factor, 8, nothing},
        RuleCase{CommitRule::entropy, 0.5, nothing}}) {
    canvas[std::size_t(rows[5])] = mask;
    p_draw[5] = c.damaged ? NAN : 0.5f;
    std::vector<std::int32_t> rules(5, std::int32_t(c.rule));
    rules[3] = std::int32_t(CommitRule::count);
    const std::vector<double> bounds(5, c.bound);
    DeviceArray dcanvas(device(), {size}, canvas), dstep(device(), {n}, none),
        dbad(device(), {1}, fine), dtokens(device(), {n}, tokens), drows(device(), {2, n}, rows),
        doffsets(device(), {6}, offsets), drules(device(), {5}, rules),
        dbounds(device(), {5}, bounds), dleast(device(), {5}, c.least);
    HostArray zeros({n}), expected_probability({n});
    DeviceArray dprobability(device(), zeros, DType::f32), dp(device(), p_draw, DType::f32),
        dfirst(device(), first, DType::f32), dsecond(device(), second, DType::f32),
        dentropy(device(), entropy, DType::f32);
    const auto stats = [](Tensor draw, Tensor p, Tensor p_first, Tensor p_second, Tensor h) {
      RowStats s;
      s.draw = draw;
      s.p_draw = p;
      s.p_first = p_first;
      s.p_second = p_second;
      s.entropy = h;
      return s;
    };
    device().decide({dcanvas, dstep, dprobability, dbad},
                    stats(dtokens, dp, dfirst, dsecond, dentropy), drows, doffsets,
                    {drules, dbounds, dleast}, mask, 4);
    std::vector<std::int32_t> expected = canvas, expected_bad = fine, expected_step = none;
    host.decide({tensor_of(expected), tensor_of(expected_step), expected_probability,
                 tensor_of(expected_bad)},
                stats(tensor_of(tokens), p_draw, first, second, entropy),
                tensor_of(rows).reshaped({2, n}), tensor_of(offsets),
                {tensor_of(rules), tensor_of(bounds), tensor_of(c.least)}, mask, 4);
    EXPECT_NE(expected, canvas);
    EXPECT_EQ(dcanvas.read_as<std::int32_t>(), expected) << int(c.rule);
    EXPECT_EQ(dstep.read_as<std::int32_t>(), expected_step);
    EXPECT_EQ(dbad.read_as<std::int32_t>(), expected_bad);
    EXPECT_EQ(expected_bad[0], int(c.damaged));
    EXPECT_TRUE(is_close(dprobability.read(), expected_probability, 0, 0));
    EXPECT_TRUE(dcanvas.guards_hold() && dstep.guards_hold() && dprobability.guards_hold() &&
                dbad.guards_hold());
  }
}

TEST_P(CudaVocabularyTest, SumOfSquaresAndClipping) {
  for (const std::int64_t n : {0, 1, 5000, 70000}) {
    const HostArray x = normal({n}, 1, type());
    double expected = 0;
    for (const float value : x.values) expected += double(value) * double(value);
    DeviceArray dx(device(), x, type(), {0, n == 5000 ? 1 : 0});
    DeviceArray sum(device(), {1}, std::vector<double>{0}), scale(device(), {1}, DType::f32);
    device().add_squares(sum, {dx}, 1, GradMode::accumulate);
    EXPECT_NEAR(sum.read_as<double>()[0], expected, 1e-12 * expected);
    device().add_squares(sum, {dx}, 0.5, GradMode::accumulate);
    expected *= 1.5;
    EXPECT_NEAR(sum.read_as<double>()[0], expected, 1e-12 * expected);
    device().clip_scale(scale, sum, 2.0f);
    const double norm = std::sqrt(expected);
    EXPECT_FLOAT_EQ(scale.read()[0], float(norm <= 2 ? 1 : 2 / norm));
    device().clip_scale(scale, sum, 0);
    EXPECT_EQ(scale.read()[0], 1);
  }
  DeviceArray sum(device(), {1}, std::vector<double>{std::numeric_limits<double>::infinity()});
  DeviceArray scale(device(), {1}, DType::f32);
  device().clip_scale(scale, sum, 1);
  EXPECT_TRUE(std::isnan(scale.read()[0]));
}

TEST_P(CudaVocabularyTest, AdamW) {
  // Pieces of less than a pack, of a block that is full but for a few, and of several blocks;
  // aligned to packs and not.
  struct Piece {
    Piece(std::int64_t n, std::int64_t shift, DType type)
        : w(normal({n}, 1, DType::f32)),
          m(normal({n}, 2, DType::f32, 0.1)),
          v(normal({n}, 3, DType::f32, 0.1)),
          g(normal({n}, 4, type)),
          layout{0, shift},
          dw(device(), w, DType::f32, layout),
          dm(device(), m, DType::f32, layout),
          dg(device(), g, type, layout),
          drounded(device(), {n}, type, layout) {
      for (float& value : v.values) value = value * value;
      dv = std::make_unique<DeviceArray>(device(), v, DType::f32, layout);
    }
    HostArray w, m, v, g;
    Layout layout;
    DeviceArray dw, dm, dg, drounded;
    std::unique_ptr<DeviceArray> dv;
  };
  const HostArray scale({1}, 0.37f);
  const DeviceArray dscale(device(), scale, DType::f32);
  const DeviceArray bad(device(), HostArray({1}, NAN), DType::f32);
  const AdamWParameters p{1e-2, 0.9, 0.95, 1e-8, 0.1, 3};
  std::vector<std::unique_ptr<Piece>> all;
  std::vector<AdamWPiece> pieces, host_pieces;
  for (const std::int64_t n : {1, 6, 8190, 20001})
    for (const std::int64_t shift : {0, 1}) {
      all.push_back(std::make_unique<Piece>(n, shift, type()));
      Piece& x = *all.back();
      const bool decays = n != 6;
      pieces.push_back({x.dw, x.dm, *x.dv, x.dg, x.drounded, decays});
      host_pieces.push_back({x.w, x.m, x.v, x.g, Tensor(), decays});
    }
  device().adamw(pieces, dscale, p);
  host.adamw(host_pieces, scale, p);
  std::vector<HostArray> before;
  for (const auto& x : all) {
    // Sums of two terms, below 5: a few units in the last place.
    EXPECT_TRUE(is_close(x->dm.read(), x->m, 1e-6, 5 * 0x1p-22));
    EXPECT_TRUE(is_close(x->dv->read(), x->v, 1e-6, 0));
    EXPECT_TRUE(is_close(x->dw.read(), x->w, 1e-6, 5 * 0x1p-22));
    EXPECT_EQ(x->drounded.read().values, rounded(x->dw.read(), type()).values);
    EXPECT_TRUE(x->dw.guards_hold() && x->dm.guards_hold() && x->dv->guards_hold() &&
                x->drounded.guards_hold());
    before.push_back(x->dw.read());
  }
  for (AdamWPiece& x : pieces) x.rounded = Tensor();
  device().adamw(pieces, bad, p);
  for (std::size_t i = 0; i < all.size(); ++i)
    EXPECT_EQ(all[i]->dw.read().values, before[i].values);
}

// Numbers of few bits, whose sums are exact in f32 whatever is fused: then the roundings are those
// of the CPU, bit for bit, wherever a piece lies.
TEST_P(CudaVocabularyTest, AdamWRoundsBf16Moments) {
  const HostArray scale({1}, 1.0f);
  const DeviceArray dscale(device(), scale, DType::f32);
  const AdamWParameters p{1e-2, 0.5, 0.5, 1e-8, 0.1, 3, 1234567};
  for (const std::int64_t n : {1, 6, 8190, 20001})
    for (const std::int64_t shift : {0, 1, 2})
      for (const ElementNumbers& numbers :
           {ElementNumbers{}, ElementNumbers{.begin = 2, .first = 1},
            ElementNumbers{
                .begin = (std::uint64_t{1} << 32) - 100, .first = 5, .width = 12, .stride = 40}}) {
        HostArray m({n}), v({n}), g({n}), w = normal({n}, 1, DType::f32);
        const std::vector<std::int32_t> few = integers(3 * n, 256, 5);
        for (std::int64_t i = 0; i < n; ++i) {
          m[i] = float(few[std::size_t(3 * i)] - 128) / 64;
          v[i] = float(few[std::size_t(3 * i + 1)]) / 64;
          g[i] = float(few[std::size_t(3 * i + 2)] - 128) / 128;
        }
        const Layout layout{0, shift};
        DeviceArray dw(device(), w, DType::f32, layout), dm(device(), m, DType::bf16, layout),
            dv(device(), v, DType::bf16, layout), dg(device(), g, type(), layout);
        DeviceArray hw(host, w, DType::f32), hm(host, m, DType::bf16), hv(host, v, DType::bf16),
            hg(host, g, type());
        device().adamw({{.w = dw, .m = dm, .v = dv, .g = dg, .numbers = numbers}}, dscale, p);
        host.adamw({{.w = hw, .m = hm, .v = hv, .g = hg, .numbers = numbers}}, scale, p);
        EXPECT_EQ(dm.read().values, hm.read().values);
        EXPECT_EQ(dv.read().values, hv.read().values);
        EXPECT_TRUE(is_close(dw.read(), hw.read(), 1e-6, 5 * 0x1p-22));
        EXPECT_TRUE(dm.guards_hold() && dv.guards_hold());
      }
}

}  // namespace
}  // namespace lacuna::testing
