#pragma once

namespace lacuna {

/// While it lives, the first SIGINT (Ctrl-C), SIGTERM or SIGUSR1 (which launchers pass on) asks the
/// program to stop when it next can; the second one ends it at once, as it would have without this
/// object. On several ranks more signals change nothing, as launchers repeat what they pass on, and
/// rank 0 alone tells of them. One at a time.
class StopSignal {
 public:
  explicit StopSignal(int rank = 0, int ranks = 1);
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;
  static bool requested();
};

}  // namespace lacuna
