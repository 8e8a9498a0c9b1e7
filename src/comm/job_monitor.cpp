#include "comm/job_monitor.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <list>
#include <map>
#include <optional>
#include <thread>

#include "comm/mpi_detail.h"
#include "core/check.h"
#include "core/log.h"
#include "core/text.h"

namespace lacuna {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

enum Tag : int { failure_tag = 1, question_tag = 2, answer_tag = 3 };

constexpr milliseconds kPoll{20};
// Failures that reach rank 0 within this time of the first are one event.
constexpr milliseconds kGather{1000};
// How long to wait for an answer: a rank that is alive answers within some polls.
constexpr milliseconds kAnswer{2000};
// After this a rank that failed no longer counts on rank 0.
constexpr milliseconds kRankZero{3000};
// After this a failed rank's monitor itself must be stuck.
constexpr milliseconds kLastResort{30000};
// Texts are cut so that messages go out eagerly (4 KiB and more on every transport).
constexpr std::size_t kLongestText = 2000;

struct Failure {
  int rank;
  int code;
  std::string message;
};

std::string list_of(const std::vector<int>& ranks) {
  std::string text = ranks.size() == 1 ? "rank " : "ranks ";
  const std::size_t shown = ranks.size() <= 8 ? ranks.size() : 6;
  for (std::size_t i = 0; i < shown; ++i)
    text += str(i == 0 ? "" : i + 1 == ranks.size() ? " and " : ", ", ranks[i]);
  if (shown < ranks.size()) text += str(" and ", ranks.size() - shown, " others");
  return text;
}

std::uint64_t next_id() {
  static std::atomic<std::uint64_t> last{0};
  return ++last;
}

}  // namespace

Activity::Activity(JobMonitor* monitor, double limit_seconds, std::function<std::string()> describe)
    : monitor_(monitor), limit_(limit_seconds), describe_(std::move(describe)), id_(next_id()) {
  if (monitor_) monitor_->add(this);
}

Activity::~Activity() {
  if (monitor_) monitor_->remove(this);
}

void Activity::waits_for(std::vector<int> ranks) {
  std::lock_guard lock(mutex_);
  awaited_ = std::move(ranks);
}

void Activity::waits_for_others(int rank, int size) {
  std::vector<int> others;
  for (int other = 0; other < size; ++other)
    if (other != rank) others.push_back(other);
  waits_for(std::move(others));
}

struct JobMonitor::State {
  MPI_Comm comm = MPI_COMM_NULL;
  int rank = 0, size = 1;

  std::mutex mutex;  // of the four below
  std::condition_variable wake;
  std::list<Activity*> activities;
  std::optional<Failure> own_failure;  // the first of this rank
  bool stopping = false;

  // The thread's own:
  bool failure_sent = false;
  Clock::time_point self_abort, first_failure, last_tick = Clock::now();
  std::vector<Failure> failures;  // of all ranks, on rank 0, in the order of arrival
  std::map<int, std::string> answers;
  std::thread thread;

  void run();
  bool fail_here(const std::string& message, int code);
  void receive_messages();
  void send(int to, int tag, const std::string& text) const;
  void pass_on_own_failure();
  void report_failures();
  void check_limits();
  void end_stuck(std::uint64_t id, const std::string& what, double waited,
                 const std::vector<int>& awaited);
  std::string doing();
  std::map<int, std::string> ask(const std::vector<int>& ranks);
  [[noreturn]] void print_and_abort(const std::string& message, int code) const;
};

JobMonitor::JobMonitor() : state_(std::make_unique<State>()) {
  state_->comm = mpi::duplicate(MPI_COMM_WORLD);
  MPI_Comm_rank(state_->comm, &state_->rank);
  MPI_Comm_size(state_->comm, &state_->size);
  state_->thread = std::thread([s = state_.get()] { s->run(); });
}

JobMonitor::~JobMonitor() {
  {
    std::lock_guard lock(state_->mutex);
    state_->stopping = true;
  }
  state_->wake.notify_all();
  state_->thread.join();
  MPI_Comm_free(&state_->comm);
}

