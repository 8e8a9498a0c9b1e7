#include "training/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/check.h"
#include "core/text.h"

namespace lacuna {
namespace {

struct Part {
  std::string text;
  int importance;  // the lowest goes first when there is no room
};

}  // namespace

void StepWindow::add(const StepRecord& record) {
  records_.push_back(record);
  if (std::int64_t(records_.size()) > size_) records_.pop_front();
}

double StepWindow::mean_loss() const {
  double sum = 0;
  int n = 0;
  for (const StepRecord& r : records_) {
    if (!std::isfinite(r.loss)) continue;
    sum += r.loss;
    ++n;
  }
  return n ? sum / n : std::numeric_limits<double>::quiet_NaN();
}

double StepWindow::tokens_per_second() const {
  double tokens = 0, seconds = 0;
  for (const StepRecord& r : records_) {
    tokens += double(r.tokens);
    seconds += r.seconds;
  }
  return seconds > 0 ? tokens / seconds : 0;
}

double StepWindow::flops_per_second() const {
  double flops = 0, seconds = 0;
  for (const StepRecord& r : records_) {
    flops += r.flops;
    seconds += r.seconds;
  }
  return seconds > 0 ? flops / seconds : 0;
}

std::string progress_line(const Progress& p, int columns) {
  std::vector<Part> parts = {
      {str("step ", with_commas(p.step), "/", with_commas(p.steps)), 9},
      {format("loss %.3f", p.loss), 8},
      {format("grad %#.3g", p.grad_norm), 4},
      {format("lr %.2e", p.learning_rate), 3},
      {with_commas(std::llround(p.tokens_per_second)) + " tok/s", 5},
      {format("%.0f %% of peak", 100 * p.utilisation), 2},
      {human_duration(p.elapsed), 1},
      {"ETA " + human_duration(p.remaining), 6},
  };
  if (p.bad_steps > 0) parts.push_back({str(with_commas(p.bad_steps), " skipped"), 7});
  const auto joined = [&] {
    std::string line;
    for (const Part& part : parts) line += (line.empty() ? "" : "  ") + part.text;
    return line;
  };
  std::string line = joined();
  // A full last column makes some terminals wrap.
  while (columns > 0 && int(line.size()) >= columns && parts.size() > 1) {
    parts.erase(std::min_element(parts.begin(), parts.end(), [](const Part& a, const Part& b) {
      return a.importance < b.importance;
    }));
    line = joined();
  }
  return line;
}

int terminal_columns() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

}  // namespace lacuna
