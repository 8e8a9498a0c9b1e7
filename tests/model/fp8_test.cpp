// Models whose products with the blocks' matrices are in FP8.
#include <map>

#include "tests/model/support.h"

namespace lacuna::testing {
namespace {

ModelConfig fp8_config() {
  ModelConfig c = tiny_config();
  c.hidden_size = 64;
  c.intermediate_size = 96;
  return c;
}

/// The gradients and the loss of a bf16 model, whose products are in FP8 or not.
struct Gradients {
  std::vector<float> values;
  double loss = 0;
};
class Bf16Model {
 public:
  explicit Bf16Model(const ModelConfig& config)
      : drawn_(config, {5, 3, 7}, {0, 4, 6, 7, 8, 12, 14}) {
    for (const NamedWeight& w : drawn_.weights->named())  // so that it is nearly linear
      if (w.kind() == WeightKind::matrix) cpu().axpby(w.tensor, 0.4f, w.tensor, 0);
    cpu().copy(weights_.flat(), drawn_.weights->flat());
  }
  Gradients gradients(bool fp8, const Recompute& recompute = {}) {
    ModelLimits limits = drawn_.limits(true);
    limits.fp8_linears = fp8;
    limits.recompute = recompute;
    Model model(cpu(), drawn_.config, weights_, limits);
    Head head(cpu(), drawn_.config, weights_, 3);
    ModelTensors& sum = *drawn_.gradients;
    cpu().fill(sum.flat(), 0);
    std::vector<float> losses(drawn_.targets.size());
    const Tensor hidden = model.forward(tensor_of(drawn_.tokens), drawn_.sequences);
    head.loss_and_gradient(tensor_of(losses), hidden, sum.head, hidden, tensor_of(drawn_.targets),
                           tensor_of(drawn_.row_weights));
    model.backward(sum, hidden);
    Gradients found{elements(sum.flat()), 0};
    for (std::size_t m = 0; m < losses.size(); ++m)
      found.loss += double(drawn_.row_weights[m]) * double(losses[m]);
    return found;
  }
  /// Of each weight ||a - b|| / ||b||.
  std::map<std::string, double> errors(const Gradients& a, const Gradients& b) const {
    std::map<std::string, double> errors;
    for (const NamedWeight& w : drawn_.gradients->named()) {
      const std::int64_t begin = w.tensor.as<float>() - drawn_.gradients->flat().as<float>();
      const auto part = [&](const Gradients& g) {
        return Tensor(const_cast<float*>(g.values.data()) + begin, w.tensor.shape);
      };
      errors[w.name] = relative_error(part(a), part(b));
    }
    return errors;
  }
  ModelTensors& weights() { return weights_; }
  ModelLimits limits() const { return drawn_.limits(true); }
  const ModelConfig& config() const { return drawn_.config; }

 private:
  Tiny drawn_;
  ModelTensors weights_{cpu().memory(), drawn_.config, "weights", DType::bf16};
};

/// A gradient passes the roundings of 12 products forward, each a relative 0.038, and as many
/// backward, each 0.059 (tests/kernels/fp8_test.cpp); the squares add up to 0.24^2 where the model
/// is nearly linear. The weights nearest to the loss have fewer of them.
TEST(Fp8Model, GradientsAreThoseOfBf16ButForRounding) {
  for (const bool biased : {false, true}) {
    ModelConfig config = fp8_config();
    config.qkv_bias = config.qk_norm = biased;
    Bf16Model model(config);
    const Gradients exact = model.gradients(false), rounded = model.gradients(true);
    EXPECT_NEAR(rounded.loss, exact.loss, 0.05 * exact.loss);
    for (const auto& [name, error] : model.errors(rounded, exact)) {
      // The softmax takes most of a key's bias away again.
      if (name.find("k_proj.bias") != std::string::npos) continue;
      EXPECT_LT(error, 0.35) << name;
      EXPECT_GT(error, 0.005) << name;
    }
  }
}

TEST(Fp8Model, RecomputationChangesNoBit) {
  Bf16Model model(fp8_config());
  const Gradients kept = model.gradients(true);
  for (const Recompute& recompute :
       {Recompute{.gate_up = true}, Recompute{.qkv = true}, Recompute{.block = true}})
    EXPECT_EQ(model.gradients(true, recompute).values, kept.values);
}

/// Codes of the largest operands: gate and up's gradient, in both orders, and w or x.
TEST(Fp8Model, Memory) {
  Bf16Model model(fp8_config());
  ModelLimits limits = model.limits();
  const auto bytes = [&] {
    const Model m(cpu(), model.config(), model.weights(), limits);
    std::map<std::string, std::int64_t> sizes;
    for (const Plan::Entry& e : m.plan().entries())
      if (e.name.starts_with("scratch/fp8")) sizes[e.name] = e.shape.count();
    return sizes;
  };
  EXPECT_EQ(bytes().size(), 0);
  limits.fp8_linears = true;
  EXPECT_EQ(bytes().at("scratch/fp8_first"), 15 * 2 * 96);
  EXPECT_EQ(bytes().at("scratch/fp8_first_transposed"), 16 * 2 * 96);
  EXPECT_EQ(bytes().at("scratch/fp8_second"), 2 * 96 * 64);
  limits.training = false;
  EXPECT_EQ(bytes().at("scratch/fp8_first"), 15 * 96);
  EXPECT_EQ(bytes().count("scratch/fp8_first_transposed"), 0);
}

TEST(Fp8Model, IsOfBf16) {
  Tiny tiny(fp8_config(), {5}, {0});
  ModelLimits limits = tiny.limits(true);
  limits.fp8_linears = true;
  EXPECT_EQ(error_of([&] { Model(cpu(), tiny.config, *tiny.weights, limits); }),
            "products in FP8 need bf16 activations, not f32");
}

}  // namespace
}  // namespace lacuna::testing
