#pragma once
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

#include "tokenizer/tokenizer.h"

namespace lacuna {

/// What generated tokens say: the text up to the first of `ends` (ids; -1 is none), without ids
/// that are no token's, of which a model may have rows.
std::string answer_text(const Tokenizer& tokenizer, std::span<const std::int32_t> tokens,
                        std::initializer_list<std::int64_t> ends = {});

}  // namespace lacuna
