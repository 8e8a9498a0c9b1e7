#pragma once
// For the .cpp files of data/ and evaluation/ that read JSON alone.
#include <string>

#include "core/check.h"
#include "core/json.h"

namespace lacuna {

/// The object that `text` is. Throws Error naming `place` (file:line) for anything else; for a
/// number out of range, nesting deeper than 100, and a key that one object has twice, of which a
/// reader would silently drop one.
nlohmann::json parse_jsonl_object(const std::string& text, const std::string& place);

}  // namespace lacuna
