#pragma once
#include <cstdint>
#include <vector>

#include "config/decoding_options.h"

namespace lacuna {

/// A text to be generated.
struct DecodingRequest {
  std::vector<std::int32_t> tokens;  // the prompt; to infill, the whole text
  DecodingOptions options;  // to infill: steps (0: one per masked token), temperature, seed
  std::int64_t sample = 0;  // names the noise, with options.seed
  bool infill = false;      // fill the mask tokens of `tokens` and append nothing
};

/// A text in the making. What a row is, its flags say; a token of it may be the mask token's id.
struct Canvas {
  std::vector<std::int32_t> tokens;  // of each row; the mask token where `masked`
  std::vector<std::uint8_t> masked;  // whether the row is to be filled
  std::vector<std::uint8_t> fixed;   // whether the request gave it: guidance hides these
  std::int64_t hidden = 0;           // rows in front that are no part of the text

  std::int64_t rows() const { return std::int64_t(tokens.size()); }
  void append(std::int32_t token, bool is_masked, bool is_fixed) {
    tokens.push_back(token);
    masked.push_back(is_masked);
    fixed.push_back(is_fixed);
  }
};

}  // namespace lacuna
