#pragma once
#include <cstdint>
#include <deque>
#include <string>

namespace lacuna {

/// What one step took and gave.
struct StepRecord {
  double loss = 0;
  std::int64_t tokens = 0;
  double flops = 0;
  double seconds = 0;       // training alone: no data wait, validation, sample or checkpoint
  double data_seconds = 0;  // spent on waiting for data
  double communication_seconds = 0;  // of `seconds`, spent on waiting for other ranks
};

/// The last few steps, for figures that one step alone gives badly.
class StepWindow {
 public:
  explicit StepWindow(std::int64_t steps) : size_(steps) {}
  void add(const StepRecord& record);
  double mean_loss() const;  // over the steps whose loss is finite
  double tokens_per_second() const;
  double flops_per_second() const;

 private:
  std::int64_t size_;
  std::deque<StepRecord> records_;
};

/// What the progress line says.
struct Progress {
  std::int64_t step = 0, steps = 0;
  double loss = 0, grad_norm = 0, learning_rate = 0;
  double tokens_per_second = 0, utilisation = 0;
  double elapsed = 0, remaining = 0;  // seconds
  std::int64_t bad_steps = 0;
};

/// "step 120/2,000  loss 5.213  grad 0.84  lr 9.2e-04  41,234 tok/s  62 % of peak  1m20s  ETA
/// 12m05s", and the number of skipped steps if there are any. In fewer than the needed columns the
/// least important parts are left out; 0 columns: no limit.
std::string progress_line(const Progress& progress, int columns);

/// Columns of the terminal on standard error; 0 when it is none.
int terminal_columns();

}  // namespace lacuna