void JobMonitor::add(Activity* activity) {
  std::lock_guard lock(state_->mutex);
  state_->activities.push_back(activity);
}

void JobMonitor::remove(Activity* activity) {
  std::lock_guard lock(state_->mutex);
  state_->activities.remove(activity);
}

void JobMonitor::end_job(const std::string& message, int code) {
  state_->fail_here(message, code);
  std::this_thread::sleep_for(kLastResort);
  state_->print_and_abort(str("rank ", state_->rank, " of ", state_->size, ": ", message), code);
}

void JobMonitor::wait_for_all() {
  MPI_Request request = MPI_REQUEST_NULL;
  mpi::check(MPI_Ibarrier(state_->comm, &request), "waiting for the other ranks to end");
  for (milliseconds pause{1};; pause = std::min(2 * pause, kPoll)) {
    int done = 0;
    mpi::check(MPI_Test(&request, &done, MPI_STATUS_IGNORE), "waiting for the other ranks to end");
    if (done) return;
    std::this_thread::sleep_for(pause);
  }
}

void JobMonitor::State::run() {
  for (;;) {
    {
      std::unique_lock lock(mutex);
      wake.wait_for(lock, kPoll, [&] { return stopping; });
      if (stopping) return;
    }
    receive_messages();
    check_limits();
    pass_on_own_failure();
    report_failures();
  }
}

/// Notes what this rank failed of; only the first counts.
bool JobMonitor::State::fail_here(const std::string& message, int code) {
  std::lock_guard lock(mutex);
  if (own_failure) return false;
  own_failure = Failure{rank, code, message};
  return true;
}

/// Sends an eager message. Gives up after a while: then `to` is out of reach.
void JobMonitor::State::send(int to, int tag, const std::string& text) const {
  auto buffer = std::make_unique<std::string>(text.substr(0, kLongestText));
  MPI_Request request = MPI_REQUEST_NULL;
  if (MPI_Isend(buffer->data(), int(buffer->size()), MPI_CHAR, to, tag, comm, &request) !=
      MPI_SUCCESS)
    return;
  for (const auto begin = Clock::now(); Clock::now() - begin < kAnswer;) {
    int done = 0;
    if (MPI_Test(&request, &done, MPI_STATUS_IGNORE) != MPI_SUCCESS || done) return;
    std::this_thread::sleep_for(milliseconds(1));
  }
  (void)buffer.release();  // MPI may still read it; the job is about to end
}

void JobMonitor::State::receive_messages() {
  for (;;) {
    int there = 0;
    MPI_Status status;
    if (MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, comm, &there, &status) != MPI_SUCCESS || !there)
      return;
    int length = 0;
    MPI_Get_count(&status, MPI_CHAR, &length);
    std::string text(std::size_t(length), '\0');
    const int from = status.MPI_SOURCE;
    if (MPI_Recv(text.data(), length, MPI_CHAR, from, status.MPI_TAG, comm, MPI_STATUS_IGNORE) !=
        MPI_SUCCESS)
      return;
    if (status.MPI_TAG == question_tag) {
      send(from, answer_tag, doing());
    } else if (status.MPI_TAG == answer_tag) {
      answers[from] = text;
    } else if (!text.empty()) {  // a failure: the exit code's character, then the message
      if (failures.empty()) first_failure = Clock::now();
      failures.push_back({from, int(text[0]), text.substr(1)});
    }
  }
}

/// Tells rank 0 why this rank fails; when the job goes on regardless, ends it from here.
void JobMonitor::State::pass_on_own_failure() {
  Failure failure;
  {
    std::lock_guard lock(mutex);
    if (!own_failure) return;
    failure = *own_failure;
  }
  if (failure_sent) {
    if (rank != 0 && Clock::now() > self_abort)
      print_and_abort(str("rank ", rank, " of ", size, ": ", failure.message), failure.code);
    return;
  }
  failure_sent = true;
  // A rank that is out of reach leaves many with the same to say; they take turns.
  self_abort = Clock::now() + kRankZero + std::min(rank, 10) * milliseconds(1000);
  if (rank == 0) {
    if (failures.empty()) first_failure = Clock::now();
    failures.push_back(failure);
  } else {
    send(0, failure_tag, char(failure.code) + failure.message);
  }
}

