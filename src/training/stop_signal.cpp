#include "training/stop_signal.h"

#include <unistd.h>

#include <csignal>
#include <cstring>
#include <initializer_list>

namespace lacuna {
namespace {

// Handlers get no argument of ours; this is what they may write.
volatile std::sig_atomic_t stop_requested = 0;
volatile std::sig_atomic_t is_first_rank = 1, is_alone = 1;

extern "C" void handle_stop(int signal) {
  if (stop_requested) {
    if (!is_alone) return;
    std::signal(signal, SIG_DFL);
    std::raise(signal);
    return;
  }
  stop_requested = 1;
  if (!is_first_rank) return;
  constexpr char message[] = "\nfinishing this step, then saving; a second signal ends at once\n";
  constexpr char to_many[] = "\nfinishing this step, then saving\n";
  [[maybe_unused]] const auto written = is_alone
                                            ? write(STDERR_FILENO, message, sizeof message - 1)
                                            : write(STDERR_FILENO, to_many, sizeof to_many - 1);
}

void set_handler(void (*handler)(int), int flags) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = flags;
  sigemptyset(&action.sa_mask);
  for (const int signal : {SIGINT, SIGTERM, SIGUSR1}) sigaction(signal, &action, nullptr);
}

}  // namespace

StopSignal::StopSignal(int rank, int ranks) {
  stop_requested = 0;
  is_first_rank = rank == 0;
  is_alone = ranks == 1;
  // Reads and writes under way go on rather than fail with EINTR.
  set_handler(handle_stop, SA_RESTART);
}

StopSignal::~StopSignal() { set_handler(SIG_DFL, 0); }

bool StopSignal::requested() { return stop_requested != 0; }

}  // namespace lacuna
