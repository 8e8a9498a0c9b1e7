// One way for a job to go wrong, named by the argument; started by fault_test.cpp under mpirun.
// With a second argument, "nccl", the collectives are those of a device for each rank.
#include <csignal>
#include <cstdlib>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include "comm/device_mesh.h"
#include "comm/world.h"
#include "kernels/backend.h"
#include "tests/support/device.h"

using namespace lacuna;

namespace {

void sleep_seconds(double seconds) {
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
}

/// A vector of ones, and who reduces it.
struct Job {
  static constexpr std::int64_t kCount = 200000;

  /// `ops`: of this rank's device, or null.
  Job(MpiSession& s, Ops* o) : session(s), ops(o) {
    const CommunicationOptions options{.timeout_seconds = 3};
    world = world_communicator(session, ops, options, ops ? Transport::nccl : Transport::mpi);
    if (!ops) return;
    on_device = Tensor(ops->memory().allocate(kCount * 4), {kCount}, DType::f32, Place::device);
    ops->fill(on_device, 1);
  }
  ~Job() {
    world.reset();
    if (ops) ops->memory().release(on_device.data, on_device.bytes());
  }

  MpiSession& session;
  Ops* ops;
  std::unique_ptr<Communicator> world;
  std::vector<float> x = std::vector<float>(kCount, 1.0f);
  Tensor on_device;

  Tensor tensor() { return ops ? on_device : Tensor(x.data(), {kCount}); }
  bool is(int rank) const { return session.rank() == rank; }
  void reduce() {
    world->all_reduce(tensor(), Reduce::max);
    world->wait();
    if (ops) ops->synchronize();
  }
  /// Collectives without end: what the others are in when one goes wrong.
  [[noreturn]] void work() {
    for (;;) reduce();
  }
  void work(int rounds) {
    for (int i = 0; i < rounds; ++i) reduce();
  }
};

int run(const std::string& fault, bool nccl, MpiSession& session) {
  const std::unique_ptr<Ops> ops =
      nccl ? make_ops(testing::kDevice, {.index = session.rank()}) : nullptr;
  Job job(session, ops.get());
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
      const Tensor queued = nccl ? job.tensor() : Tensor(mine.data(), Shape{100000});
      group->all_reduce(queued, Reduce::sum);
      group->all_reduce(queued, Reduce::sum);
      fail("a tensor went wrong");
    }
    const auto group = job.world->split(0, 0, "other");
    if (nccl) group->all_reduce(job.tensor(), Reduce::sum);  // connects
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
  } else if (fault == "leaves") {  // as when a link breaks: its process lives on
    job.work(10);
    if (job.is(2)) job.world.reset(), sleep_seconds(1000);
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
    DeviceMesh(std::move(job.world), 3);
  } else {
    fail_usage("no fault is called " + fault);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  return run_ranks(
      [&](MpiSession& session) { return run(argc > 1 ? argv[1] : "", argc > 2, session); });
}
