#pragma once
#include <cstdint>

#include "kernels/bench/op_cases.h"
#include "kernels/ops.h"

namespace lacuna {

/// How fast whole training steps run: masked diffusion on random tokens, in f32, with AdamW and
/// clipping, one micro-batch per step. The mask ratios of its sequences are spread evenly over
/// (0,1), so that half of the tokens are predicted: the mean of a long run.
struct TrainingBenchmark {
  double tokens_per_s = 0;     // of the median step
  double flops_per_s = 0;      // executed_flops(), of the median step
  double predicted_share = 0;  // of the tokens, in the steps that were timed
  double loss = 0;             // of the last step, nats per token
  std::int64_t parameters = 0;
  std::int64_t peak_rss_bytes = 0;  // of this process so far, measured after the steps
};

/// Three steps to warm up, then `steps` that are timed: drawing the noise, forward, backward, the
/// gradients' norm, the update, and clearing the gradients.
TrainingBenchmark benchmark_training(Ops& ops, const BenchShape& shape, std::int64_t steps);

}  // namespace lacuna
