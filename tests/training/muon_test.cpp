#include "training/muon.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "config/dtype.h"
#include "core/half.h"
#include "core/philox.h"
#include "kernels/cpu/cpu_ops.h"
#include "tests/support/support.h"
#include "training/newton_schulz.h"
#include "training/optimizer.h"

namespace lacuna {
namespace {

/// The iteration in f64, with rows <= columns; others are transposed.
class Reference {
 public:
  Reference(std::int64_t m, std::int64_t n, std::vector<double> x)
      : m_(m), n_(n), x_(std::move(x)) {}

  std::vector<double> orthogonalised() {
    double squares = 0;
    for (const double v : x_) squares += v * v;
    for (double& v : x_) v /= std::sqrt(squares);
    for (int step = 0; step < 5; ++step) iterate();
    return x_;
  }

 private:
  void iterate() {
    std::vector<double> a(std::size_t(m_ * m_)), p = a, y = x_;
    for (std::int64_t i = 0; i < m_; ++i)
      for (std::int64_t j = 0; j < m_; ++j)
        for (std::int64_t k = 0; k < n_; ++k)
          a[at(i, j, m_)] += x_[at(i, k, n_)] * x_[at(j, k, n_)];
    for (std::int64_t i = 0; i < m_; ++i)
      for (std::int64_t j = 0; j < m_; ++j) {
        double square = 0;
        for (std::int64_t k = 0; k < m_; ++k) square += a[at(i, k, m_)] * a[at(k, j, m_)];
        p[at(i, j, m_)] = -4.7750 * a[at(i, j, m_)] + 2.0315 * square;
      }
    for (std::int64_t i = 0; i < m_; ++i)
      for (std::int64_t k = 0; k < n_; ++k) {
        double sum = 3.4445 * x_[at(i, k, n_)];
        for (std::int64_t j = 0; j < m_; ++j) sum += p[at(i, j, m_)] * x_[at(j, k, n_)];
        y[at(i, k, n_)] = sum;
      }
    x_ = y;
  }
  static std::size_t at(std::int64_t i, std::int64_t j, std::int64_t cols) {
    return std::size_t(i * cols + j);
  }

