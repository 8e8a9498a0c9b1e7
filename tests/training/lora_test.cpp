#include "training/lora.h"

#include <cmath>
#include <limits>

#include "core/atomic_file.h"
#include "formats/damage.h"
#include "formats/safetensors.h"
#include "tests/model/support.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

using Matrix = std::vector<double>;  // row-major

/// x [n,k] y [k,m].
Matrix product(const Matrix& x, const Matrix& y, std::int64_t n, std::int64_t k, std::int64_t m) {
  Matrix z(std::size_t(n * m));
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t l = 0; l < k; ++l)
      for (std::int64_t j = 0; j < m; ++j)
        z[std::size_t(i * m + j)] += x[std::size_t(i * k + l)] * y[std::size_t(l * m + j)];
  return z;
}
Matrix transposed(const Matrix& x, std::int64_t n, std::int64_t m) {
  Matrix y(x.size());
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = 0; j < m; ++j) y[std::size_t(j * n + i)] = x[std::size_t(i * m + j)];
  return y;
}
Matrix wide(const Tensor& t) { return {t.as<float>(), t.as<float>() + t.count()}; }

/// A parameter and AdamW as in arXiv:1711.05101, algorithm 2, in f64.
struct Parameter {
  Matrix value, first, second;
  explicit Parameter(Matrix v) : value(std::move(v)), first(value.size()), second(value.size()) {}
  void update(const Matrix& g, const OptimizerConfig& o, double rate, double clip, int step) {
    for (std::size_t i = 0; i < value.size(); ++i) {
      const double x = clip * g[i];
      first[i] = o.beta1 * first[i] + (1 - o.beta1) * x;
      second[i] = o.beta2 * second[i] + (1 - o.beta2) * x * x;
      const double m = first[i] / (1 - std::pow(o.beta1, step));
      const double v = second[i] / (1 - std::pow(o.beta2, step));
      value[i] -= rate * (m / (std::sqrt(v) + o.eps) + o.weight_decay * value[i]);
    }
  }
};

struct Fixture {
  Config config;
  ModelTensors weights, gradients;

  Fixture()
      : config(make_config()),
        weights(cpu().memory(), config.model, "weights"),
        gradients(cpu().memory(), config.model, "gradients") {
    randomise(weights, 1);
  }
  static Config make_config() {
    Config c;
    c.model = tiny_config();
    c.lora.rank = 3;
    c.lora.alpha = 6;
    c.lora.targets = {"q_proj", "ff_out"};
    c.optimizer.weight_decay = 0.3;
    c.optimizer.clip_norm = 0.5;
    c.optimizer.eps = 1e-3;
    return c;
  }
  void draw_gradients(std::uint64_t seed) { randomise(gradients, seed); }
};

// The paper's LoRA, written out in f64: W = W0 + s B A, AdamW on A and B, gradients clipped
// together.
TEST(LoraTest, IsThePapers) {
  Fixture f;
  const double s = 2, rate = 0.01;
  Lora lora(cpu(), f.config, f.weights);
  lora.start(9);
  const Folder folder;
  lora.save(folder / "start.safetensors");
  const SafetensorsFile start(folder / "start.safetensors");

  struct Naive {
    std::size_t index;
    std::int64_t out, in;
    Matrix base;
    Parameter a, b;
  };
  std::vector<Naive> all;
  for (std::size_t i = 0; i < f.weights.named().size(); ++i) {
    const NamedWeight& w = f.weights.named()[i];
    if (!start.has(w.name + ".lora_A")) continue;
    Matrix a = wide(start.view(w.name + ".lora_A"));
    for (double& x : a) x /= s;
    all.push_back({i, w.tensor.rows(), w.tensor.cols(), wide(w.tensor), Parameter(a),
                   Parameter(wide(start.view(w.name + ".lora_B")))});
  }
  EXPECT_EQ(all.size(), 2u * 3);  // two matrices of three blocks
  const std::vector<float> other = elements(f.weights.named()[0].tensor);
  for (int step = 1; step <= 4; ++step) {
    f.draw_gradients(std::uint64_t(step));
    std::vector<std::pair<Matrix, Matrix>> gradients;
    double sum = 0;
    for (const Naive& n : all) {
      const Matrix dw = wide(f.gradients.named()[n.index].tensor);
      Matrix db = product(dw, transposed(n.a.value, 3, n.in), n.out, n.in, 3);
      Matrix da = product(transposed(n.b.value, n.out, 3), dw, 3, n.out, n.in);
      for (double& x : da) x *= s;
      for (double& x : db) x *= s;
      for (const double x : da) sum += x * x;
      for (const double x : db) sum += x * x;
      gradients.emplace_back(da, db);
    }
    const double norm = std::sqrt(sum), clip = std::min(1.0, 0.5 / norm);
    // f32 products of at most 36 terms.
    lora.measure(f.gradients);
    EXPECT_NEAR(lora.gradient_norm(), norm, 1e-5 * norm);
    lora.update(rate, step);
    for (std::size_t i = 0; i < all.size(); ++i) {
      Naive& n = all[i];
      n.a.update(gradients[i].first, f.config.optimizer, rate, clip, step);
      n.b.update(gradients[i].second, f.config.optimizer, rate, clip, step);
      const Matrix ba = product(n.b.value, n.a.value, n.out, 3, n.in);
      const Tensor w = f.weights.named()[n.index].tensor;
      for (std::size_t e = 0; e < ba.size(); ++e)
        ASSERT_NEAR(double(w.as<float>()[e]), n.base[e] + s * ba[e], 2e-5) << step;
    }
  }
  EXPECT_EQ(elements(f.weights.named()[0].tensor), other);  // the embedding has no adapter
}

