#pragma once
#include <cstdio>
#include <string>

#include "tests/cuda/training.h"

namespace lacuna::testing {

/// Of two steps.
inline std::string losses_of_steps(CudaOps& ops, const ModelConfig& config, DType type, bool fp8) {
  std::string text;
  Training training(ops, config, type, {}, fp8);
  initialise(training.optimizer.master().pieces(), training.weights, config, 1, ops);
  training.optimizer.cast_master_weights();
  for (std::int64_t number = 1; number <= 2; ++number) {
    for (const float loss : training.step(batch_of(config, std::uint64_t(number)), number)) {
      char digits[32];
      std::snprintf(digits, sizeof digits, "%a ", double(loss));
      text += digits;
    }
    text += '\n';
  }
  return text;
}

/// The losses of a few training steps on a device in f32, in bf16 and with products in FP8,
/// exactly: hexadecimal.
inline std::string training_losses(CudaOps& ops) {
  std::string text;
  for (const DType type : {DType::f32, DType::bf16})
    for (const Attention attention : {Attention::bidirectional, Attention::causal})
      text += losses_of_steps(ops, tiny(128, 2, 1, attention), type, false);
  ModelConfig config = tiny(128, 2, 1);
  config.intermediate_size = 96;
  return text + losses_of_steps(ops, config, DType::bf16, true);
}

}  // namespace lacuna::testing
