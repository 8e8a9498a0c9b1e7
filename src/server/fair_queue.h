#pragma once
#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace lacuna {

/// A queue of jobs from several clients. The next job is of the client with the fewest rows
/// computed while it had jobs queued or in progress, so that a client with many or long jobs does
/// not delay the others. Jobs of one client are served in order of arrival.
class FairQueue {
 public:
  void push(const std::string& client, std::int64_t job) {
    client_of(client).waiting.push_back(job);
  }
  std::size_t size() const {
    std::size_t jobs = 0;
    for (const auto& [name, c] : clients_) jobs += c.waiting.size();
    return jobs;
  }
  /// The job to be served next.
  std::optional<std::int64_t> front() const {
    const Client* least = nullptr;
    for (const auto& [name, c] : clients_)
      if (!c.waiting.empty() && (!least || c.rows < least->rows)) least = &c;
    return least ? std::optional(least->waiting.front()) : std::nullopt;
  }
  /// It is in progress now, or gone. Nothing where it does not wait.
  void remove(std::int64_t job) {
    for (auto& [name, c] : clients_) std::erase(c.waiting, job);
  }
  /// Rows were computed for a client.
  void charge(const std::string& client, std::int64_t rows) { client_of(client).rows += rows; }
  /// Forgets clients who have nothing here, but for those of `busy`. Who comes back later has no
  /// advantage from having been away: client_of().
  void forget_idle(const std::vector<std::string>& busy) {
    std::erase_if(clients_, [&](const auto& entry) {
      return entry.second.waiting.empty() &&
             std::find(busy.begin(), busy.end(), entry.first) == busy.end();
    });
  }

 private:
  struct Client {
    std::int64_t rows = 0;
    std::deque<std::int64_t> waiting = {};
  };
  Client& client_of(const std::string& name) {
    const auto at = clients_.find(name);
    if (at != clients_.end()) return at->second;
    std::int64_t least = 0;
    for (auto c = clients_.begin(); c != clients_.end(); ++c)
      least = c == clients_.begin() ? c->second.rows : std::min(least, c->second.rows);
    return clients_[name] = Client{least};
  }

  std::map<std::string, Client> clients_;
};

}  // namespace lacuna
