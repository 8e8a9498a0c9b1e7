#include "app/generation_report.h"

#include <algorithm>

#include "core/atomic_file.h"
#include "core/json.h"
#include "core/log.h"
#include "core/text.h"

namespace lacuna {
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
  const double passes = double(std::max<std::int64_t>(1, s.passes));
  const double per_pass = double(s.tokens) / passes, rate = double(s.tokens) / seconds,
               pass_seconds = seconds * double(decoders) / passes;
  if (!json.empty()) {
    const nlohmann::ordered_json figures = {{"passes", s.passes},
                                            {"rows", s.rows},
                                            {"logit_rows", s.logit_rows},
                                            {"tokens", s.tokens},
                                            {"refreshes", s.refreshes},
                                            {"tokens_per_pass", per_pass},
                                            {"ms_per_pass", 1e3 * pass_seconds},
                                            {"tokens_per_second", rate}};
    write_file(json, figures.dump(1) + "\n");
  }
  if (print)
    log_info(str(counted(s.tokens, "token"), " in ", counted(s.passes, "pass", "passes"), " (",
                 format("%.2f", per_pass), " per pass), ", with_commas(s.rows), " rows computed, ",
                 counted(s.refreshes, "refresh", "refreshes"), ", ", human_time(pass_seconds),
                 " per pass, ", format("%.2f", rate), " tokens/s"));
}

}  // namespace lacuna
