#pragma once
#include <cstdint>

#include "config/config.h"
#include "config/decoding_options.h"
#include "kernels/ops.h"
#include "model/model_weights.h"

namespace lacuna {

struct GenerationShape {
  std::int64_t prompt_length = 64, batch = 1, rounds = 3;
  DecodingOptions decoding;  // gen_length, steps, block_length
};

/// How fast text is generated: `batch` prompts of random tokens are continued at once, at
/// temperature 0. Times are those of the median round.
struct GenerationBenchmark {
  std::int64_t tokens = 0;  // generated in a round, of all sequences
  std::int64_t passes = 0;  // forward passes in a round
  std::int64_t rows = 0;    // rows of those passes: positions that were computed, of all sequences
  std::int64_t logit_rows = 0;  // of them, rows that got logits
  double seconds = 0;           // of a round
  double flops_per_s = 0;       // forward_flops() of the passes, keys of a cache left out
  std::int64_t parameters = 0;
  std::int64_t peak_bytes = 0;  // as TrainingBenchmark's
};

/// A round to warm up, then shape.rounds that are timed, prompts included, loading not. Borrows the
/// weights. Errors as Decoder's.
GenerationBenchmark benchmark_generation(Ops& ops, const ModelConfig& model,
                                         const ModelWeights& weights, const GenerationShape& shape);

}  // namespace lacuna
