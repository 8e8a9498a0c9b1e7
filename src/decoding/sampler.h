#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "comm/communicator.h"
#include "config/config.h"
#include "kernels/ops.h"
#include "model/sequences.h"
#include "model/share.h"
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
  std::int64_t first_sample = 0;  // number of the first canvas: seed and number name the noise
};
/// Throws UsageError naming the command-line option, its value and what would be right.
void validate(const SamplerOptions& options);

/// What a step left on one canvas (prompt and answer).
struct CanvasStep {
  std::int64_t sequence, block, step;       // step within the block, from 0
  std::span<const std::int32_t> tokens;     // the canvas
  std::span<const std::int32_t> committed;  // positions filled by this step, increasing
};
using CanvasObserver = std::function<void(const CanvasStep&)>;

/// The most that one call of generate() may be asked for.
struct SamplerLimits {
  std::int64_t tokens;         // of all canvases together
  std::int64_t sequences = 1;  // canvases
  bool guidance = false;       // whether cfg_scale may be more than 0: twice the activations
};

/// Throws Error when the prompts with what follows them exceed the limits or model.max_length;
/// `what` names them together ("canvases").
void check_fits(const std::vector<std::vector<std::int32_t>>& prompts,
                const SamplerOptions& options, const SamplerLimits& limits,
                const ModelConfig& config, const char* what);

/// Continues prompts by the model's own forward pass.
class TextSampler {
 public:
  virtual ~TextSampler() = default;
  /// Each prompt followed by what was generated. Each canvas has its own length (nothing is padded)
  /// and does not depend on the others, but for rounding. Throws Error when canvases exceed the
  /// limits or model.max_length, and what validate() throws.
  virtual std::vector<std::vector<std::int32_t>> generate(
      const std::vector<std::vector<std::int32_t>>& prompts, const SamplerOptions& options,
      const CanvasObserver& observer = {}) = 0;
};

/// A Sampler, or an AutoregressiveSampler where model.attention is causal. `shares` as in Model:
/// all those ranks make the same calls, and get the same texts.
std::unique_ptr<TextSampler> make_sampler(Ops& ops, const ModelConfig& config,
                                          const ModelTensors& weights, const SamplerLimits& limits,
                                          Communicator* shares = nullptr);
/// Bytes of what that allocates, with weights of `dtype` and the given share on a device of
/// `place`.
std::int64_t sampler_bytes(const ModelConfig& config, DType dtype, Place place, ModelShare share,
                           const SamplerLimits& limits);

/// Fills masked canvases as LLaDA does. Logits exist only for the rows that a step may commit: the
/// masked ones up to the block's end; with random remasking, which chooses without them, those
/// that it does commit.
class Sampler final : public TextSampler {
 public:
  /// Borrows `weights`. Throws UsageError when config.mask_token is not a token.
  Sampler(Ops& ops, const ModelConfig& config, const ModelTensors& weights,
          const SamplerLimits& limits, Communicator* shares = nullptr);
  ~Sampler() override;
  static ModelLimits model_limits(const SamplerLimits& limits);

  /// The prompt, then gen_length tokens. As LLaDA does it: fixed counts per step, the remainder in
  /// a block's first steps; confidence = softmax(logits)[token] without noise or temperature;
  /// positions past the block are never committed, masked ones before it may be; a token once
  /// committed stays; the mask token itself may be predicted, and then stays masked. Guidance's
  /// unconditional branch sees the prompt masked. Equal confidences: the lower position first.
  /// The observer is called for each canvas after each step that may fill something.
  std::vector<std::vector<std::int32_t>> generate(
      const std::vector<std::vector<std::int32_t>>& prompts, const SamplerOptions& options,
      const CanvasObserver& observer = {}) override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lacuna
