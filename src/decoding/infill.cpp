#include "decoding/infill.h"

#include <algorithm>

#include "core/check.h"
#include "decoding/unmasking.h"

namespace lacuna {

Infiller::Infiller(Ops& ops, const ModelConfig& config, const ModelTensors& weights,
                   std::int64_t tokens)
    : mask_token_(std::int32_t(config.mask_token)),
      predictor_(ops, config, weights, {tokens, 1, tokens, false}) {
  if (config.attention == Attention::causal)
    fail_usage("a causal model cannot fill gaps: it does not see what follows them");
  if (config.mask_token < 0 || config.mask_token >= config.vocab_size)
    fail_usage(str("model.mask_token is ", config.mask_token,
                   ", which is no token of the model; gaps need one"));
}

std::vector<std::int32_t> Infiller::fill(std::vector<std::int32_t> canvas,
                                         const InfillOptions& options) {
  Sequences sequences = Sequences::equal(1, std::int64_t(canvas.size()));
  const auto masked = std::int64_t(std::count(canvas.begin(), canvas.end(), mask_token_));
  const std::int64_t steps = options.steps > 0 ? std::min(options.steps, masked) : masked;
  for (std::int64_t step = 0; step < steps; ++step) {
    sequences.head_rows.clear();
    std::vector<std::int64_t> keys;
    for (std::size_t i = 0; i < canvas.size(); ++i) {
      if (canvas[i] != mask_token_) continue;
      sequences.head_rows.push_back(std::int32_t(i));
      keys.push_back(noise_key(options.sample, std::int64_t(i)));
    }
    const auto draws = predictor_.predict(canvas, sequences, keys,
                                          {options.temperature, options.seed, std::uint64_t(step)});
    std::vector<double> confidence;
    std::vector<std::size_t> where;
    for (std::size_t m = 0; m < keys.size(); ++m) {
      if (draws.tokens[m] == mask_token_) continue;
      confidence.push_back(double(draws.confidence[m]));
      where.push_back(m);
    }
    if (where.empty()) break;
    const std::int64_t count =
        std::min(std::max<std::int64_t>(1, unmasked_in_step(masked, steps, step)),
                 std::int64_t(where.size()));
    for (const std::int64_t i : most_confident(confidence, count)) {
      const std::size_t m = where[std::size_t(i)];
      canvas[std::size_t(sequences.head_rows[m])] = draws.tokens[m];
    }
  }
  return canvas;
}

}  // namespace lacuna
