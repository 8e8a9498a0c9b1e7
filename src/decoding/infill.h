#pragma once
#include <cstdint>
#include <vector>

#include "config/config.h"
#include "decoding/token_predictor.h"

namespace lacuna {

struct InfillOptions {
  std::int64_t steps = 0;  // at most one per masked token, which 0 stands for
  double temperature = 0;
  std::uint64_t seed = 1;
  std::int64_t sample = 0;  // names the noise, with the seed
};

/// Fills texts with gaps anywhere, in place: every mask token is part of a gap. A step keeps the
/// most confident predictions of all gaps, as many as LLaDA's generate() would (unmasking.h). The
/// mask token itself is never kept; where the model predicts nothing else, a gap stays.
class Infiller {
 public:
  /// Borrows `weights`. For canvases of at most `tokens` tokens. UsageError for a causal model, and
  /// one without a mask token.
  Infiller(Ops& ops, const ModelConfig& config, const ModelTensors& weights, std::int64_t tokens);

  std::vector<std::int32_t> fill(std::vector<std::int32_t> canvas, const InfillOptions& options);

 private:
  std::int32_t mask_token_;
  TokenPredictor predictor_;
};

}  // namespace lacuna
