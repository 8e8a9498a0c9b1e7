#pragma once
#include <array>
#include <atomic>
#include <cstdint>
#include <string>

namespace lacuna {

/// What the server counts, for Prometheus (text format 0.0.4). Any thread may count and read.
struct ServerMetrics {
  using Count = std::atomic<std::int64_t>;

  // Requests to generating endpoints, by how they ended.
  Count succeeded = 0, cancelled = 0, failed = 0, refused = 0, rejected = 0;
  Count queued = 0, active = 0;  // jobs now
  Count prompt_tokens = 0, completion_tokens = 0;
  Count cached_tokens = 0;  // of prompts, of all texts
  Count passes = 0, rows = 0, committed_tokens = 0;

  void observe_step(double seconds);
  /// All of it; `connections` and `slow_clients` of the HTTP server.
  std::string text(std::size_t connections, std::size_t slow_clients) const;

 private:
  static constexpr std::array<double, 10> kBounds = {0.001, 0.0025, 0.005, 0.01, 0.025,
                                                     0.05,  0.1,    0.25,  1,    5};
  std::array<Count, kBounds.size() + 1> step_buckets_{};
  Count step_microseconds_ = 0;
};

}  // namespace lacuna
