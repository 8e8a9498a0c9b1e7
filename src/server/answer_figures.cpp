#include "server/answer_figures.h"

#include <cmath>

#include "core/json.h"

namespace lacuna {
namespace {

double milliseconds(double seconds) { return std::round(seconds * 1e6) / 1e3; }

}  // namespace

void add_figures(nlohmann::ordered_json& answer, std::int64_t prompt_tokens,
                 std::int64_t completion_tokens, std::uint64_t seed, const JobTimes& times) {
  answer["usage"] = {{"prompt_tokens", prompt_tokens},
                     {"completion_tokens", completion_tokens},
                     {"total_tokens", prompt_tokens + completion_tokens},
                     {"prompt_tokens_details", {{"cached_tokens", times.cached_tokens}}}};
  answer["seed"] = seed;
  answer["timings"] = {{"forward_passes", times.passes},
                       {"canvas_tokens", times.canvas_tokens},
                       {"queue_ms", milliseconds(times.queued_seconds)},
                       {"denoise_ms", milliseconds(times.seconds)}};
}

}  // namespace lacuna
