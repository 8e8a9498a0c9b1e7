#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace lacuna {

/// The ids that an option gives, separated by white space or commas. Throws UsageError naming what
/// is not an id in [0, vocab_size).
std::vector<std::int32_t> parse_token_ids(const std::string& text, std::int64_t vocab_size,
                                          const char* option = "--tokens");

}  // namespace lacuna
