#pragma once
#include <string>

#include "core/tensor.h"

namespace lacuna {

/// out = `from`, as f32 or rounded to bf16 or f16. Error, naming `what`, when a finite number does
/// not fit.
void round_to(const float* from, const Tensor& out, const std::string& what);

}  // namespace lacuna
