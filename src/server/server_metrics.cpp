#include "server/server_metrics.h"

#include <algorithm>

#include "core/check.h"

namespace lacuna {

void ServerMetrics::observe_step(double seconds) {
  const auto bucket = std::lower_bound(kBounds.begin(), kBounds.end(), seconds) - kBounds.begin();
  ++step_buckets_[std::size_t(bucket)];
  step_microseconds_ += std::int64_t(seconds * 1e6);
}

std::string ServerMetrics::text(std::size_t connections, std::size_t slow_clients) const {
  std::string out;
  const auto describe = [&](const char* name, const char* type, const char* help) {
    out += str("# HELP lacuna_", name, " ", help, "\n# TYPE lacuna_", name, " ", type, "\n");
  };
  const auto metric = [&](const char* name, const char* type, const char* help, std::int64_t n) {
    describe(name, type, help);
    out += str("lacuna_", name, " ", n, "\n");
  };
  describe("requests_total", "counter", "Requests that generate, by outcome.");
  const std::pair<const char*, std::int64_t> outcomes[] = {{"succeeded", succeeded},
                                                           {"cancelled", cancelled},
                                                           {"failed", failed},
                                                           {"refused", refused},
                                                           {"rejected", rejected}};
  for (const auto& [outcome, n] : outcomes)
    out += str("lacuna_requests_total{outcome=\"", outcome, "\"} ", n, "\n");
  metric("requests_active", "gauge", "Requests queued or in progress.", queued + active);
  metric("requests_queued", "gauge", "Requests that wait for rows.", queued);
  metric("connections", "gauge", "Open connections.", std::int64_t(connections));
  metric("slow_clients_total", "counter", "Connections closed because the client read too little.",
         std::int64_t(slow_clients));
  metric("prompt_tokens_total", "counter", "Tokens of prompts.", prompt_tokens);
  metric("cached_prompt_tokens_total", "counter",
         "Tokens of prompts whose keys and values were kept, of each text by itself.",
         cached_tokens);
  metric("completion_tokens_total", "counter", "Tokens of answers.", completion_tokens);
  metric("forward_passes_total", "counter", "Forward passes.", passes);
  metric("rows_total", "counter", "Rows that forward passes computed.", rows);
  metric("committed_tokens_total", "counter", "Tokens that forward passes committed.",
         committed_tokens);
  describe("step_seconds", "histogram", "Time of a decoding step.");
  std::int64_t sum = 0;
  for (std::size_t i = 0; i <= kBounds.size(); ++i) {
    sum += step_buckets_[i];
    out += str("lacuna_step_seconds_bucket{le=\"",
               i < kBounds.size() ? str(kBounds[i]) : std::string("+Inf"), "\"} ", sum, "\n");
  }
  out += str("lacuna_step_seconds_sum ", double(step_microseconds_) / 1e6,
             "\nlacuna_step_seconds_count ", sum, "\n");
  return out;
}

}  // namespace lacuna
