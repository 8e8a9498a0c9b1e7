#pragma once
#include <cstdint>

#include "config/config.h"
#include "kernels/bench/op_cases.h"
#include "kernels/ops.h"

namespace lacuna {

/// A diffusion model of that shape, whose last token is the mask.
ModelConfig model_of(const BenchShape& shape);
/// Resident memory of this process, at most so far.
std::int64_t peak_resident_bytes();

/// How fast whole training steps run: masked diffusion on random tokens, with AdamW and clipping,
/// one micro-batch per step. The mask ratios of its sequences are spread evenly over (0,1), so that
/// half of the tokens are predicted: the mean of a long run.
struct TrainingBenchmark {
  double tokens_per_s = 0;           // of the median step
  double flops_per_s = 0;            // executed_flops(), of the median step
  double model_flops_per_s = 0;      // training_flops(), likewise
  double full_head_flops_per_s = 0;  // training_flops() as if every token were predicted
  double predicted_share = 0;        // of the tokens, in the steps that were timed
  double loss = 0;                   // of the last step, nats per token
  std::int64_t parameters = 0;
  // Resident memory of this process so far, measured after the steps; or what a device then lacked
  // of what it had before.
  std::int64_t peak_bytes = 0;
};

/// Three steps to warm up, then `steps` that are timed: drawing the noise, forward, backward, the
/// gradients' norm, the update, and clearing the gradients.
/// Weights and activations of `type`; with `fp8`, which needs bf16, the blocks' products in FP8.
TrainingBenchmark benchmark_training(Ops& ops, const BenchShape& shape, std::int64_t steps,
                                     DType type, bool fp8);

}  // namespace lacuna
