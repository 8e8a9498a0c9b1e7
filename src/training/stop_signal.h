#pragma once
#include <array>
#include <csignal>

namespace lacuna {

/// While it lives, a signal asks the program to stop when it next can: SIGINT (Ctrl-C), SIGTERM,
/// SIGHUP (the terminal was closed), SIGUSR1 or SIGUSR2 (which launchers send before a time limit).
/// A second SIGINT or SIGTERM ends it at once, as it would have without this object; the others may
/// come any number of times. On several ranks more signals change nothing, as launchers repeat what
/// they pass on, and rank 0 alone reports them. A signal that the program was started to ignore (by
/// nohup) stays ignored, but for SIGINT, which shells ignore in every background job. Writing to a
/// pipe that nobody reads any more does not end the program. One at a time.
class StopSignal {
 public:
  explicit StopSignal(int rank = 0, int ranks = 1);
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;
  static bool requested();

 private:
  std::array<struct sigaction, 6> before_{};
};

}  // namespace lacuna
