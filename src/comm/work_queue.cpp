#include "comm/work_queue.h"

#include <atomic>
#include <chrono>
#include <exception>
#include <thread>

#include "comm/mpi_detail.h"

namespace lacuna {
namespace {

constexpr std::chrono::milliseconds kPoll{1};
// Rank 0 answers within some polls, whatever it computes.
constexpr double kAnswerSeconds = 600;
constexpr int kTag = 0;
constexpr const char* kDrawing = "drawing the next item of work from rank 0";

}  // namespace

/// A number that all ranks count up. Rank 0 has it.
class WorkQueue::Counter {
 public:
  explicit Counter(const MpiSession& session)
      : session_(session), comm_(mpi::duplicate(MPI_COMM_WORLD)) {
    if (session_.rank() == 0) server_ = std::thread([this] { serve(); });
  }
  ~Counter() {
    const bool failing = std::uncaught_exceptions() > 0;
    if (!failing) session_.monitor()->wait_for_all();  // nobody asks any more
    stopping_ = true;
    if (server_.joinable()) server_.join();
    if (!failing) MPI_Comm_free(&comm_);
  }
  Counter(const Counter&) = delete;
  Counter& operator=(const Counter&) = delete;

  std::int64_t draw() {
    if (session_.rank() == 0) return next_++;
    Activity activity(session_.monitor(), kAnswerSeconds, [] { return kDrawing; });
    activity.waits_for({0});
    std::int64_t number = 0;
    mpi::check(MPI_Send(nullptr, 0, MPI_INT64_T, 0, kTag, comm_), kDrawing);
    mpi::check(MPI_Recv(&number, 1, MPI_INT64_T, 0, kTag, comm_, MPI_STATUS_IGNORE), kDrawing);
    return number;
  }

 private:
  void serve() {
    while (!stopping_) {
      int there = 0;
      MPI_Status status;
      if (MPI_Iprobe(MPI_ANY_SOURCE, kTag, comm_, &there, &status) != MPI_SUCCESS) return;
      if (!there) {
        std::this_thread::sleep_for(kPoll);
        continue;
      }
      const int from = status.MPI_SOURCE;
      const std::int64_t number = next_++;
      if (MPI_Recv(nullptr, 0, MPI_INT64_T, from, kTag, comm_, MPI_STATUS_IGNORE) != MPI_SUCCESS ||
          MPI_Send(&number, 1, MPI_INT64_T, from, kTag, comm_) != MPI_SUCCESS)
        return;  // `from` reports that it got no answer
    }
  }

  const MpiSession& session_;
  MPI_Comm comm_;
  std::atomic<std::int64_t> next_{0};
  std::atomic<bool> stopping_{false};
  std::thread server_;
};

WorkQueue::WorkQueue(const MpiSession& session, const DeviceMesh& mesh)
    : session_(session), mesh_(mesh) {
  if (mesh.data().size() > 1) counter_ = std::make_unique<Counter>(session);
}

WorkQueue::~WorkQueue() = default;

void WorkQueue::begin(std::int64_t count) {
  // Each group of ranks drew one number too many.
  begin_ += count_ + (count_ > 0 ? mesh_.data().size() : 0);
  count_ = count;
  drawn_ = 0;
  at_end_ = count == 0;
}

std::int64_t WorkQueue::draw() {
  if (!counter_) return drawn_++;
  std::int64_t number = mesh_.tensor().rank() == 0 ? counter_->draw() - begin_ : 0;
  mesh_.tensor().broadcast(Tensor(&number, Shape{1}), 0);
  mesh_.tensor().wait();
  return number;
}

std::optional<std::int64_t> WorkQueue::next() {
  if (at_end_) return std::nullopt;
  if (const std::int64_t item = draw(); item < count_) return item;
  at_end_ = true;
  return std::nullopt;
}

void WorkQueue::finish() {
  CHECK(at_end_, "a queue of work is finished that has items left");
  if (counter_) session_.monitor()->wait_for_all();
}

}  // namespace lacuna
