#pragma once
// For validate.cpp alone.
#include "config/config.h"

namespace lacuna {

/// The rules of data.sources and data.stages. Throws UsageError.
void validate_sources(const DataConfig& data);

}  // namespace lacuna
