#include "training/stop_signal.h"

#include <unistd.h>

namespace lacuna {
namespace {

constexpr std::array<int, 6> kSignals = {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGPIPE};

// Handlers get no argument of ours; this is what they may write.
volatile std::sig_atomic_t stop_requested = 0, end_requested = 0;
volatile std::sig_atomic_t is_first_rank = 1, is_alone = 1;

void say(const char* message, std::size_t bytes) {
  [[maybe_unused]] const auto written = write(STDERR_FILENO, message, bytes);
}

extern "C" void handle_stop(int signal) {
  const bool may_end = is_alone && (signal == SIGINT || signal == SIGTERM);
  if (may_end && end_requested) {
    std::signal(signal, SIG_DFL);
    std::raise(signal);
    return;
  }
  if (may_end) end_requested = 1;
  if (stop_requested) return;
  stop_requested = 1;
  if (!is_first_rank) return;
  constexpr char message[] =
      "\nfinishing this step, then saving; a second Ctrl-C or SIGTERM ends at once\n";
  constexpr char to_many[] = "\nfinishing this step, then saving\n";
  if (is_alone)
    say(message, sizeof message - 1);
  else
    say(to_many, sizeof to_many - 1);
}

}  // namespace

StopSignal::StopSignal(int rank, int ranks) {
  stop_requested = 0;
  end_requested = 0;
  is_first_rank = rank == 0;
  is_alone = ranks == 1;
  struct sigaction stop {};
  stop.sa_handler = handle_stop;
  stop.sa_flags = SA_RESTART;  // reads and writes under way go on rather than fail with EINTR
  sigemptyset(&stop.sa_mask);
  struct sigaction ignore {};
  ignore.sa_handler = SIG_IGN;
  for (std::size_t i = 0; i < kSignals.size(); ++i) {
    sigaction(kSignals[i], nullptr, &before_[i]);
    if (before_[i].sa_handler == SIG_IGN && kSignals[i] != SIGINT) continue;
    sigaction(kSignals[i], kSignals[i] == SIGPIPE ? &ignore : &stop, nullptr);
  }
}

StopSignal::~StopSignal() {
  for (std::size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &before_[i], nullptr);
}

bool StopSignal::requested() { return stop_requested != 0; }

}  // namespace lacuna
