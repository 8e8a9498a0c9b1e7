#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "core/arena.h"
#include "decoding/token_predictor.h"

namespace lacuna {

/// Rounds of steps that follow each other on a device without waiting for the host: canvases lie in
/// its memory, and what each step commits is known by count (Strategy::known_counts). The forward
/// pass has the same shape in each step and is repeated from a record (Ops::run_captured): logits
/// are computed for every row that was open as the round began, which of them a step fills is
/// decided on the device (Ops::unmask).
class DeviceRounds {
 public:
  /// Borrows `predictor`. `limits` as it was given.
  DeviceRounds(Ops& ops, TokenPredictor& predictor, std::int32_t mask_token,
               const ModelLimits& limits);
  /// What that allocates.
  static Plan plan(const ModelLimits& limits);

  /// Borrows the batch for the round. counts [steps, canvases]: what each step fills.
  void begin(const DecodingBatch& batch, const std::vector<std::int32_t>& counts);
  /// `number` from 0, within the round.
  void step(std::int64_t number);
  /// Waits for the steps so far. The canvases as they are, end to end. Throws Error when a
  /// confidence was not finite.
  const std::vector<std::int32_t>& tokens();

 private:
  struct Slots {
    Slot rows, other_rows, offsets, counts, bad;
  };
  static Plan make_plan(const ModelLimits& limits, Slots& slots);
  Tensor first(Slot slot, std::int64_t n) const { return arena_[slot].row_range(0, n); }
  void unmask(Slot rows, std::int64_t canvases, std::int64_t number);

  Ops& ops_;
  TokenPredictor& predictor_;
  const std::int32_t mask_token_;
  Slots slots_;
  Arena arena_;
  /// What a record is of.
  struct PassShape {
    std::int64_t rows = 0, draws = 0, guided = 0, canvases = 0;
    bool operator==(const PassShape&) const = default;
  };
  PassShape recorded_;
  std::unique_ptr<CapturedGraph> forward_;
  Tensor hidden_;  // what `forward_` computes
  const DecodingBatch* batch_ = nullptr;
  std::int64_t guided_canvases_ = 0;
  std::vector<std::int32_t> tokens_;
};

}  // namespace lacuna