/// On rank 0: ends the job when ranks have failed and others had the time to say so, too.
void JobMonitor::State::report_failures() {
  const bool all = failures.size() == std::size_t(size);
  if (failures.empty() || (!all && Clock::now() - first_failure < kGather)) return;
  const Failure& first = failures.front();
  const auto alike = std::count_if(failures.begin(), failures.end(), [&](const Failure& f) {
    return f.message.compare(0, kLongestText - 1, first.message, 0, kLongestText - 1) == 0;
  });
  std::string message = first.message;
  if (alike < size) {
    message = str("rank ", first.rank, " of ", size, ": ", message);
    if (alike > 1)
      message +=
          str(" (", alike - 1, alike == 2 ? " other rank says" : " others say", " the same)");
  }
  print_and_abort(message, first.code);
}

void JobMonitor::State::check_limits() {
  const auto now = Clock::now();
  // A stopped and continued process finds its clock far ahead: count what passed while it ran.
  const double passed = std::min(1.0, std::chrono::duration<double>(now - last_tick).count());
  last_tick = now;
  std::uint64_t id = 0;
  double waited = 0;
  std::string what;
  std::vector<int> awaited;
  {
    std::lock_guard lock(mutex);
    if (own_failure) return;
    for (Activity* a : activities) {
      const std::uint64_t progress = a->progress_.load(std::memory_order_relaxed);
      a->waited_ = progress == a->progress_seen_ ? a->waited_ + passed : 0;
      a->progress_seen_ = progress;
      if (a->limit_ <= 0 || a->waited_ <= a->limit_ || id) continue;
      id = a->id_;
      waited = a->waited_;
      what = a->describe_();
      std::lock_guard awaited_lock(a->mutex_);
      awaited = a->awaited_;
    }
  }
  if (id) end_stuck(id, what, waited, awaited);
}

void JobMonitor::State::end_stuck(std::uint64_t id, const std::string& what, double waited,
                                  const std::vector<int>& awaited) {
  const auto said = ask(awaited);
  {  // Perhaps the last one came while we asked.
    std::lock_guard lock(mutex);
    const auto same = std::find_if(activities.begin(), activities.end(),
                                   [&](const Activity* a) { return a->id_ == id; });
    if (same == activities.end() ||
        (*same)->progress_.load(std::memory_order_relaxed) != (*same)->progress_seen_)
      return;
  }
  std::string message = str(what, " made no progress for ", human_duration(waited));
  if (!awaited.empty()) message += ", waiting for " + list_of(awaited);
  for (const auto& [other, answer] : said) message += str("; rank ", other, ' ', answer);
  fail_here(message, 1);
}

/// What this rank is in, for those who wait for it.
std::string JobMonitor::State::doing() {
  std::lock_guard lock(mutex);
  if (own_failure) return "has failed: " + own_failure->message;
  if (activities.empty()) return "is in no collective";
  std::string text;
  for (Activity* a : activities) {
    text += (text.empty() ? "is in " : " and ") + a->describe_();
    std::lock_guard awaited_lock(a->mutex_);
    if (!a->awaited_.empty()) text += ", waiting for " + list_of(a->awaited_);
  }
  return text;
}

/// What the ranks (the first few of them) say they are doing.
std::map<int, std::string> JobMonitor::State::ask(const std::vector<int>& ranks) {
  answers.clear();
  const std::vector<int> asked(ranks.begin(), ranks.begin() + std::min<long>(3, ranks.size()));
  for (int other : asked) send(other, question_tag, "");
  for (const auto begin = Clock::now();
       answers.size() < asked.size() && Clock::now() - begin < kAnswer;) {
    std::this_thread::sleep_for(milliseconds(1));
    receive_messages();  // others may be asking us
  }
  std::map<int, std::string> said = answers;
  for (int other : asked) said.try_emplace(other, "does not answer");
  return said;
}

void JobMonitor::State::print_and_abort(const std::string& message, int code) const {
  log_error(message);
  MPI_Abort(MPI_COMM_WORLD, code);
  std::_Exit(code);
}

}  // namespace lacuna
