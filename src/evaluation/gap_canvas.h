#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "evaluation/task_text.h"
#include "tokenizer/tokenizer.h"

namespace lacuna {

/// A text with gaps, in tokens: each gap is a run of mask tokens.
struct GapCanvas {
  struct Gap {
    std::size_t begin, length;
  };
  std::vector<std::int32_t> tokens;
  std::vector<Gap> gaps;
};

/// What marks a gap in a text.
inline constexpr const char* kGap = "{gap}";

/// `text` with a gap for each kGap in it, of as many tokens as `lengths` says in order. Error
/// naming `place` unless there are as many gaps as lengths, and at least one.
GapCanvas gap_canvas(const Tokenizer& tokenizer, const TaskText& text,
                     const std::vector<std::size_t>& lengths, std::int32_t mask_token,
                     const std::string& place);

}  // namespace lacuna
