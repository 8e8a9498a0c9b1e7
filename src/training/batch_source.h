#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "config/config.h"
#include "data/source_loader.h"
#include "diffusion/objective.h"
#include "kernels/ops.h"
#include "training/figure.h"

namespace lacuna {

/// The noise that a run's config asks for; of block diffusion with blocks of model.block_size.
NoiseOptions noise_options(const Config& config);
/// The same for validation, which takes one noisy view of each sequence and the objective's
/// bound alone.
NoiseOptions validation_noise(const Config& config);
/// train.recompute.
Recompute recompute_of(const TrainConfig& train);
/// Such limits for passes that compute as train.recompute and compute.linear_dtype say.
ModelLimits with_compute_options(ModelLimits limits, const Config& config);
/// The most that a micro-batch of `sequences` sequences with `tokens` tokens in all may have.
ModelLimits batch_limits(const Config& config, std::int64_t tokens, std::int64_t sequences);
/// The most tokens of sequences that fit in such limits during validation.
std::int64_t validation_tokens(const Config& config, const ModelLimits& limits);

/// Where the micro-batches of a step come from: windows of a corpus, prompts with responses, or
/// pairs of responses.
class BatchSource {
 public:
  virtual ~BatchSource() = default;

  /// The most that a micro-batch holds when `count` samples of a step are asked for.
  virtual ModelLimits limits(std::int64_t count) const = 0;
  /// Called once, before the first step, by a run of this model whose micro-batches have these
  /// limits: allocates what the source computes with. `tensor_parallel` as in Task::objective().
  virtual void attach(Ops& /*ops*/, const ModelWeights& /*model*/, const ModelLimits& /*limits*/,
                      Communicator* /*tensor_parallel*/) {}
  /// Begins with samples [first_sample, first_sample + count) of step `step`, both from 0, of whose
  /// batch the loss is a mean (over train.batch_size). What a sample becomes depends on these
  /// numbers alone, not on the range it is asked for in.
  virtual void begin(std::int64_t step, std::int64_t first_sample, std::int64_t count) = 0;
  /// After begin(), of a source whose weights depend on the model: sets them by forward passes of
  /// `model`, and returns what these samples add to the step's loss. None of any other source,
  /// whose loss is the weighted sum of its rows'. Ranks of a tensor parallel group call together.
  virtual std::optional<double> weigh(ObjectiveRunner& /*model*/) { return std::nullopt; }
  /// What weigh() found beside the loss: what these samples add to means over the step's batch.
  virtual std::vector<Figure> figures() const { return {}; }
  /// The next micro-batch of them; false when there is none left.
  virtual bool next(LossBatch& batch) = 0;
  /// Whether a micro-batch has whole samples, whose losses do not depend on those of others.
  virtual bool has_whole_samples() const { return true; }
  /// Samples of one pass over the data.
  virtual std::int64_t samples_per_epoch() const = 0;
  /// What the first `samples` samples take from each source.
  virtual std::vector<SourceLoader::Use> sources(std::int64_t) const { return {}; }
  /// What there is to learn from, for the log.
  virtual std::string description() const = 0;
};

}  // namespace lacuna
