#pragma once
#include <cstdint>

namespace lacuna {

/// How the contributions of several ranks become one.
enum class Reduce : std::uint8_t { sum, mean, max };

}  // namespace lacuna
