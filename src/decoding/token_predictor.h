#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "core/arena.h"
#include "kernels/ops.h"
#include "model/head.h"
#include "model/model.h"

namespace lacuna {

/// Draws tokens at chosen rows of a forward pass: what every way of generating text shares.
class TokenPredictor {
 public:
  /// `limits` of one forward pass. Borrows `weights`. `shares` as in Model: every rank draws, and
  /// the noise being the same, they draw the same tokens.
  TokenPredictor(Ops& ops, const ModelConfig& config, const ModelTensors& weights,
                 const ModelLimits& limits, Communicator* shares = nullptr);
  /// Bytes of what that allocates.
  static std::int64_t bytes(const ModelConfig& config, const ModelLimits& limits, DType dtype,
                            Place place, ModelShare share);

  /// One per drawn row, on the host, valid until the next call.
  struct Draws {
    std::span<const std::int32_t> tokens;
    std::span<const float> confidence;  // softmax(logits)[token], without noise or temperature
  };
  /// Draws at sequences.head_rows by Ops::sample_tokens; row_keys name each row's noise. With
  /// cfg_scale > 0 the head rows are those of M conditional rows, then the M unconditional ones
  /// that guide them (Ops::guide), and M tokens are drawn. Throws Error when logits are not finite.
  Draws predict(const std::vector<std::int32_t>& tokens, const Sequences& sequences,
                const std::vector<std::int64_t>& row_keys, const SamplingParameters& parameters,
                double cfg_scale = 0);

  Model& model() { return model_; }
  Head& head() { return head_; }

 private:
  struct Slots {
    Slot inputs, keys, tokens, confidence;
  };
  static Plan make_plan(const ModelLimits& limits, Slots& slots);

  Ops& ops_;
  Slots slots_;
  Model model_;
  Head head_;
  Arena arena_;
  std::vector<std::int32_t> tokens_;
  std::vector<float> confidence_;
};

/// The key of the noise at `position` of sample `sample`: the same wherever it is computed.
std::int64_t noise_key(std::int64_t sample, std::int64_t position);

}  // namespace lacuna
