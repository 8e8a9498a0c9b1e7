#pragma once
#include <cstdio>
#include <string>

#include "tests/cuda/training.h"

namespace lacuna::testing {

/// The losses of a few training steps on a device in f32 and bf16, exactly: hexadecimal.
inline std::string training_losses(CudaOps& ops) {
  std::string text;
  for (const DType type : {DType::f32, DType::bf16})
    for (const Attention attention : {Attention::bidirectional, Attention::causal}) {
      const ModelConfig config = tiny(128, 2, 1, attention);
      Training training(ops, config, type);
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
    }
  return text;
}

}  // namespace lacuna::testing
