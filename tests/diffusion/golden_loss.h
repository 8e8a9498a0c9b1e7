#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "diffusion/objective.h"
#include "tests/support/oracle.h"

namespace lacuna::testing {

/// A golden file of losses and gradients: its model, weights and noise. The parameter completes the
/// file's name.
class GoldenLoss : public ::testing::TestWithParam<const char*> {
 protected:
  explicit GoldenLoss(const std::string& prefix)
      : golden_(prefix + GetParam()),
        causal_(number("causal") != 0),
        config_(golden_config(golden_, causal_)),
        weights_(cpu().memory(), config_, "weights"),
        gradients_(cpu().memory(), config_, "gradients") {
    read_weights(golden_, "weights/", weights_);
    options_.objective = causal_ ? Objective::autoregressive : Objective::masked_diffusion;
    options_.min_mask_probability = std::stod(golden_.metadata("eps"));
    options_.seed = std::uint64_t(number("seed"));
    options_.mask_token = std::int32_t(config_.mask_token);
  }
  std::int64_t number(const char* key) const { return std::stoll(golden_.metadata(key)); }
  double loss() const { return golden_["loss"].as<double>()[0]; }
  /// Products in a row of a forward pass.
  double forward() const { return double(6 * config_.num_layers + 1); }
  /// As derived in tests/model/golden_test.cpp, for products in a row and the sums of a loss.
  double tolerance(double products) const {
    const double n =
        double(std::max({config_.hidden_size, config_.intermediate_size, config_.vocab_size}));
    return 4 * std::sqrt(products) * (std::sqrt(n) + 4) * kUnit;
  }
  /// That the masked tokens are the file's.
  void expect_masked(const LossBatch& batch) const {
    const Tensor masked = golden_["masked"];
    ASSERT_EQ(std::int64_t(batch.masked.size()), masked.count());
    for (std::int64_t i = 0; i < masked.count(); ++i)
      EXPECT_EQ(batch.masked[std::size_t(i)], masked.as<std::uint8_t>()[i]) << i;
  }
  void expect_row_losses(const ObjectiveRunner& runner) const {
    const Tensor losses(const_cast<float*>(runner.row_losses().data()),
                        {std::int64_t(runner.row_losses().size())});
    EXPECT_LT(relative_error(losses, golden_["losses"]), tolerance(forward()));
  }
  void expect_gradients() const {
    for (const NamedWeight& g : gradients_.named())
      EXPECT_LT(relative_error(g.tensor, golden_["gradients/" + g.name]), tolerance(3 * forward()))
          << g.name;
  }

  Golden golden_;
  bool causal_;
  ModelConfig config_;
  ModelTensors weights_, gradients_;
  NoiseOptions options_;
};

}  // namespace lacuna::testing
