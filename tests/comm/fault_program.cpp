// One way for a job to go wrong, named by the argument; started by fault_test.cpp under mpirun.
#include <csignal>
#include <cstdlib>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include "comm/grid.h"
#include "comm/world.h"

using namespace lacuna;

namespace {

void sleep_seconds(double seconds) {
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
}

struct Job {
  MpiSession& session;
  std::unique_ptr<Communicator> world;
  std::vector<float> x = std::vector<float>(200000, 1.0f);
  Tensor tensor() { return Tensor(x.data(), Shape{std::int64_t(x.size())}); }

  bool is(int rank) const { return session.rank() == rank; }
  /// Collectives without end: what the others are in when one goes wrong.
  [[noreturn]] void work() {
    for (;;) {
      world->all_reduce(tensor(), Reduce::max);
      world->join();
    }
  }
  void work(int rounds) {
    for (int i = 0; i < rounds; ++i) {
      world->all_reduce(tensor(), Reduce::max);
      world->join();
    }
  }
};

int run(const std::string& fault, MpiSession& session) {
  CommunicationOptions options;
  options.timeout_seconds = 3;
  Job job{session, world_communicator(session, nullptr, options)};
  const int last = session.size() - 1;
  if (fault == "none") {
    job.work(10);
    if (job.is(0)) sleep_seconds(0.5);  // others end first, and wait for it
  } else if (fault == "exit_code") {
    return 3;
  } else if (fault == "error") {
    job.work(10);
    if (job.is(2)) fail("tokens.h5: no space left on device");
    job.work();
  } else if (fault == "error_on_rank_0") {
    if (job.is(0)) fail("cannot write the log");
    job.work();
  } else if (fault == "usage_error") {
    if (job.is(1)) fail_usage("--gen-length must be positive");
    job.work();
  } else if (fault == "same_error") {
    fail_usage("pretrain.toml:3: unknown key 'stesp'; did you mean 'steps'?");
  } else if (fault == "error_with_queue") {  // the tensors of queued collectives go out of scope
    if (job.is(2)) {
      std::vector<float> mine(100000, 1.0f);
      const auto group = job.world->split(0, 0, "other");
      group->all_reduce(Tensor(mine.data(), Shape{100000}), Reduce::sum);
      group->all_reduce(Tensor(mine.data(), Shape{100000}), Reduce::sum);
      fail("a tensor went wrong");
    }
    job.world->split(0, 0, "other");
    job.work();
  } else if (fault == "no_memory") {
    job.work(3);
    if (job.is(3)) throw std::bad_alloc();
    job.work();
  } else if (fault == "killed") {
    job.work(10);
    if (job.is(1)) std::raise(SIGKILL);
    job.work();
  } else if (fault == "killed_rank_0") {
    job.work(10);
    if (job.is(0)) std::raise(SIGKILL);
    job.work();
  } else if (fault == "late") {  // computes for ever
    job.work(10);
    if (job.is(2)) sleep_seconds(1000);
    job.work();
  } else if (fault == "slow") {  // but comes before the limit, every time
    for (int i = 0; i < 4; ++i) {
      if (job.is(i % session.size())) sleep_seconds(1);
      job.work(1);
    }
  } else if (fault == "endless") {  // until something from outside ends it
    for (;; sleep_seconds(0.01)) job.work(1);
  } else if (fault == "stopped") {
    job.work(10);
    if (job.is(last)) std::raise(SIGSTOP);
    job.work();
  } else if (fault == "stopped_rank_0") {
    job.work(10);
    if (job.is(0)) std::raise(SIGSTOP);
    job.work();
  } else if (fault == "deadlock") {  // rank 0 waits for the others in one group, they in another
    const auto other = job.world->split(0, session.rank(), "other");
    (job.is(0) ? job.world : other)->barrier();
  } else if (fault == "quarrel") {
    if (job.is(1)) job.world->broadcast(job.tensor(), 0);
    job.work(1);
  } else if (fault == "configurations") {
    check_same_on_all_ranks(*job.world, str("[train]\nseed = ", job.is(2) ? 2 : 1, '\n'),
                            "the configuration");
  } else if (fault == "grid") {
    Grid(std::move(job.world), 3);
  } else {
    fail_usage("no fault is called " + fault);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  return run_ranks([&](MpiSession& session) { return run(argc > 1 ? argv[1] : "", session); });
}
