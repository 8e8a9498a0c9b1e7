#include <sstream>

#include "tests/model/support.h"
#include "tests/support/golden_model.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

/// A case of scripts/golden/model.py.
class GoldenModel : public ::testing::TestWithParam<const char*> {
 protected:
  GoldenModel() : golden_(str("model_", GetParam())) {
    config_ = golden_extents(golden_);
    config_.attention = number("causal") ? Attention::causal : Attention::bidirectional;
    config_.tie_embeddings = number("tied");
    std::istringstream lengths(golden_.metadata("lengths"));
    std::vector<int> each;
    for (int n; lengths >> n;) each.push_back(n);
    const Tensor rows = golden_["rows"];
    tiny_ = std::make_unique<Tiny>(
        config_, each,
        std::vector(rows.as<std::int32_t>(), rows.as<std::int32_t>() + rows.count()));
    copy(tiny_->tokens, "tokens");
    copy(tiny_->targets, "targets");
    copy(tiny_->row_weights, "row_weights");
    for (const NamedWeight& w : tiny_->weights->named())
      cpu().copy(w.tensor, golden_["weights/" + w.name]);
  }
  std::int64_t number(const char* key) const { return std::stoll(golden_.metadata(key)); }
  template <class T>
  void copy(std::vector<T>& to, const char* name) {
    const Tensor from = golden_[name];
    to.assign(from.as<T>(), from.as<T>() + from.count());
  }

  /// Norm-wise relative error of a result behind `products` GEMMs in a row, of f32 sums
  /// of at most n terms. A sum is off by sqrt(n) units when its roundings are independent; the
  /// norms, softmax and SiLU between two products round some four times more; errors of different
  /// products are independent too. With a factor of 4 for what a step makes of the error that
  /// reaches it.
  double tolerance(int products) const {
    const double n =
        double(std::max({config_.hidden_size, config_.intermediate_size, config_.vocab_size}));
    return 4 * std::sqrt(products) * (std::sqrt(n) + 4) * kUnit;
  }
  // Through a block: qkv, scores, values, out, gate and up, down.
  int forward_products() const { return int(6 * config_.num_layers); }

  Golden golden_;
  ModelConfig config_;
  std::unique_ptr<Tiny> tiny_;
};

TEST_P(GoldenModel, HiddenStatesAndLogits) {
  const Tensor hidden = tiny_->forward();
  EXPECT_LT(relative_error(hidden, golden_["hidden"]), tolerance(forward_products()));
  Head head(cpu(), config_, *tiny_->weights, hidden.rows(), nullptr, HeadUse::logits);
  EXPECT_LT(relative_error(head.logits(hidden), golden_["logits"]),
            tolerance(forward_products() + 1));
}

TEST_P(GoldenModel, HiddenStatesWithoutTraining) {
  Model model(cpu(), config_, *tiny_->weights, tiny_->limits(false));
  const Tensor hidden = model.forward(tensor_of(tiny_->tokens), tiny_->sequences);
  EXPECT_LT(relative_error(hidden, golden_["hidden"]), tolerance(forward_products()));
  EXPECT_TRUE(same_bits(hidden, tiny_->forward()));
}

TEST_P(GoldenModel, LossAndGradients) {
  std::vector<float> losses(tiny_->targets.size());
  const Tensor hidden = tiny_->forward();
  tiny_->head->loss_and_gradient(tensor_of(losses), hidden, tiny_->gradients->head, hidden,
                                 tensor_of(tiny_->targets), tensor_of(tiny_->row_weights));
  tiny_->model->backward(*tiny_->gradients, hidden);
  EXPECT_LT(relative_error(tensor_of(losses), golden_["losses"]),
            tolerance(forward_products() + 1));
  for (const NamedWeight& w : tiny_->gradients->named()) {
    const Tensor expected = golden_["gradients/" + w.name];
    ASSERT_GT(norm(expected), 1e-3) << w.name;  // else the next line says nothing
    EXPECT_LT(relative_error(w.tensor, expected), tolerance(3 * forward_products() + 3)) << w.name;
  }
}

INSTANTIATE_TEST_SUITE_P(PyTorch, GoldenModel,
                         ::testing::Values("full", "full_grouped_tied", "causal_grouped",
                                           "one_block_tied"),
                         [](const auto& test) { return std::string(test.param); });

}  // namespace
}  // namespace lacuna