  const std::int64_t m_, n_;
  std::vector<double> x_;
};

std::vector<float> drawn(std::int64_t rows, std::int64_t cols, double scale) {
  std::vector<float> x;
  const CounterRng rng{5, Purpose::benchmark, std::uint64_t(rows * 1000 + cols)};
  for (std::int64_t i = 0; i < rows * cols; ++i)
    x.push_back(float(scale * rng.normal_pair(std::uint32_t(i))[0]));
  return x;
}

std::vector<float> orthogonalised(std::vector<float> x, std::int64_t rows, std::int64_t cols,
                                  DType dtype = DType::f32) {
  CpuOps ops(2);
  // Room for more than there is.
  NewtonSchulz iteration(ops, rows * cols + 7, std::min(rows, cols) + 3, dtype);
  iteration.orthogonalise(Tensor(x.data(), {rows, cols}));
  return x;
}

TEST(NewtonSchulz, IsTheIterationInDoublePrecision) {
  for (const auto& [rows, cols] :
       {std::pair{1, 1}, {1, 9}, {3, 5}, {5, 3}, {8, 8}, {32, 48}, {70, 33}}) {
    const std::vector<float> x = drawn(rows, cols, 1);
    std::vector<double> wide(x.begin(), x.end());
    if (rows > cols)
      for (std::int64_t i = 0; i < rows; ++i)
        for (std::int64_t j = 0; j < cols; ++j)
          wide[std::size_t(j * rows + i)] = double(x[std::size_t(i * cols + j)]);
    const std::vector<double> expected =
        Reference(std::min(rows, cols), std::max(rows, cols), wide).orthogonalised();
    // Small singular values grow by up to 3.4445^5 = 485, and so do their roundings.
    const std::vector<float> found = orthogonalised(x, rows, cols);
    // bf16: some tens of roundings of 2^-9.
    const std::vector<float> rounded = orthogonalised(x, rows, cols, DType::bf16);
    for (std::int64_t i = 0; i < rows; ++i)
      for (std::int64_t j = 0; j < cols; ++j) {
        const double e = expected[std::size_t(rows > cols ? j * rows + i : i * cols + j)];
        EXPECT_NEAR(found[std::size_t(i * cols + j)], e, 1e-4) << rows << " x " << cols;
        EXPECT_NEAR(rounded[std::size_t(i * cols + j)], e, 0.15) << rows << " x " << cols;
      }
  }
}

// Singular values from 1 to 1/50 of the norm come near 1, and singular vectors stay.
TEST(NewtonSchulz, BringsSingularValuesNearOne) {
  for (const bool tall : {false, true}) {
    constexpr std::int64_t m = 6, n = 10;
    const float values[m] = {1, -0.5f, 0.25f, 0.1f, -0.05f, 0.02f};
    std::vector<float> x(std::size_t(m * n));
    for (std::int64_t i = 0; i < m; ++i) x[std::size_t(tall ? i * m + i : i * n + i)] = values[i];
    const std::vector<float> found = orthogonalised(x, tall ? n : m, tall ? m : n);
    for (std::int64_t i = 0; i < m; ++i)
      for (std::int64_t j = 0; j < n; ++j) {
        const float o = found[std::size_t(tall ? j * m + i : i * n + j)];
        if (i != j) {
          EXPECT_EQ(o, 0);
        } else {
          EXPECT_GT(o * values[i], 0);
          EXPECT_NEAR(std::abs(o), 1, 0.35) << values[i];
        }
      }
  }
}

TEST(NewtonSchulz, DoesNotDependOnTheScale) {
  const std::vector<float> one = orthogonalised(drawn(12, 20, 1), 12, 20);
  for (const double scale : {1e-7, 1e7}) {
    const std::vector<float> other = orthogonalised(drawn(12, 20, scale), 12, 20);
    for (std::size_t i = 0; i < one.size(); ++i) EXPECT_NEAR(other[i], one[i], 1e-4) << scale;
  }
  for (const float o : orthogonalised(std::vector<float>(240), 12, 20)) EXPECT_EQ(o, 0);
}

// --- the average -----------------------------------------------------------------------------

ModelConfig small_model() {
  ModelConfig config;
  config.vocab_size = 10;
  config.num_layers = 1;
  config.hidden_size = 8;
  config.num_heads = 2;
  config.intermediate_size = 12;
  return config;
}

std::vector<float> values_of(const OptimizerShard& shard) {
  std::vector<float> all;
  for (const WeightPiece& piece : shard.pieces())
    all.insert(all.end(), piece.values.as<float>(),
               piece.values.as<float>() + piece.values.count());
  return all;
}

void train_a_step(Optimizer& optimizer, const ModelTensors& gradients, std::int64_t number) {
  const Tensor flat = gradients.flat();
  const CounterRng rng{3, Purpose::benchmark, std::uint64_t(number)};
  for (std::int64_t i = 0; i < flat.count(); ++i)
    flat.as<float>()[i] = float(rng.normal_pair(std::uint32_t(i))[0]);
  optimizer.measure(gradients);
  optimizer.update(gradients, 1e-2, number);
}

TEST(WeightAverage, IsTheFormula) {
  for (const DType type : {DType::f32, DType::bf16})
    for (const OptimizerName name : {OptimizerName::adamw, OptimizerName::muon}) {
      CpuOps ops(1);
      OptimizerConfig config;
      config.name = name;
      config.ema_decay = 0.5;
      const ModelTensors weights(ops.memory(), small_model(), "weights", type),
          gradients(ops.memory(), small_model(), "gradients");
      Optimizer optimizer(ops, config, weights);
      initialise(optimizer.master().pieces(), weights, small_model(), 1, ops);
      optimizer.cast_master_weights();
      optimizer.begin_average();
      std::vector<double> expected;
      for (const float w : values_of(optimizer.master())) expected.push_back(double(w));
      for (std::int64_t number = 1; number <= 12; ++number) {
        train_a_step(optimizer, gradients, number);
        // 2/11, 3/12, … 0.5 from the eighth update on.
        const double decay = std::min(0.5, double(1 + number) / double(10 + number));
        const std::vector<float> now = values_of(optimizer.master());
        for (std::size_t i = 0; i < expected.size(); ++i)
          expected[i] = decay * expected[i] + (1 - decay) * double(now[i]);
      }
      const std::vector<float> average = values_of(*optimizer.average()),
                               trained = values_of(optimizer.master());
      for (std::size_t i = 0; i < expected.size(); ++i)
        EXPECT_NEAR(average[i], expected[i], 1e-5 * (1 + std::abs(expected[i])));
      // In use, and back again.
      optimizer.swap_average();
      EXPECT_EQ(values_of(optimizer.master()), average);
      EXPECT_EQ(values_of(*optimizer.average()), trained);
      if (type == DType::bf16) {
        const Tensor& head = weights.head;
        const auto own = average.end() - head.count();
        for (std::int64_t i = 0; i < head.count(); ++i)
          EXPECT_EQ(head.as<BFloat16>()[i].bits, to_bf16(own[i]).bits);
      }
      optimizer.swap_average();
      EXPECT_EQ(values_of(optimizer.master()), trained);
    }
}

TEST(WeightAverage, StaysWhenTheNormIsNotFinite) {
  CpuOps ops(1);
  OptimizerConfig config;
  config.name = OptimizerName::muon;
  config.ema_decay = 0.5;
  const ModelTensors weights(ops.memory(), small_model(), "weights"),
      gradients(ops.memory(), small_model(), "gradients");
  Optimizer optimizer(ops, config, weights);
  initialise(weights, small_model(), 1, ops);
  optimizer.begin_average();
  train_a_step(optimizer, gradients, 1);
  const auto states = [&] {
    std::vector<std::vector<float>> all;
    for (const OptimizerShard* shard : {&optimizer.master(), &optimizer.first_moment(),
                                        &optimizer.second_moment(), optimizer.average()})
      all.push_back(values_of(*shard));
    return all;
  };
  const auto before = states();
  gradients.flat().as<float>()[3] = std::numeric_limits<float>::quiet_NaN();
  optimizer.measure(gradients);
  optimizer.update(gradients, 1e-2, 2);
  EXPECT_EQ(states(), before);
}

// Its own rate for Muon's matrices; nothing else changes.
TEST(Muon, HasALearningRateOfItsOwn) {
  const auto step_of = [](double muon_rate, double weight_decay) {
    CpuOps ops(1);
    OptimizerConfig config;
    config.name = OptimizerName::muon;
    config.muon_learning_rate = muon_rate;
    config.learning_rate = 1e-2;
    config.weight_decay = weight_decay;
    const ModelTensors weights(ops.memory(), small_model(), "weights"),
        gradients(ops.memory(), small_model(), "gradients");
    Optimizer optimizer(ops, config, weights);
    train_a_step(optimizer, gradients, 1);  // of weights that are 0
    std::vector<std::vector<float>> all;
    for (const NamedWeight& w : weights.named())
      all.emplace_back(w.tensor.as<float>(), w.tensor.as<float>() + w.tensor.count());
    return all;
  };
  CpuOps ops(1);
  const ModelTensors model(ops.memory(), small_model(), "model");
  const auto same = step_of(0, 0.1), twice = step_of(2e-2, 0.1);
  for (std::size_t w = 0; w < same.size(); ++w)
    for (std::size_t i = 0; i < same[w].size(); ++i) {
      const float factor = is_updated_by_muon(*model.named()[w].spec) ? 2 : 1;
      EXPECT_FLOAT_EQ(twice[w][i], factor * same[w][i]) << model.named()[w].name;
    }
}

}  // namespace
}  // namespace lacuna
