#pragma once
#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <vector>

#include "core/arena.h"
#include "decoding/token_predictor.h"

namespace lacuna {

/// What the steps of a round committed, on the host.
struct RoundCommits {
  std::vector<std::int32_t> tokens;  // of the batch's rows, as they are now
  std::vector<std::int32_t> step;  // of each draw: that of the round which committed it; < 0: none
  std::vector<float> probability;  // of its token in that step, without noise
};

/// Rounds of steps that follow each other on a device without waiting for the host: tokens lie in
/// its memory, and what a step commits is decided there (Ops::decide). All steps of a round compute
/// the same rows, with logits for all that may be filled in it; a text that has none left stays as
/// it is. The forward pass is repeated from a record (Ops::run_captured), one for each shape.
class DeviceRounds {
 public:
  /// Borrows `predictor`. `limits` as it was given.
  DeviceRounds(Ops& ops, TokenPredictor& predictor, std::int32_t mask_token,
               const ModelLimits& limits);
  /// What that allocates.
  static Plan plan(const ModelLimits& limits);

  /// The draws of the batch are of rows that the request did not give: those that hold the mask
  /// token are to be filled. `schedules` of the canvases, each with `steps` steps or more. Of a
  /// batch that goes on where the round before ended only the schedules are copied to the device.
  void begin(DecodingBatch batch, const std::vector<CommitSchedule>& schedules, std::int64_t steps);
  /// Of the round.
  const DecodingBatch& batch() const { return batch_; }
  /// `number` from 0, within the round.
  void step(std::int64_t number);
  /// Waits for the steps so far. Throws Error when a probability was not finite.
  const RoundCommits& commits();

 private:
  struct Slots {
    Slot rows, offsets, rules, bounds, least, step, probability, not_finite;
  };
  static Plan make_plan(const ModelLimits& limits, Slots& slots);
  Tensor first(Slot slot, std::int64_t n) const { return arena_[slot].row_range(0, n); }
  /// What the device holds of a round, beside the batch.
  struct Placed {
    std::vector<std::int32_t> rows, rules;
    std::vector<double> bounds;
    bool operator==(const Placed&) const = default;
  };
  bool goes_on(const DecodingBatch& batch, const Placed& placed) const;
  void place();

  /// What a record is of.
  struct PassShape {
    std::int64_t rows = 0, draws = 0, guided = 0, canvases = 0;
    bool operator==(const PassShape&) const = default;
  };
  struct Record {
    PassShape shape;
    std::unique_ptr<CapturedGraph> graph = nullptr;
    Tensor hidden = {};  // what it computes
  };
  Record& record_of(const PassShape& shape);

  Ops& ops_;
  TokenPredictor& predictor_;
  const std::int32_t mask_token_;
  Slots slots_;
  Arena arena_;
  std::list<Record> records_;  // the last used first
  DecodingBatch batch_;
  Placed placed_;
  std::vector<std::int32_t> least_;  // [steps, canvases]
  std::int64_t steps_ = 0;           // of the round
  std::int64_t first_step_ = 0;      // steps of earlier rounds of this batch
  RoundCommits commits_;
  // TokenPredictor::placements() where commits_ is what the device holds.
  std::optional<std::int64_t> fetched_;
};

}  // namespace lacuna
