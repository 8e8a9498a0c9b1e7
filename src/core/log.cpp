#include "core/log.h"

#include <unistd.h>

#include <cstdio>
#include <mutex>

#include "core/check.h"
#include "core/text.h"

namespace lacuna {
namespace {

// The one piece of state that belongs to the process and not to a run: who may write to its
// terminal.
struct State {
  std::mutex mutex;
  int rank = 0, ranks = 1;
  bool progress_shown = false;
};
State& state() {
  static State s;
  return s;
}

void write_line(State& s, const std::string& line) {
  if (s.progress_shown) std::fputs("\r\033[K", stderr);
  s.progress_shown = false;
  std::fputs((printable(line) + "\n").c_str(), stderr);
}

}  // namespace

void set_log_rank(int rank, int ranks) {
  std::lock_guard lock(state().mutex);
  state().rank = rank;
  state().ranks = ranks;
}

void log_info(const std::string& line) {
  State& s = state();
  std::lock_guard lock(s.mutex);
  if (s.rank == 0) write_line(s, line);
}

void log_warning(const std::string& line) {
  State& s = state();
  std::lock_guard lock(s.mutex);
  write_line(s, s.ranks > 1 ? str("rank ", s.rank, " of ", s.ranks, ": warning: ", line)
                            : "warning: " + line);
}

void log_error(const std::string& message) {
  State& s = state();
  std::lock_guard lock(s.mutex);
  write_line(s, "lacuna: " + message);
}

bool log_is_terminal() { return isatty(STDERR_FILENO) != 0; }

void log_progress(const std::string& line) {
  State& s = state();
  std::lock_guard lock(s.mutex);
  if (s.rank != 0 || !log_is_terminal()) return;
  std::fputs(("\r\033[K" + printable(line)).c_str(), stderr);
  s.progress_shown = !line.empty();
}

}  // namespace lacuna