TEST(LoraTest, BeginsAtTheWeightsThatThereAre) {
  Fixture f;
  const std::vector<float> before = elements(f.weights.flat());
  Lora lora(cpu(), f.config, f.weights);
  lora.start(9);
  EXPECT_EQ(elements(f.weights.flat()), before);
  // 3 blocks of (24 + 24) x 3 and (36 + 24) x 3.
  EXPECT_EQ(lora.parameters(), 3 * 3 * (48 + 60));
}

TEST(LoraTest, GoesOnFromAFileBitForBit) {
  Fixture f, g;
  const Folder folder;
  Lora lora(cpu(), f.config, f.weights);
  lora.start(9);
  f.draw_gradients(1);
  lora.measure(f.gradients);
  lora.update(0.01, 1);
  lora.save(folder / "x.safetensors");
  Lora other(cpu(), g.config, g.weights);
  other.load(folder / "x.safetensors");
  EXPECT_TRUE(same_bits(g.weights.flat(), f.weights.flat()));
  for (Fixture* x : {&f, &g}) x->draw_gradients(2);
  lora.measure(f.gradients);
  other.measure(g.gradients);
  lora.update(0.01, 2);
  other.update(0.01, 2);
  EXPECT_TRUE(same_bits(g.weights.flat(), f.weights.flat()));

  g.config.lora.targets = {"k_proj"};
  Lora third(cpu(), g.config, g.weights);
  EXPECT_TRUE(contains(error_of([&] { third.load(folder / "x.safetensors"); }), "lora.targets"));
  g.config.lora.targets = {"q_proj"};
  g.config.lora.rank = 2;
  Lora fourth(cpu(), g.config, g.weights);
  EXPECT_TRUE(contains(error_of([&] { fourth.load(folder / "x.safetensors"); }), "lora.rank"));
}

TEST(LoraTest, EveryFlippedBitIsNoticedOrHarmless) {
  Fixture f;
  const Folder folder;
  Lora lora(cpu(), f.config, f.weights);
  lora.start(9);
  lora.save(folder / "x.safetensors");
  const std::string good = read_file(folder / "x.safetensors");
  Fixture expected;
  Lora(cpu(), expected.config, expected.weights).load(folder / "x.safetensors");
  std::size_t noticed = 0, harmless = 0;
  for (std::size_t bit = 0; bit < 8 * good.size(); bit += 1009) {
    std::string bytes = good;
    bytes[bit / 8] = char(bytes[bit / 8] ^ (1 << bit % 8));
    const std::string path = folder.write("y.safetensors", bytes);
    Fixture g;
    Lora other(cpu(), g.config, g.weights);
    if (error_of([&] { other.load(path); }).empty()) {
      ++harmless;
      ASSERT_TRUE(same_bits(g.weights.flat(), expected.weights.flat())) << bit;
    } else {
      ++noticed;
    }
  }
  EXPECT_GT(noticed, 9 * harmless);
  std::string bytes = good;
  bytes.back() = char(bytes.back() ^ 64);
  EXPECT_TRUE(contains(
      error_of<DamagedFile>([&] { verify_adapters(folder.write("y.safetensors", bytes)); }),
      "y.safetensors: damaged: the adapters do not match their checksum"));
}

TEST(LoraTest, NumbersThatAreNotFiniteAreNotSaved) {
  Fixture f;
  const Folder folder;
  f.config.optimizer.clip_norm = 0;
  Lora lora(cpu(), f.config, f.weights);
  lora.start(9);
  f.draw_gradients(1);
  lora.measure(f.gradients);
  lora.update(std::numeric_limits<double>::max(), 1);
  EXPECT_TRUE(contains(error_of([&] { lora.save(folder / "x.safetensors"); }), "are not finite"));
  EXPECT_TRUE(folder.files().empty());
}

TEST(LoraTest, AnAlphaThatLeavesNoEps) {
  Fixture f;
  for (const double alpha : {1e38, 1e-38}) {
    f.config.lora.alpha = alpha;
    f.config.optimizer.eps = alpha > 1 ? 1e-8 : 1e8;
    EXPECT_TRUE(
        contains(error_of<UsageError>([&] { Lora(cpu(), f.config, f.weights); }), "lora.alpha"));
  }
}

TEST(LoraTest, TargetsThatAreNone) {
  Fixture f;
  const auto refused = [&] {
    return error_of<UsageError>([&] { Lora(cpu(), f.config, f.weights); });
  };
  f.config.lora.targets = {"query"};
  EXPECT_TRUE(contains(refused(), "'query' is no matrix of a block; there are q_proj, k_proj"));
  f.config.lora.targets = {"q_proj"};
  f.config.lora.rank = 24;
  EXPECT_TRUE(contains(refused(), "lora.rank = 24 must be below both extents"));
}

TEST(LoraTest, AdaptersWithoutACheckpointAreRemoved) {
  const Folder folder;
  folder.write("step-1.h5", "");
  for (const char* name :
       {"step-1.lora.safetensors", "step-2.lora.safetensors", "other.safetensors"})
    folder.write(name, "");
  prune_adapters(folder / ".");
  EXPECT_EQ(folder.files(), (std::vector<std::string>{"other.safetensors", "step-1.h5",
                                                      "step-1.lora.safetensors"}));
  EXPECT_EQ(adapter_path("a/step-1.h5"), "a/step-1.lora.safetensors");
}

}  // namespace
}  // namespace lacuna
