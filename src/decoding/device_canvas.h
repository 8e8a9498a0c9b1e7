#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "core/arena.h"
#include "decoding/token_predictor.h"

namespace lacuna {

/// What the steps of a block work on: canvases laid end to end and, with guidance, once more with
/// the prompts masked.
struct CanvasBlock {
  std::vector<std::int32_t> tokens;
  Sequences sequences;             // head_rows: what was masked as the block began, in each branch
  std::vector<std::int64_t> keys;  // of the noise of each row of the first branch, M
  std::vector<std::int64_t> row_offsets;  // [canvases + 1], of those rows
  std::vector<std::int32_t> counts;       // [steps, canvases]: what each step fills
  double cfg_scale = 0;
};

/// Canvases in a device's memory, on which the steps of a block follow each other without waiting
/// for the host. The forward pass has the same shape in each, and is repeated from a record
/// (Ops::repeat): logits are computed for every row that was masked as the block began, which of
/// them a step may fill is decided on the device (Ops::unmask).
class DeviceCanvas {
 public:
  /// Borrows `predictor`. `limits` as it was given.
  DeviceCanvas(Ops& ops, TokenPredictor& predictor, const ModelConfig& config,
               const ModelLimits& limits);
  /// What that allocates.
  static Plan plan(const ModelLimits& limits);

  void begin(const CanvasBlock& block);
  /// `number` from 0, within the block.
  void step(std::int64_t number, const SamplingParameters& parameters);
  /// Waits for the steps so far. The canvases as they are; of the first branch alone. Throws Error
  /// when a confidence was not finite.
  const std::vector<std::int32_t>& tokens();

 private:
  struct Slots {
    Slot keys, tokens, confidence, rows, other_rows, offsets, counts, bad;
  };
  static Plan make_plan(const ModelLimits& limits, Slots& slots);
  Tensor first(Slot slot, std::int64_t n) const { return arena_[slot].row_range(0, n); }

  Ops& ops_;
  TokenPredictor& predictor_;
  const std::int32_t mask_token_;
  Slots slots_;
  Arena arena_;
  std::unique_ptr<Recording> forward_;
  Tensor hidden_;  // what `forward_` computes
  std::int64_t rows_ = 0, drawn_ = 0, canvases_ = 0;
  double cfg_scale_ = 0;
  std::vector<std::int32_t> tokens_;
};

}  // namespace lacuna
