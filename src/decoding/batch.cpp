#include "decoding/batch.h"

#include "core/check.h"

namespace lacuna {
namespace {

constexpr int kPositionBits = 20;

/// Lays rows end to end. Key rows of a sequence begin at `base`: its slab of the cache or, without
/// one, its own first row.
class BatchBuilder {
 public:
  BatchBuilder(DecodingBatch& batch, const BatchModel& model) : batch_(batch), model_(model) {
    batch_.sequences.offsets.push_back(0);
    batch_.draw_offsets.push_back(0);
  }

  /// The step's rows as one more sequence; unconditional, with the mask token in place of what the
  /// request gave.
  void add_sequence(const PlannedStep& step, bool unconditional) {
    Sequences& s = batch_.sequences;
    const auto first = std::int32_t(batch_.tokens.size());
    std::int32_t base = first;
    if (step.slab) {
      const auto shift = std::int32_t(unconditional ? model_.unconditional_cache : 0);
      s.slabs.push_back({step.slab->begin + shift, step.slab->end + shift});
      base = s.slabs.back().begin;
    }
    const StepPlan& plan = step.plan;
    batch_.shift = plan.shift;
    std::size_t logit = 0;
    for (const std::int32_t row : step.pass.rows) {
      const bool hides = unconditional && step.canvas->fixed[std::size_t(row)];
      if (logit < plan.open.size() && plan.logit_row(logit) == row) {
        s.logit_rows.push_back(std::int32_t(batch_.tokens.size()));
        ++logit;
      }
      add_row(hides ? model_.mask_token : step.canvas->tokens[std::size_t(row)], row,
              model_.mask.keys(base, base + plan.visible, row), step.slab.has_value(), base + row);
    }
    CHECK(logit == plan.open.size(), "a pass leaves out rows that need logits");
    const auto visible = base + std::int32_t(plan.visible),
               end = visible + std::int32_t(plan.shadows.size());
    std::size_t verified = 0;
    for (std::size_t i = 0; i < plan.shadows.size(); ++i) {
      const std::int32_t row = plan.shadows[i];
      if (verified < plan.verified.size() && plan.verified[verified] == row) {
        s.logit_rows.push_back(std::int32_t(batch_.tokens.size()));
        ++verified;
      }
      const KeyIntervals keys = row == 0 ? key_interval(base + 1, end)
                                         : KeyIntervals{base, base + row, base + row + 1, end};
      add_row(model_.mask_token, row, keys, step.slab.has_value(), visible + std::int32_t(i));
    }
    s.offsets.push_back(std::int32_t(batch_.tokens.size()));
  }

  void add_draws(const PlannedStep& step) {
    const Canvas& canvas = *step.canvas;
    const auto draw = [&](std::int32_t row) {
      batch_.keys.push_back(noise_key(step.sample, row - canvas.hidden));
      batch_.current.push_back(row < canvas.rows() ? canvas.tokens[std::size_t(row)] : 0);
    };
    for (const std::int32_t row : step.plan.open) draw(row);
    for (const std::int32_t row : step.plan.verified) draw(row);
    if (!step.biases.empty()) {
      batch_.biases.resize(std::size_t(batch_.draw_offsets.back()));
      batch_.biases.insert(batch_.biases.end(), step.biases.begin(), step.biases.end());
    }
    batch_.draw_offsets.push_back(batch_.draws());
    const DecodingOptions& o = *step.options;
    DrawRun run{batch_.draws(),
                {.temperature = o.temperature, .seed = o.seed, .step = step.plan.noise_step},
                o.cfg_scale};
    if (!step.strategy->may_draw_mask()) run.parameters.forbidden[0] = model_.mask_token;
    if (!batch_.runs.empty() && batch_.runs.back().parameters == run.parameters &&
        batch_.runs.back().cfg_scale == run.cfg_scale)
      batch_.runs.back().end = run.end;
    else
      batch_.runs.push_back(run);
    if (o.cfg_scale > 0) batch_.guided += step.plan.draws();
    batch_.wanted = batch_.wanted | step.strategy->needs();
  }

 private:
  void add_row(std::int32_t token, std::int32_t position, const KeyIntervals& keys, bool cached,
               std::int32_t cache_row) {
    batch_.tokens.push_back(token);
    batch_.sequences.positions.push_back(position);
    batch_.sequences.keys.push_back(keys);
    if (cached) batch_.sequences.cache_rows.push_back(cache_row);
  }

  DecodingBatch& batch_;
  const BatchModel& model_;
};

}  // namespace

std::int64_t noise_key(std::int64_t sample, std::int64_t position) {
  CHECK(position < std::int64_t{1} << kPositionBits, "position ", position,
        " of a text; at most 2^", kPositionBits, " can be sampled");
  return sample << kPositionBits | position;
}

DecodingBatch batch_of(std::span<const PlannedStep> steps, const BatchModel& model) {
  DecodingBatch batch;
  BatchBuilder builder(batch, model);
  for (const PlannedStep& step : steps) {
    builder.add_sequence(step, false);
    builder.add_draws(step);
  }
  if (!batch.biases.empty()) batch.biases.resize(std::size_t(batch.draws()));
  for (const PlannedStep& step : steps)
    if (step.options->cfg_scale > 0) builder.add_sequence(step, true);
  return batch;
}

}  // namespace lacuna
