#include "diffusion/objective.h"

#include <algorithm>

#include "core/philox.h"
#include "core/tensor_of.h"
#include "model/activations.h"

namespace lacuna {

Plan ObjectiveRunner::make_plan(std::int64_t rows, Slots& slots) {
  Plan plan;
  slots.targets = plan.add("objective/targets", {rows}, DType::i32);
  slots.weights = plan.add("objective/row weights", {rows});
  slots.losses = plan.add("objective/row losses", {rows});
  return plan;
}

ObjectiveRunner::ObjectiveRunner(Ops& ops, const ModelConfig& config, const ModelWeights& weights,
                                 std::int64_t sequences, std::int64_t length, bool training,
                                 Communicator* shares)
    : ObjectiveRunner(ops, config, weights,
                      {sequences * length, sequences, sequences * length, training}, shares) {}

ObjectiveRunner::ObjectiveRunner(Ops& ops, const ModelConfig& config, const ModelWeights& weights,
                                 const ModelLimits& limits, Communicator* shares)
    : ops_(ops),
      limits_(limits),
      buckets_(limits.rows, ops.place()),
      model_(ops, config, weights, buckets_.with_padding(limits, config.max_seq_length), shares),
      head_(ops, config, weights,
            std::min(head_chunk_rows(config, weights.dtype, ops.place()), limits.logit_rows),
            shares, HeadUse::loss, buckets_.unit()),
      arena_(ops.memory(), make_plan(limits.rows, slots_)) {}

ObjectiveRunner::Plans ObjectiveRunner::plans(const ModelConfig& config, DType dtype, Place place,
                                              TensorParallelShard share,
                                              const ModelLimits& limits) {
  const std::int64_t chunk = std::min(head_chunk_rows(config, dtype, place), limits.logit_rows);
  Slots slots;
  std::int64_t workspace =
      make_plan(limits.rows, slots).bytes() + Head::plan(config, chunk, dtype, share).bytes();
  if (share.count > 1) workspace += VocabParallelCrossEntropy::plan(chunk, share.count).bytes();
  const ModelLimits padded =
      RowBuckets(limits.rows, place).with_padding(limits, config.max_seq_length);
  return {Activations::plan(config, padded, dtype, share), workspace};
}

Tensor ObjectiveRunner::forward(const LossBatch& batch) {
  // Of block diffusion not all of its tokens become rows.
  CHECK(!batch.texts.empty() || (std::int64_t(batch.tokens.size()) <= limits_.rows &&
                                 batch.sequences <= limits_.sequences),
        "a micro-batch of ", batch.sequences, " x ", batch.length, " tokens where at most ",
        limits_.sequences, " sequences and ", limits_.rows, " tokens were announced");
  padded_.fill(batch, buckets_, model_.config());
  ops_.upload({{head_rows_of(slots_.targets), tensor_of(padded_.targets)},
               {head_rows_of(slots_.weights), tensor_of(padded_.weights)}});
  return model_.forward(tensor_of(padded_.tokens), padded_.sequences);
}

Tensor ObjectiveRunner::head_rows_of(Slot slot) const {
  return arena_[slot].row_range(0, std::int64_t(padded_.targets.size()));
}

double QueuedLosses::weighted_sum(const float* read) const {
  double sum = 0;
  for (std::size_t m = 0; m < places.size(); ++m)
    sum += weights[m] * double(read[std::size_t(places[m])]);
  return sum;
}

QueuedLosses ObjectiveRunner::queued_losses(const LossBatch& batch) const {
  QueuedLosses losses{head_rows_of(slots_.losses), batch.weights, padded_.places};
  losses.weights.resize(batch.rows.size());
  losses.weights.insert(losses.weights.end(), batch.clean_weights.begin(),
                        batch.clean_weights.end());
  return losses;
}

double ObjectiveRunner::weighted_sum(const LossBatch& batch) {
  const QueuedLosses losses = queued_losses(batch);
  padded_losses_.resize(padded_.targets.size());
  ops_.copy(tensor_of(padded_losses_), losses.values);
  ops_.synchronize();
  row_losses_.clear();
  for (const std::int32_t place : losses.places)
    row_losses_.push_back(padded_losses_[std::size_t(place)]);
  return losses.weighted_sum(padded_losses_.data());
}

double ObjectiveRunner::loss(const LossBatch& batch) {
  if (!batch.has_loss()) {
    row_losses_.clear();
    return 0;
  }
  const Tensor hidden = forward(batch);
  head_.loss(head_rows_of(slots_.losses), hidden, head_rows_of(slots_.targets));
  return weighted_sum(batch);
}

double ObjectiveRunner::loss_and_gradients(const LossBatch& batch, ModelTensors& gradients,
                                           const GradientObserver& observer, GradMode mode) {
  return queue_passes(batch, gradients, observer, mode) ? weighted_sum(batch) : 0;
}

QueuedLosses ObjectiveRunner::queue_loss_and_gradients(const LossBatch& batch,
                                                       ModelTensors& gradients,
                                                       const GradientObserver& observer,
                                                       GradMode mode) {
  return queue_passes(batch, gradients, observer, mode) ? queued_losses(batch) : QueuedLosses();
}

bool ObjectiveRunner::queue_passes(const LossBatch& batch, ModelTensors& gradients,
                                   const GradientObserver& observer, GradMode mode) {
  CHECK(limits_.training, "gradients of an objective that was made without training");
  if (!batch.has_loss()) {
    row_losses_.clear();
    if (mode == GradMode::overwrite) ops_.fill(gradients.memory(), 0);
    if (observer) model_.complete(gradients);
    return false;
  }
  const Tensor hidden = forward(batch);
  head_.loss_and_gradient(head_rows_of(slots_.losses), hidden, gradients.head, hidden,
                          head_rows_of(slots_.targets), head_rows_of(slots_.weights), mode);
  // A tied head is also the embedding, whose gradient is complete last; adapters have neither.
  if (observer && !model_.config().tie_embeddings && !gradients.are_adapters())
    observer(gradients.named().back().flat);
  model_.backward(gradients, hidden, observer, mode);
  return true;
}

/// Random tokens, of which as many are predicted as may be.
LossBatch ObjectiveRunner::example_of(std::int64_t rows) const {
  const ModelConfig& config = model_.config();
  const CounterRng rng{1, Purpose::benchmark, std::uint64_t(rows)};
  LossBatch batch;
  for (batch.offsets = {0}; batch.offsets.back() < rows; ++batch.sequences)
    batch.offsets.push_back(
        std::int32_t(std::min(rows, batch.offsets.back() + config.max_seq_length)));
  for (std::int64_t row = 0; row < rows; ++row)
    batch.tokens.push_back(
        std::int32_t(rng.below(std::uint64_t(config.vocab_size), std::uint32_t(row))));
  const std::int64_t predicted = std::min(rows, model_.limits().logit_rows);
  for (std::int64_t row = 0; row < predicted; ++row) batch.rows.push_back(std::int32_t(row));
  batch.targets.assign(batch.tokens.begin(), batch.tokens.begin() + predicted);
  batch.weights.assign(std::size_t(predicted), 1 / double(predicted));
  return batch;
}

void ObjectiveRunner::prepare(ModelTensors& gradients) {
  if (ops_.place() == Place::host) return;
  UnitGatherer* gatherer = model_.gatherer();
  if (gatherer) gatherer->begin_trial_passes();
  ops_.tune_gemms([&] {
    for (const std::int64_t rows : buckets_.sizes())
      loss_and_gradients(example_of(rows), gradients, {}, GradMode::overwrite);
  });
  if (gatherer) gatherer->end_trial_passes();
}

}  // namespace lacuna
