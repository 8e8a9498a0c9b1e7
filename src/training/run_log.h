#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "config/config.h"
#include "core/stopwatch.h"
#include "training/figure.h"
#include "training/metrics.h"
#include "training/progress.h"
#include "training/tensorboard.h"
#include "training/training_state.h"
#include "training/validator.h"

namespace lacuna {

/// One step: its loss and gradient norm, and what became of them.
struct StepResult {
  double loss = 0, grad_norm = 0, learning_rate = 0;
  bool skipped = false;  // loss or norm not finite: weights and moments are as they were
  StepRecord record;
  std::vector<Figure> figures = {};
};

/// The training logger: the progress line, metrics.jsonl, TensorBoard.
class RunLog {
 public:
  /// Of a run of `steps`, in folder `directory`, after step `resumed_step`. `matmul_peak` in FLOP/s
  /// is what utilisation is a share of.
  RunLog(const Config& config, std::int64_t steps, const std::filesystem::path& directory,
         std::int64_t resumed_step, double matmul_peak);

  /// After each step. Every train.log_every steps, and after the last, a line is written; on a
  /// terminal the progress line is redrawn more often.
  void step(const TrainingState& state, const StepResult& result);
  void validation(std::int64_t step, const ValidationResult& result);
  /// A checkpoint stalled training for so long.
  void checkpoint(double seconds) { checkpoint_seconds_ += seconds; }
  void sample(std::int64_t step, const std::string& text);
  /// The step of the last validation; -1 when there was none.
  std::int64_t last_validation() const { return metrics_.last_validation(); }

 private:
  Progress progress(const TrainingState& state, const StepResult& result) const;
  double elapsed() const { return elapsed_before_ + session_.seconds(); }

  const Config& config_;
  const std::int64_t steps_, log_every_;
  const std::int64_t first_step_;  // of this session
  const double matmul_peak_;
  MetricsLog metrics_;
  TensorBoardLog tensorboard_;
  const double elapsed_before_;  // in earlier sessions
  StepWindow window_;
  double checkpoint_seconds_ = 0;  // since the last line
  Stopwatch session_, drawn_;
};

}  // namespace lacuna
