#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "config/config.h"
#include "kernels/ops.h"
#include "model/weights.h"

namespace lacuna {

enum class Remasking : std::uint8_t { low_confidence, random };
template <>
struct EnumWords<Remasking> {
  static constexpr const char* words[] = {"low_confidence", "random"};
};

/// Of LLaDA's generate() (github.com/ML-GSAI/LLaDA, generate.py; arXiv:2502.09992, algorithms 4,
/// 5).
struct SamplerOptions {
  std::int64_t gen_length = 128;
  std::int64_t steps = 128;         // a multiple of the number of blocks
  std::int64_t block_length = 128;  // a divisor of gen_length
  double temperature = 0;           // 0: argmax; else Gumbel noise in f64
  Remasking remasking = Remasking::low_confidence;
  double cfg_scale = 0;  // classifier-free guidance; 0: none
  std::uint64_t seed = 1;
};
/// Throws UsageError naming the option, its value and what would be right.
void validate(const SamplerOptions& options);

/// What a step left on one canvas (prompt and answer).
struct CanvasStep {
  std::int64_t sequence, block, step;       // step within the block, from 0
  std::span<const std::int32_t> tokens;     // the canvas
  std::span<const std::int32_t> committed;  // positions filled by this step, increasing
};
using CanvasObserver = std::function<void(const CanvasStep&)>;

/// Fills masked canvases with the model's own forward pass; logits exist only for the rows that a
/// step may commit.
class Sampler {
 public:
  /// Canvases of at most `max_tokens` tokens together, `max_sequences` at once.
  Sampler(Ops& ops, const ModelConfig& config, const ModelTensors& weights, std::int64_t max_tokens,
          std::int64_t max_sequences = 1);
  ~Sampler();

  /// One canvas per prompt, of its own length (nothing is padded): the prompt, then gen_length
  /// tokens. As LLaDA does it: fixed counts per step, the remainder in a block's first steps;
  /// confidence = softmax(logits)[token] without noise or temperature; positions past the block are
  /// never committed; a token once committed stays; the mask token itself may be predicted, and
  /// then stays masked. Equal confidences: the lower position first. A canvas does not depend on
  /// the others. Throws Error when canvases exceed the limits or model.max_length.
  std::vector<std::vector<std::int32_t>> generate(
      const std::vector<std::vector<std::int32_t>>& prompts, const SamplerOptions& options,
      const CanvasObserver& observer = {});

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lacuna
