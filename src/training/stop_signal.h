#pragma once

namespace lacuna {

/// While it lives, the first SIGINT (Ctrl-C) or SIGTERM asks the program to stop when it next can;
/// the second one ends it at once, as it would have without this object. One at a time.
class StopSignal {
 public:
  StopSignal();
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;
  static bool requested();
};

}  // namespace lacuna
