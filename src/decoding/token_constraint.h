#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/tensor.h"

namespace lacuna {

/// What is added to a row's logits: 0 for the tokens that it may get, -inf for the others. As long
/// as the vocabulary; null: any token.
using TokenBias = std::shared_ptr<const std::vector<BFloat16>>;

/// Which tokens may fill an answer together (structured/json_skeleton.h). Called by one thread at a
/// time.
class TokenConstraint {
 public:
  static constexpr std::int32_t kMasked = -1;

  virtual ~TokenConstraint() = default;
  /// Of each of `rows`, masked ones of an answer that can be filled: the tokens with which, one at
  /// a time, it still can.
  virtual std::vector<TokenBias> biases(std::span<const std::int32_t> answer,
                                        std::span<const std::int32_t> rows) const = 0;
  /// Whether the answer can be filled, where it could before the token in `row` was put there.
  virtual bool fits(std::span<const std::int32_t> answer, std::int64_t row) const = 0;
};

}  // namespace lacuna
