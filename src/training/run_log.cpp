#include "training/run_log.h"

#include <cmath>
#include <cstdio>
#include <utility>
#include <vector>

#include "core/log.h"
#include "core/text.h"

namespace lacuna {
namespace {

constexpr double kRedrawSeconds = 0.1;

std::string rounded(const char* pattern, double value) {
  char buffer[64];
  std::snprintf(buffer, sizeof buffer, pattern, value);
  return buffer;
}

}  // namespace

RunLog::RunLog(const Config& config, std::int64_t steps, const std::filesystem::path& directory,
               std::int64_t resumed_step, double matmul_peak)
    : config_(config),
      steps_(steps),
      log_every_(config.train.log_every.interval(steps)),
      first_step_(resumed_step),
      matmul_peak_(matmul_peak),
      metrics_(directory / "metrics.jsonl", resumed_step),
      tensorboard_(directory, resumed_step),
      elapsed_before_(metrics_.elapsed()),
      window_(log_every_) {}

void RunLog::step(const TrainingState& state, const StepResult& result) {
  window_.add(result.record);
  if (result.skipped)
    log_warning(str("step ", state.step, " skipped: its loss is ", result.loss,
                    " and its gradient norm ", result.grad_norm));
  const bool last = state.step == steps_;
  const bool logged = last || state.step % log_every_ == 0;
  const Progress now = progress(state, result);
  if (log_is_terminal() && !last) {
    if (drawn_.seconds() >= kRedrawSeconds) {
      log_progress(progress_line(now, terminal_columns()));
      drawn_ = Stopwatch();
    }
  } else if (logged) {
    log_info(progress_line(now, terminal_columns()));
  }
  if (!logged) return;
  metrics_.write(StepMetrics{.step = state.step,
                             .loss = result.loss,
                             .grad_norm = result.grad_norm,
                             .learning_rate = result.learning_rate,
                             .tokens = state.tokens,
                             .tokens_per_second = now.tokens_per_second,
                             .mfu = now.utilisation,
                             .elapsed = now.elapsed,
                             .samples = state.samples,
                             .bad_steps = state.bad_steps,
                             .data_seconds = result.record.data_seconds,
                             .communication_seconds = result.record.communication_seconds,
                             .checkpoint_seconds = std::exchange(checkpoint_seconds_, 0),
                             .figures = result.figures});
  std::vector<Scalar> scalars = {{"train/loss", result.loss},
                                 {"train/grad_norm", result.grad_norm},
                                 {"train/learning_rate", result.learning_rate},
                                 {"speed/tokens_per_second", now.tokens_per_second},
                                 {"speed/mfu", now.utilisation}};
  for (const Figure& f : result.figures) scalars.push_back({"train/" + f.name, f.value});
  tensorboard_.scalars(state.step, scalars);
}

void RunLog::validation(std::int64_t step, const ValidationResult& result) {
  std::string line =
      str("validation after step ", step, ": ", rounded("%.4f", result.bound),
          config_.train.objective == Objective::autoregressive ? " nats per token"
                                                               : " nats per token (bound)");
  std::vector<Scalar> scalars = {{"validation/bound", result.bound}};
  if (result.bits_per_byte) {
    line += rounded(", %.4f bits per byte", *result.bits_per_byte);
    scalars.push_back({"validation/bits_per_byte", *result.bits_per_byte});
  }
  for (const Figure& f : result.figures) {
    line += str(", ", f.name, rounded(" %.4f", f.value));
    scalars.push_back({"validation/" + f.name, f.value});
  }
  log_info(line);
  scalars.push_back({"validation/standard_error", result.standard_error});
  const std::vector<double>& losses = result.loss_by_mask_probability;
  for (std::size_t i = 0; i < losses.size(); ++i)
    if (!std::isnan(losses[i]))
      scalars.push_back(
          {str("validation/loss_by_mask_probability/", 10 * i, "_to_", 10 * (i + 1), "_percent"),
           losses[i]});
  metrics_.write(ValidationMetrics{step, result.bound, result.bits_per_byte, result.standard_error,
                                   losses, result.figures});
  tensorboard_.scalars(step, scalars);
}

void RunLog::sample(std::int64_t step, const std::string& text) {
  const std::string shown = printable(text);
  std::string indented = str("sample after step ", step, ":\n", shown);
  for (std::size_t at = indented.find('\n'); at != std::string::npos;
       at = indented.find('\n', at + 1))
    indented.insert(at + 1, "  ");
  log_info(indented);
  tensorboard_.text(step, "sample", shown);
}

Progress RunLog::progress(const TrainingState& state, const StepResult& result) const {
  const double per_step = session_.seconds() / double(state.step - first_step_);
  return {.step = state.step,
          .steps = steps_,
          .loss = window_.mean_loss(),
          .grad_norm = result.grad_norm,
          .learning_rate = result.learning_rate,
          .tokens_per_second = window_.tokens_per_second(),
          .utilisation = matmul_peak_ > 0 ? window_.flops_per_second() / matmul_peak_ : 0,
          .elapsed = elapsed(),
          .remaining = per_step * double(steps_ - state.step),
          .bad_steps = state.bad_steps};
}

}  // namespace lacuna
