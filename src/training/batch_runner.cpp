#include "training/batch_runner.h"

#include <algorithm>

#include "core/stopwatch.h"
#include "training/flops.h"

namespace lacuna {

NoiseOptions noise_options(const Config& config) {
  return {.objective = config.train.objective,
          .min_mask_probability = config.train.min_mask_probability,
          .seed = std::uint64_t(config.train.seed),
          .mask_token = std::int32_t(config.model.mask_token)};
}

SampleRange share_of_samples(std::int64_t count, int index, int parts) {
  const std::int64_t first = count * index / parts;
  return {first, count * (index + 1) / parts - first};
}

BatchRunner::BatchRunner(Ops& ops, const Config& config, const ModelTensors& weights,
                         const Loader& loader, SampleRange share, Communicator* shares)
    : ops_(ops),
      config_(config),
      noise_(noise_options(config)),
      loader_(loader),
      share_(share),
      objective_(ops, config.model, weights, std::min(config.train.micro_batch_size, share.count),
                 config.data.sequence_length, /*training=*/true, shares),
      tokens_(std::size_t(std::min(config.train.micro_batch_size, share.count) *
                          config.data.sequence_length)) {}

BatchResult BatchRunner::run(std::int64_t step, std::int64_t first_sample, ModelTensors& gradients,
                             const BatchObserver& observer, const GradientObserver& complete) {
  const TrainConfig& train = config_.train;
  const std::int64_t T = config_.data.sequence_length;
  const std::int64_t length = step_length(noise_, step, T, train.random_length_fraction);
  BatchResult result;
  for (std::int64_t done = 0; done < share_.count;) {
    const std::int64_t count = std::min(train.micro_batch_size, share_.count - done),
                       sample = first_sample + share_.first + done;
    const Tensor clean(tokens_.data(), {count, T});
    const Stopwatch wait;
    loader_.batch(sample, count, clean);
    result.wait_seconds += wait.seconds();
    const NoisyBatch batch =
        make_noisy_batch(ops_, noise_, clean, length, sample, train.batch_size);
    done += count;
    const bool last = done == share_.count;
    result.loss +=
        objective_.loss_and_gradients(batch, gradients, last ? complete : GradientObserver());
    result.tokens += count * length;
    result.flops += training_flops(config_.model, count, length, std::int64_t(batch.rows.size()));
    if (observer) observer(batch);
  }
  return result;
}

}  // namespace lacuna
