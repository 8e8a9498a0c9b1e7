#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "config/decoding_options.h"
#include "decoding/token_constraint.h"

namespace lacuna {

/// A text to be generated.
struct DecodingRequest {
  std::vector<std::int32_t> tokens;  // the prompt; to infill, the whole text
  DecodingOptions options;  // to infill: steps (0: one per masked token); gen_length is ignored
  std::int64_t sample = 0;  // names the noise, with options.seed
  bool infill = false;      // fill the mask tokens of `tokens` and append nothing
  // To infill: what the masks from this row on may become together; those before it stay. Of a
  // block-causal model, too, which fills them block by block.
  std::int64_t answer = 0;
  std::shared_ptr<const TokenConstraint> constraint = {};
};

/// A text in the making. What a row is, its flags say; a token of it may be the mask token's id.
struct Canvas {
  std::vector<std::int32_t> tokens;        // of each row; the mask token where `masked`
  std::vector<std::uint8_t> masked;        // whether the row is to be filled
  std::vector<std::uint8_t> fixed;         // whether the request gave it: guidance hides these
  std::vector<std::int32_t> committed_at;  // the step that filled it, from 0; -1: none
  std::vector<float> probability;          // of its token in that step, without noise; 0: none
  std::int64_t hidden = 0;                 // rows in front that are no part of the text

  std::int64_t rows() const { return std::int64_t(tokens.size()); }
  /// Puts so many rows before `row`, which are no part of the request.
  void insert(std::int64_t row, std::int64_t count, std::int32_t token, bool are_masked) {
    const auto add = [&](auto& of_rows, auto value) {
      of_rows.insert(of_rows.begin() + row, std::size_t(count), value);
    };
    add(tokens, token);
    add(masked, std::uint8_t(are_masked));
    add(fixed, std::uint8_t(0));
    add(committed_at, -1);
    add(probability, 0.0f);
  }
  void append(std::int32_t token, bool is_masked, bool is_fixed) {
    tokens.push_back(token);
    masked.push_back(is_masked);
    fixed.push_back(is_fixed);
    committed_at.push_back(-1);
    probability.push_back(0);
  }
};

}  // namespace lacuna
