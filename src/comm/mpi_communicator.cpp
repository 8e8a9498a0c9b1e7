#include "comm/mpi_communicator.h"

#include <sys/prctl.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "comm/host_staging.h"
#include "comm/mpi_group.h"

namespace lacuna {
namespace {

using Clock = std::chrono::steady_clock;

MPI_Comm duplicate_of_world(const MpiSession& session, const CommunicationOptions& options) {
  Activity activity(session.monitor(), options.timeout_seconds,
                    [] { return "making the group 'world'"; });
  activity.waits_for_others(session.rank(), session.size());
  return mpi::duplicate(MPI_COMM_WORLD);
}

}  // namespace

/// The thread of a communicator and the collectives it still has to run. The thread shares it, for
/// the case that it has to be left behind in a call that never returns.
class MpiCommunicator::Worker {
 public:
  using Task = std::function<void(mpi::Group&)>;

  Worker(MPI_Comm comm, const std::string& name, JobMonitor* monitor,
         const CommunicationOptions& options)
      : group(comm, name, monitor, options) {}

  static std::shared_ptr<Worker> start(MPI_Comm comm, const std::string& name, JobMonitor* monitor,
                                       const CommunicationOptions& options) {
    auto worker = std::make_shared<Worker>(comm, name, monitor, options);
    worker->thread_ = std::thread([worker] { worker->run(); });
    return worker;
  }

  /// Throws what an earlier task threw, if one did.
  void add(Task task) {
    {
      std::lock_guard lock(mutex_);
      if (error_) std::rethrow_exception(error_);
      tasks_.push_back(std::move(task));
      ++unfinished_;
    }
    wake_.notify_one();
  }

  /// Returns when all tasks have run. Throws what the first that failed threw; those behind it do
  /// not run.
  void wait() {
    std::unique_lock lock(mutex_);
    idle_.wait(lock, [&] { return unfinished_ == 0; });
    if (error_) std::rethrow_exception(error_);
  }

  /// Ends the thread when all tasks have run, or, giving up, as soon as it can.
  void stop(bool giving_up) {
    std::unique_lock lock(mutex_);
    stopping_ = true;
    giving_up = giving_up || error_;
    if (giving_up) {
      tasks_.clear();
      group.cancel();
    }
    wake_.notify_one();
    if (!giving_up || idle_.wait_for(lock, kPatience, [&] { return ended_; })) {
      lock.unlock();
      thread_.join();
    } else {
      thread_.detach();
    }
  }

  mpi::Group group;
  std::int64_t calls = 0;  // of the collectives queued so far; the caller's

 private:
  static constexpr std::chrono::seconds kPatience{2};

  void run() {
    // Naps between polls take as long as they say, and not 50 microseconds more.
    prctl(PR_SET_TIMERSLACK, 1000UL, 0, 0, 0);  // in nanoseconds, of this thread
    std::unique_lock lock(mutex_);
    for (;;) {
      wake_.wait(lock, [&] { return stopping_ || !tasks_.empty(); });
      if (tasks_.empty()) break;
      Task task = std::move(tasks_.front());
      tasks_.pop_front();
      lock.unlock();
      std::exception_ptr error;
      try {
        task(group);
      } catch (...) {
        error = std::current_exception();
      }
      lock.lock();
      --unfinished_;
      if (error) {
        error_ = error;
        tasks_.clear();
        unfinished_ = 0;
      }
      if (unfinished_ == 0) idle_.notify_all();
    }
    ended_ = true;
    idle_.notify_all();
  }

