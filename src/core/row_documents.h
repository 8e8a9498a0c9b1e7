#pragma once
#include <cstdint>
#include <vector>

namespace lacuna {

/// The documents in one sequence of training.
struct RowDocuments {
  std::vector<std::int32_t> starts;  // where others than the first begin, increasing, above 0
  std::int32_t length = 0;           // tokens; behind them is padding
};

}  // namespace lacuna
