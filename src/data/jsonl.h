#pragma once
#include <string>

namespace lacuna {

/// The document that a line of a JSONL file holds: the string under `field`. Throws Error, naming
/// `place` (file:line), when the line is not a JSON object or has no such string.
std::string jsonl_text(const std::string& line, const std::string& field, const std::string& place);

}  // namespace lacuna
