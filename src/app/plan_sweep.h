#pragma once
#include <string>

#include "app/known_config.h"
#include "app/plan_machine.h"

namespace lacuna {

/// Prints what a step takes on each number of ranks in options.sweep: a table, or with options.json
/// an object per number. UsageError when that is no list of numbers.
void print_sweep(const std::string& path, const KnownConfig& known, const PlanOptions& options);

}  // namespace lacuna
