#pragma once
#include "kernels/platform/emulated/toolkit/state.h"

struct CUevent_st {
  bool times;
  int device;
  bool recorded = false;
  std::optional<lacuna::emulator::Mark> mark{};  // none: on the legacy default stream, or captured
  double microseconds = 0;                       // the stream's clock
  std::shared_ptr<lacuna::toolkit::Capture> capture{};
  lacuna::toolkit::Frontier frontier{};
};
