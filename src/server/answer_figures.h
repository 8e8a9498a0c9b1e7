#pragma once
#include <cstdint>
#include <nlohmann/json_fwd.hpp>

#include "server/engine.h"

namespace lacuna {

/// Adds to an answer what all endpoints that generate say in its end: OpenAI's `usage`, the `seed`
/// and `timings`.
void add_figures(nlohmann::ordered_json& answer, std::int64_t prompt_tokens,
                 std::int64_t completion_tokens, std::uint64_t seed, const JobTimes& times);

}  // namespace lacuna
