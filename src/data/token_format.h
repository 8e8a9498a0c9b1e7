#pragma once
// For the .cpp files that write and read HDF5 token files alone.
#include <cstdint>
#include <string>

#include "data/token_file.h"

namespace lacuna {

inline constexpr const char* kTokenFileFormat = "lacuna-tokens";
// Version 1 has /tokens of i32, and no /rows.
inline constexpr std::int64_t kTokenFileVersion = 2;

/// Error, beginning with `name`, for a vocabulary, special tokens or rows that cannot be.
void check_token_file_info(const TokenFileInfo& info, const std::string& name);

}  // namespace lacuna
