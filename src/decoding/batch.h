#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "decoding/cached_rows.h"
#include "decoding/strategy.h"
#include "kernels/ops.h"
#include "model/attention_mask.h"
#include "model/sequences.h"

namespace lacuna {

/// Draws that share their parameters: those before `end`, from the end of the run before.
struct DrawRun {
  std::int64_t end;
  SamplingParameters parameters;
  double cfg_scale;
};

/// The rows of one forward pass: those that the plans of its canvases ask for, end to end; and
/// behind them those of guided canvases once more, as the unconditional branch sees them.
struct DecodingBatch {
  std::vector<std::int32_t> tokens;
  Sequences sequences;  // logit_rows: of the M draws, then of the `guided` unconditional ones
  std::vector<std::int64_t> keys;          // [M], of each draw's noise (noise_key())
  std::vector<std::int32_t> current;       // [M], the token that is in the draw's row
  std::vector<std::int64_t> draw_offsets;  // [canvases + 1], of the draws
  std::vector<DrawRun> runs;               // of the draws
  std::int64_t guided = 0;                 // of the draws
  std::int64_t shift = 0;                  // StepPlan::shift, of all canvases
  WantedStatistics wanted;
  std::vector<TokenBias> biases;  // [M], of each draw's logits; empty: none has one

  std::int64_t canvases() const { return std::int64_t(draw_offsets.size()) - 1; }
  std::int64_t draws() const { return std::int64_t(keys.size()); }
  /// The row of `tokens` that the draw from logit row m, of those for open rows, may fill.
  std::int32_t drawn_row(std::size_t m) const {
    return sequences.logit_rows[m] + std::int32_t(shift);
  }
};

/// A canvas and its next step.
struct PlannedStep {
  const Canvas* canvas;
  const DecodingOptions* options;
  const Strategy* strategy;
  std::int64_t sample;
  std::optional<CacheRows> slab;  // of the KV cache
  StepPlan plan;
  CachedRows::Pass pass;
  std::vector<TokenBias> biases;  // of the open rows, or none
};

/// What a batch needs to know of the model.
struct BatchModel {
  AttentionMask mask;
  std::int32_t mask_token;  // hides what the unconditional branch must not see; not drawn but where
                            // a strategy allows it. -1: none
  std::int64_t unconditional_cache;  // where the unconditional branches' half of the cache begins
};

/// With a KV cache, `steps` in the order of their slabs.
DecodingBatch batch_of(std::span<const PlannedStep> steps, const BatchModel& model);

/// The key of the noise at `position` of sample `sample`: the same wherever it is computed.
std::int64_t noise_key(std::int64_t sample, std::int64_t position);

}  // namespace lacuna
