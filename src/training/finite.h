#pragma once
#include "core/tensor.h"

namespace lacuna {

/// Whether no element is NaN or infinite, of a contiguous tensor of f32, bf16 or f16 on the host.
bool all_finite(const Tensor& t);

/// How messages about such tensors end.
inline constexpr const char* kHoldsNonFinite =
    " holds numbers that are not finite; the checkpoints before stay as they are. Try a lower "
    "optimizer.learning_rate or a longer optimizer.warmup_steps, going on from one of them";

}  // namespace lacuna
