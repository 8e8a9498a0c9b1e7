#include "comm/startup_watch.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <string>

#include "core/check.h"
#include "core/log.h"
#include "core/text.h"

namespace lacuna {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kPoll{50};
constexpr int kMostTurns = 10;  // seconds that the last ranks leave to those before them

/// What the launcher says before MPI does; -1 where it says nothing.
int number_from_launcher(std::initializer_list<const char*> variables) {
  for (const char* name : variables)
    if (const char* value = std::getenv(name)) return std::max(-1, std::atoi(value));
  return -1;
}

}  // namespace

StartupWatch::StartupWatch(double limit_seconds) {
  if (limit_seconds > 0) thread_ = std::thread([this, limit_seconds] { run(limit_seconds); });
}

StartupWatch::~StartupWatch() {
  {
    const std::lock_guard lock(mutex_);
    done_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void StartupWatch::run(double limit_seconds) {
  const int rank = number_from_launcher({"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"}),
            size = number_from_launcher({"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_NTASKS"});
  const double turn = std::clamp(rank, 0, kMostTurns);
  double waited = 0;
  std::unique_lock lock(mutex_);
  for (auto last = Clock::now(); waited <= limit_seconds + turn;) {
    if (wake_.wait_for(lock, kPoll, [this] { return done_; })) return;
    const auto now = Clock::now();
    // A process that was stopped and continued finds its clock far ahead.
    waited += std::min(1.0, std::chrono::duration<double>(now - last).count());
    last = now;
  }
  log_error(str(rank < 0   ? std::string()
                : size < 0 ? str("rank ", rank, ": ")
                           : str("rank ", rank, " of ", size, ": "),
                "the ranks of the job did not come together in ", human_duration(waited),
                " (parallel.timeout): one was not started, is stopped, or cannot be reached"));
  std::_Exit(1);
}

}  // namespace lacuna
