#pragma once
#include <cstddef>

namespace lacuna::emulator {

/// A stack of its own for one emulated thread. The scheduler enters it; code on it leaves back to
/// the scheduler. The sanitizers are told of every switch. To ThreadSanitizer fibers are threads
/// that nothing orders but `happens_before` and `happens_after`.
class Fiber {
 public:
  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  /// The next enter() calls `entry` on a fresh stack. What was on it is forgotten, not unwound.
  void start(void (*entry)());
  /// Runs it until it calls leave(). From the scheduler's own stack only.
  void enter();
  /// Back to the scheduler. `finished`: it will not be entered again before start().
  void leave(bool finished);

 private:
  char* stack_;
  void* context_ = nullptr;
  void* fake_stack_ = nullptr;  // AddressSanitizer's
  void* tsan_ = nullptr;
  bool clean_ = true;  // whether its last run finished
};

/// For ThreadSanitizer, nothing otherwise: what came before happens_before(at) is visible after a
/// later happens_after(at).
void happens_before(void* at);
void happens_after(void* at);

}  // namespace lacuna::emulator
