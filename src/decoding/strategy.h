#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "decoding/canvas.h"

namespace lacuna {

/// What one step computes of one canvas.
struct StepPlan {
  std::int64_t rows = 0;                 // query rows: the first of the canvas
  std::vector<std::int32_t> logit_rows;  // those of them that get logits, increasing
  std::vector<std::int32_t> open;        // the row that the draw from each of these may fill
  std::uint64_t noise_step = 0;          // names the draws' noise, with seed, sample and row
};

/// What is drawn at a plan's logit rows.
struct Draws {
  std::span<const std::int32_t> tokens;
  std::span<const float> confidence;  // softmax(logits)[token], without noise or temperature
};

/// Where a text stands.
struct DecodingProgress {
  std::int64_t block = 0, step = 0;  // the next step is this one of this block, from 0
  std::int64_t done = 0, of = 0;     // steps so far; at most, in all
  bool finished = false;
};

/// Decides which rows the steps of one text compute, and what they commit; one object per text. The
/// decoder calls plan(), choose() and advance() for each step until the text is finished.
class Strategy {
 public:
  virtual ~Strategy() = default;
  const DecodingProgress& progress() const { return progress_; }

  virtual StepPlan plan(const Canvas& canvas) const = 0;
  /// What the coming steps commit, where that is known before they are computed: as many rows of
  /// the highest confidences among the plan's open ones, in order, with noise steps from the plan's
  /// on. A device then runs them without the host, instead of choose(). Else nothing.
  virtual std::vector<std::int32_t> known_counts() const { return {}; }
  /// Indices of the draws that are committed, increasing.
  virtual std::vector<std::int64_t> choose(const Draws& draws) = 0;
  /// The step is done; what it committed is on the canvas.
  virtual void advance(const Canvas& canvas) = 0;

 protected:
  DecodingProgress progress_;
};

}  // namespace lacuna
