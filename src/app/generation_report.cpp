#include "app/generation_report.h"

#include <algorithm>

#include "core/atomic_file.h"
#include "core/json.h"
#include "core/log.h"
#include "core/text.h"

namespace lacuna {
namespace {

struct Rates {
  double tokens_per_pass, tokens_per_step, pass_seconds, tokens_per_second;

  Rates(const DecodingStats& s, std::int64_t decoders, double seconds) {
    const double passes = double(std::max<std::int64_t>(1, s.passes));
    tokens_per_pass = double(s.tokens) / passes;
    tokens_per_step = double(s.tokens) / double(std::max<std::int64_t>(1, s.steps));
    pass_seconds = seconds * double(decoders) / passes;
    tokens_per_second = double(s.tokens) / seconds;
  }
};

}  // namespace

nlohmann::ordered_json json_of(const DecodingStats& s, std::int64_t decoders, double seconds) {
  const Rates rates(s, decoders, seconds);
  return {{"passes", s.passes},
          {"rows", s.rows},
          {"logit_rows", s.logit_rows},
          {"tokens", s.tokens},
          {"refreshes", s.refreshes},
          {"steps", s.steps},
          {"tokens_per_step", rates.tokens_per_step},
          {"tokens_per_pass", rates.tokens_per_pass},
          {"ms_per_pass", 1e3 * rates.pass_seconds},
          {"tokens_per_second", rates.tokens_per_second}};
}

void GenerationReport::add(const DecodingResult& result) {
  if (path_.empty()) return;
  const nlohmann::ordered_json line = {{"sample", result.id},
                                       {"tokens", result.tokens},
                                       {"step", result.committed_at},
                                       {"probability", result.probability}};
  lines_ += line.dump() + "\n";
}

void GenerationReport::finish(const DecodingStats& s, std::int64_t decoders, double seconds,
                              bool print, const std::string& json) {
  if (!path_.empty()) write_file(path_, lines_);
  if (!json.empty()) write_file(json, json_of(s, decoders, seconds).dump(1) + "\n");
  const Rates rates(s, decoders, seconds);
  if (print)
    log_info(str(counted(s.tokens, "token"), " in ", counted(s.passes, "pass", "passes"), " (",
                 format("%.2f", rates.tokens_per_pass), " per pass), ", with_commas(s.rows),
                 " rows computed, ", counted(s.refreshes, "refresh", "refreshes"), ", ",
                 human_time(rates.pass_seconds), " per pass, ",
                 format("%.2f", rates.tokens_per_second), " tokens/s"));
}

}  // namespace lacuna