  std::mutex mutex_;  // of all below but the thread
  std::condition_variable wake_, idle_;
  std::deque<Task> tasks_;
  int unfinished_ = 0;
  bool stopping_ = false, ended_ = false;
  std::exception_ptr error_;
  std::thread thread_;
};

MpiCommunicator::MpiCommunicator(const MpiSession& session, Ops* ops,
                                 const CommunicationOptions& options)
    : MpiCommunicator(
          Worker::start(duplicate_of_world(session, options), "world", session.monitor(), options),
          ops) {}

MpiCommunicator::MpiCommunicator(std::shared_ptr<Worker> worker, Ops* ops)
    : worker_(std::move(worker)),
      staging_(std::make_unique<HostStaging>(ops)),
      exceptions_at_birth_(std::uncaught_exceptions()) {}

MpiCommunicator::~MpiCommunicator() {
  // When an exception passes by, the other ranks may never do their part of what is queued.
  worker_->stop(std::uncaught_exceptions() > exceptions_at_birth_);
}

int MpiCommunicator::rank() const { return worker_->group.rank(); }
int MpiCommunicator::size() const { return worker_->group.size(); }
const std::string& MpiCommunicator::name() const { return worker_->group.name(); }

std::unique_ptr<Communicator> MpiCommunicator::split(int color, int key, const std::string& name) {
  MPI_Comm part = MPI_COMM_NULL;
  worker_->add([&](mpi::Group& group) { part = group.split(color, key); });
  wait();
  if (part == MPI_COMM_NULL) return std::make_unique<SelfCommunicator>(name, staging_->ops());
  const mpi::Group& group = worker_->group;
  return std::unique_ptr<Communicator>(new MpiCommunicator(
      Worker::start(part, name, group.monitor(), group.options()), staging_->ops()));
}

/// Queues `run` as collective `c` of the group. Tensors on a device are to be staged by then.
void MpiCommunicator::queue(Collective c, std::function<void(mpi::Group&, const Collective&)> run) {
  c.number = ++worker_->calls;
  worker_->add([c, run = std::move(run)](mpi::Group& group) { run(group, c); });
}

void MpiCommunicator::all_reduce(Tensor x, Reduce operation) {
  const Collective c = check_all_reduce(x, operation);
  join_if_pending({x});
  std::byte* data = staging_->read_and_written(x);
  queue(c, [=](mpi::Group& group, const Collective& call) { group.all_reduce(call, data); });
}

void MpiCommunicator::all_gather(Tensor out, Tensor mine) {
  const Collective c = check_all_gather(out, mine, rank(), size());
  join_if_pending({out, mine});
  std::byte *from = staging_->read(mine), *to = staging_->written(out);
  queue(c, [=](mpi::Group& group, const Collective& call) { group.all_gather(call, to, from); });
}

void MpiCommunicator::reduce_scatter(Tensor mine, Tensor in, Reduce operation) {
  const Collective c = check_reduce_scatter(mine, in, operation, rank(), size());
  join_if_pending({mine, in});
  std::byte *from = staging_->read(in), *to = staging_->written(mine);
  queue(c,
        [=](mpi::Group& group, const Collective& call) { group.reduce_scatter(call, to, from); });
}

void MpiCommunicator::broadcast(Tensor x, int root) {
  const Collective c = check_broadcast(x, root, size());
  join_if_pending({x});
  std::byte* data = rank() == root ? staging_->read(x) : staging_->written(x);
  queue(c, [=](mpi::Group& group, const Collective& call) { group.broadcast(call, data); });
}

void MpiCommunicator::barrier() {
  queue({}, [](mpi::Group& group, const Collective& call) { group.barrier(call); });
  wait();
}

void MpiCommunicator::wait() {
  const auto begin = Clock::now();
  worker_->wait();
  staging_->finish();
  stats_.waited_seconds += std::chrono::duration<double>(Clock::now() - begin).count();
}

/// A device tensor whose new contents are still in host memory has to get them before it is read
/// again.
void MpiCommunicator::join_if_pending(std::initializer_list<Tensor> tensors) {
  for (const Tensor& t : tensors)
    if (staging_->pending(t)) return wait();
}

CommunicationStats MpiCommunicator::stats() const {
  CommunicationStats stats = stats_;
  stats.collectives = worker_->calls;
  stats.bytes_sent = worker_->group.bytes_sent();
  return stats;
}

}  // namespace lacuna
