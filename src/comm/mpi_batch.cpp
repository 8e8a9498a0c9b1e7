#include "comm/mpi_batch.h"

#include <algorithm>
#include <chrono>
#include <thread>

namespace lacuna::mpi {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::microseconds;
using std::chrono::milliseconds;

// How long to poll without pause after something happened, and how long the naps are after that.
// Naps and not sched_yield(): who yields on a busy machine comes back milliseconds later, who wakes
// up goes first.
constexpr microseconds kEager{30};
constexpr microseconds kShortestNap{20}, kLongestNap{200};
// From when on messages may say whom this rank waits for.
constexpr milliseconds kWorthSaying{100};
// What is under way to or from a living rank is through by then.
constexpr milliseconds kDrain{500};

}  // namespace

void Batch::send(const void* data, std::int64_t bytes, int to, int tag) {
  if (bytes == 0) return;
  requests_.push_back(MPI_REQUEST_NULL);
  peers_.push_back({to, true});
  check(MPI_Isend(data, int(bytes), MPI_BYTE, to, tag, comm_, &requests_.back()), "MPI_Isend");
}

void Batch::receive(void* data, std::int64_t bytes, int from, int tag) {
  if (bytes == 0) return;
  requests_.push_back(MPI_REQUEST_NULL);
  peers_.push_back({from, false});
  check(MPI_Irecv(data, int(bytes), MPI_BYTE, from, tag, comm_, &requests_.back()), "MPI_Irecv");
}

/// Whether something completed.
bool Batch::test(Waiter& waiter) {
  int completed = 0;
  const int code = MPI_Testsome(int(requests_.size()), requests_.data(), &completed,
                                indices_.data(), statuses_.data());
  if (code == MPI_ERR_IN_STATUS) {
    for (int i = 0; i < completed; ++i) {
      const Peer peer = peers_[std::size_t(indices_[std::size_t(i)])];
      check(statuses_[std::size_t(i)].MPI_ERROR,
            str(peer.sending ? "sending to" : "receiving from", " rank ",
                waiter.world_ranks[std::size_t(peer.rank)]));
    }
  }
  check(code, "MPI_Testsome");
  if (completed == MPI_UNDEFINED) {
    requests_.clear();
    peers_.clear();
    return true;
  }
  return completed > 0;
}

std::vector<int> Batch::awaited(const Waiter& waiter) const {
  std::vector<int> senders, receivers;
  for (std::size_t i = 0; i < requests_.size(); ++i)
    if (requests_[i] != MPI_REQUEST_NULL)
      (peers_[i].sending ? receivers : senders)
          .push_back(waiter.world_ranks[std::size_t(peers_[i].rank)]);
  std::vector<int>& ranks = senders.empty() ? receivers : senders;
  std::sort(ranks.begin(), ranks.end());
  ranks.erase(std::unique(ranks.begin(), ranks.end()), ranks.end());
  return ranks;
}

void Batch::wait(Waiter& waiter) {
  indices_.resize(requests_.size());
  statuses_.resize(requests_.size());
  bool said = false;
  auto since = Clock::now();
  microseconds nap = kShortestNap;
  while (!requests_.empty()) {
    if (test(waiter)) {
      waiter.activity.progressed();
      if (said) waiter.activity.waits_for({});
      said = false;
      since = Clock::now();
      nap = kShortestNap;
      continue;
    }
    CHECK(!waiter.cancelled.load(std::memory_order_relaxed), "given up");
    const auto idle = Clock::now() - since;
    if (idle < kEager) continue;
    if (!said && idle > kWorthSaying) {
      waiter.activity.waits_for(awaited(waiter));
      said = true;
    }
    std::this_thread::sleep_for(nap);
    nap = std::min(2 * nap, kLongestNap);
  }
}

Batch::~Batch() {
  if (requests_.empty()) return;
  // The memory may be gone soon. Receives nobody has begun to serve can be taken back; of the rest
  // hope that it gets through.
  for (std::size_t i = 0; i < requests_.size(); ++i)
    if (requests_[i] != MPI_REQUEST_NULL && !peers_[i].sending) MPI_Cancel(&requests_[i]);
  for (const auto begin = Clock::now(); Clock::now() - begin < kDrain;) {
    int all = 0;
    if (MPI_Testall(int(requests_.size()), requests_.data(), &all, MPI_STATUSES_IGNORE) !=
            MPI_SUCCESS ||
        all)
      return;
    std::this_thread::sleep_for(milliseconds(1));
  }
}

}  // namespace lacuna::mpi
