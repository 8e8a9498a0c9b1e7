#include "decoding/batch.h"

#include "core/check.h"

namespace lacuna {
namespace {

constexpr int kPositionBits = 20;

bool same(const SamplingParameters& a, const SamplingParameters& b) {
  return a.temperature == b.temperature && a.seed == b.seed && a.step == b.step;
}

/// The canvas's query rows as one more sequence; returns the first of them.
std::int32_t append_rows(DecodingBatch& batch, const PlannedStep& step) {
  const auto begin = step.canvas->tokens.begin();
  batch.tokens.insert(batch.tokens.end(), begin, begin + step.plan.rows);
  const std::int32_t first = batch.sequences.offsets.back();
  batch.sequences.offsets.push_back(std::int32_t(batch.tokens.size()));
  return first;
}

void append_draws(DecodingBatch& batch, const PlannedStep& step, std::int32_t first) {
  for (const std::int32_t row : step.plan.logit_rows)
    batch.sequences.logit_rows.push_back(first + row);
  for (const std::int32_t row : step.plan.open)
    batch.keys.push_back(noise_key(step.sample, row - step.canvas->hidden));
  batch.draw_offsets.push_back(batch.draws());
  const DecodingOptions& o = *step.options;
  const DrawRun run{batch.draws(), {o.temperature, o.seed, step.plan.noise_step}, o.cfg_scale};
  if (!batch.runs.empty() && same(batch.runs.back().parameters, run.parameters) &&
      batch.runs.back().cfg_scale == run.cfg_scale)
    batch.runs.back().end = run.end;
  else
    batch.runs.push_back(run);
  if (o.cfg_scale > 0) batch.guided = batch.draws();
}

}  // namespace

std::int64_t noise_key(std::int64_t sample, std::int64_t position) {
  CHECK(position < std::int64_t{1} << kPositionBits, "position ", position,
        " of a text; at most 2^", kPositionBits, " can be sampled");
  return sample << kPositionBits | position;
}

DecodingBatch batch_of(std::span<const PlannedStep> steps, std::int32_t mask_token) {
  DecodingBatch batch;
  batch.sequences.offsets.push_back(0);
  batch.draw_offsets.push_back(0);
  for (const PlannedStep& step : steps) append_draws(batch, step, append_rows(batch, step));
  const std::int32_t shift = batch.sequences.offsets.back();
  for (const PlannedStep& step : steps) {
    if (step.options->cfg_scale == 0) break;
    const std::int32_t first = append_rows(batch, step);
    for (std::int64_t i = 0; i < step.plan.rows; ++i)
      if (step.canvas->fixed[std::size_t(i)]) batch.tokens[std::size_t(first + i)] = mask_token;
  }
  // The unconditional rows lie as far behind their own as the branches' first rows are apart.
  for (std::int64_t m = 0; m < batch.guided; ++m)
    batch.sequences.logit_rows.push_back(batch.sequences.logit_rows[std::size_t(m)] + shift);
  return batch;
}

}  // namespace lacuna
