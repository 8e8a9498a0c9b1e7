#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "training/append_file.h"
#include "training/figure.h"

namespace lacuna {

/// A line of metrics.jsonl about training, under these names. What step `step` (counted from 1)
/// itself had: nothing is smoothed.
struct StepMetrics {
  std::int64_t step = 0;
  double loss = 0;               // nats per token; the diffusion bound, on this step's random masks
  double grad_norm = 0;          // of all gradients together, before clipping
  double learning_rate = 0;      // the update's
  std::int64_t tokens = 0;       // trained on since the run began
  double tokens_per_second = 0;  // since the line before; training alone (training/flops.h)
  double mfu = 0;                // share of the measured peak, likewise
  double elapsed = 0;            // seconds since the run began, over all its sessions
  std::int64_t samples = 0;      // sequences trained on since the run began
  std::int64_t bad_steps = 0;    // steps skipped since the run began
  double data_seconds = 0;       // this step's wait for data, on rank 0
  double communication_seconds = 0;  // and for other ranks: what computation did not hide
  double checkpoint_seconds = 0;     // that checkpoints stalled training since the line before
  std::vector<Figure> figures = {};  // of this step, each under its own name
};

/// A line about validation after step `step`.
struct ValidationMetrics {
  std::int64_t step = 0;
  double validation_bound = 0;                              // nats per token
  std::optional<double> bits_per_byte;                      // when the tokens' text is known
  double validation_error = 0;                              // standard error of the bound
  std::vector<double> validation_loss_by_mask_probability;  // or empty (ValidationResult)
  std::vector<Figure> figures = {};  // each under "validation_" and its own name
};

/// metrics.jsonl: a JSON object per line, appended as training goes. A number that is not finite is
/// null.
class MetricsLog {
 public:
  /// Goes on after step `resumed_step`: lines beyond it (of a session that went further than its
  /// last checkpoint) and a line cut short are dropped. 0 starts an empty file.
  MetricsLog(const std::filesystem::path& path, std::int64_t resumed_step);

  void write(const StepMetrics& metrics);
  void write(const ValidationMetrics& metrics);

  /// `elapsed` of the last training line; 0 when there is none.
  double elapsed() const { return elapsed_; }
  /// The step of the last validation line; -1 when there is none.
  std::int64_t last_validation() const { return last_validation_; }

 private:
  double elapsed_ = 0;
  std::int64_t last_validation_ = -1;
  std::unique_ptr<AppendFile> file_;
};

}  // namespace lacuna
