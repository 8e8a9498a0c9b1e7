#pragma once
#include <cstdint>
#include <span>

#include "comm/communicator.h"

namespace lacuna {

/// out[i] = ((parts[0][i] op parts[1][i]) op parts[2][i])…, each `count` elements of `dtype`, in
/// exactly that order; the sum divided by their number for Reduce::mean. bf16 and f16 are added in
/// f32 and rounded once at the end. `out` may be one of the parts.
void reduce_in_order(void* out, std::span<const void* const> parts, std::int64_t count, DType dtype,
                     Reduce operation);

}  // namespace lacuna
