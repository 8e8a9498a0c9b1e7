#pragma once
#include <memory>
#include <vector>

#include "decoding/sampler.h"

namespace lacuna {

/// Left-to-right generation by a causal model, for the autoregressive baseline.
class AutoregressiveSampler final : public TextSampler {
 public:
  /// Borrows `weights`. Of `limits`, guidance is not used.
  AutoregressiveSampler(Ops& ops, const ModelConfig& config, const ModelTensors& weights,
                        const SamplerLimits& limits, Communicator* shares = nullptr);
  ~AutoregressiveSampler() override;
  static ModelLimits model_limits(const SamplerLimits& limits);

  /// Each prompt followed by up to gen_length tokens, the last being config.eos_token if the text
  /// ended. An empty prompt continues config.eos_token, which is what precedes a document. Of the
  /// options gen_length, temperature, seed and first_sample count. The observer sees each canvas as
  /// it grows, as step 0, 1… of block 0. Throws UsageError for an empty prompt when the model has
  /// no end token.
  std::vector<std::vector<std::int32_t>> generate(
      const std::vector<std::vector<std::int32_t>>& prompts, const SamplerOptions& options,
      const CanvasObserver& observer = {}) override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lacuna
