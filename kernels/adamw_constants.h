#pragma once

namespace lacuna {

struct AdamWParameters;  // kernels/ops.h, which loops compiled for one instruction set stay without

/// What AdamW's loops need besides the tensors, on every backend.
struct AdamWConstants {
  float gradient_scale, beta1, beta2, one_minus_beta1, one_minus_beta2;
  float step_size;     // learning rate / (1 - beta1^step)
  float inverse_root;  // 1 / sqrt(1 - beta2^step)
  float eps, kept;     // kept = 1 - learning rate * decay
};

/// Worked out once per call, in f64, for pieces that decay. gradient_scale is 1.
AdamWConstants adamw_constants(const AdamWParameters& p);

}  // namespace lacuna
