#include "diffusion/objective.h"

#include <algorithm>

#include "model/activations.h"

namespace lacuna {
namespace {

constexpr std::int64_t kLogitsBytes = std::int64_t{64} << 20;
constexpr std::int64_t kDeviceLogitsBytes = std::int64_t{512} << 20;
constexpr std::int64_t kLeastRows = 32;

template <class T>
Tensor view(const std::vector<T>& v) {
  return Tensor(const_cast<T*>(v.data()), {std::int64_t(v.size())});
}

}  // namespace

std::int64_t head_chunk_rows(const ModelConfig& config, DType type, Place place) {
  CHECK(config.vocab_size > 0, "model.vocab_size is ", config.vocab_size);
  const std::int64_t bytes = place == Place::device ? kDeviceLogitsBytes : kLogitsBytes;
  return std::max(kLeastRows, bytes / (config.vocab_size * size_of(type)));
}

Plan ObjectiveRunner::make_plan(std::int64_t rows, Slots& slots) {
  Plan plan;
  slots.tokens = plan.add("objective/tokens", {rows}, DType::i32);
  slots.targets = plan.add("objective/targets", {rows}, DType::i32);
  slots.weights = plan.add("objective/row weights", {rows});
  slots.losses = plan.add("objective/row losses", {rows});
  return plan;
}

ObjectiveRunner::ObjectiveRunner(Ops& ops, const ModelConfig& config, const ModelTensors& weights,
                                 std::int64_t sequences, std::int64_t length, bool training,
                                 Communicator* shares)
    : ObjectiveRunner(ops, config, weights,
                      {sequences * length, sequences, sequences * length, training}, shares) {}

ObjectiveRunner::ObjectiveRunner(Ops& ops, const ModelConfig& config, const ModelTensors& weights,
                                 const ModelLimits& limits, Communicator* shares)
    : ops_(ops),
      model_(ops, config, weights, limits, shares),
      head_(ops, config, weights,
            std::min(head_chunk_rows(config, weights.head.dtype, ops.place()), limits.head_rows),
            shares),
      arena_(ops.memory(), make_plan(limits.rows, slots_)) {}

ObjectiveRunner::Plans ObjectiveRunner::plans(const ModelConfig& config, DType dtype, Place place,
                                              ModelShare share, std::int64_t sequences,
                                              std::int64_t length) {
  const std::int64_t rows = sequences * length,
                     chunk = std::min(head_chunk_rows(config, dtype, place), rows);
  Slots slots;
  std::int64_t workspace =
      make_plan(rows, slots).bytes() + Head::plan(config, chunk, dtype, share).bytes();
  if (share.count > 1) workspace += SharedCrossEntropy::plan(chunk).bytes();
  return {Activations::plan(config, {rows, sequences, rows, true}, dtype, share), workspace};
}

Tensor ObjectiveRunner::forward(const NoisyBatch& batch) {
  Sequences sequences;
  if (batch.offsets.empty())
    sequences = Sequences::equal(batch.sequences, batch.length);
  else
    sequences.offsets = batch.offsets;
  const ModelLimits& limits = model_.limits();
  CHECK(sequences.rows() <= limits.rows && batch.sequences <= limits.sequences, "a micro-batch of ",
        batch.sequences, " x ", batch.length, " tokens where at most ", limits.sequences,
        " sequences and ", limits.rows, " tokens were announced");
  sequences.head_rows = batch.rows;
  const Tensor tokens = arena_[slots_.tokens].row_range(0, sequences.rows());
  ops_.copy(tokens, view(batch.tokens));
  ops_.copy(arena_[slots_.targets].row_range(0, std::int64_t(batch.targets.size())),
            view(batch.targets));
  return model_.forward(tokens, sequences);
}

double ObjectiveRunner::weighted_sum(const NoisyBatch& batch, Tensor losses) {
  row_losses_.resize(batch.rows.size());
  ops_.copy(view(row_losses_), losses);
  ops_.synchronize();
  double sum = 0;
  for (std::size_t m = 0; m < row_losses_.size(); ++m)
    sum += batch.weights[m] * double(row_losses_[m]);
  return sum;
}

double ObjectiveRunner::loss(const NoisyBatch& batch) {
  const auto M = std::int64_t(batch.rows.size());
  if (M == 0) {
    row_losses_.clear();
    return 0;
  }
  const Tensor hidden = forward(batch);
  const Tensor losses = arena_[slots_.losses].row_range(0, M);
  head_.loss(losses, hidden, arena_[slots_.targets].row_range(0, M));
  return weighted_sum(batch, losses);
}

double ObjectiveRunner::loss_and_gradients(const NoisyBatch& batch, ModelTensors& gradients,
                                           const GradientObserver& observer) {
  CHECK(model_.limits().training, "gradients of an objective that was made without training");
  const auto M = std::int64_t(batch.rows.size());
  if (M == 0) {
    row_losses_.clear();
    if (observer) model_.complete(gradients);
    return 0;
  }
  const Tensor hidden = forward(batch);
  const Tensor losses = arena_[slots_.losses].row_range(0, M);
  const Tensor weights = arena_[slots_.weights].row_range(0, M);
  row_weights_.assign(batch.weights.begin(), batch.weights.end());
  ops_.copy(weights, view(row_weights_));
  head_.loss_and_gradient(losses, hidden, gradients.head, hidden,
                          arena_[slots_.targets].row_range(0, M), weights);
  // A tied head is also the embedding, whose gradient is complete last.
  if (observer && gradients.head.data != gradients.embedding.data) observer(gradients.head);
  model_.backward(gradients, hidden, observer);
  return weighted_sum(batch, losses);
}

}  // namespace lacuna
