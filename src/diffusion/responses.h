#pragma once
#include <span>
#include <vector>

#include "core/prompted_text.h"
#include "diffusion/noise.h"

namespace lacuna {

/// One example of fine-tuning (arXiv:2502.09992, algorithm 2; LLaDA's GUIDELINES.md).
struct ResponseExample {
  PromptedText text;
  std::int64_t padding = 0;  // end tokens that follow and count as response
  std::int64_t sample = 0;   // its global number, which names its ratio and mask
};

/// The examples as one micro-batch, laid end to end. Prompts are never masked, and no padding but
/// each example's own is seen by anyone.
///   masked diffusion: each response token is masked with probability p_b, as noise.h draws it for
///     the sample and the token's position; weight = 1 / (p_b A_b examples_in_step), A_b the
///     response's length with its padding
///   autoregressive: every response token is predicted from those before it, but for a text's
///   first;
///     weight = 1 / (A_b examples_in_step)
///   block diffusion: add_block_text(), weight 1 / (A_b examples_in_step) per token
/// `levels` [B], t in (0,1), replace the drawn ones when not empty (validation's). Throws Error for
/// an example without a response, or padding without an end token.
LossBatch make_response_batch(const NoiseOptions& options,
                              std::span<const ResponseExample> examples, std::int32_t end_token,
                              std::int64_t examples_in_step, std::span<const double> levels = {});

}  // namespace lacuna
