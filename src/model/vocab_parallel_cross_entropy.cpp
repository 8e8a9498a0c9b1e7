#include "model/vocab_parallel_cross_entropy.h"

#include <algorithm>
#include <cmath>

#include "core/tensor_of.h"

namespace lacuna {
namespace {

// Adds nothing to a softmax, and is finite in every float type.
constexpr float kNothing = -1e30f;

Tensor column_of(std::vector<float>& v) {
  return tensor_of(v).reshaped({std::int64_t(v.size()), 1});
}

}  // namespace

Plan VocabParallelCrossEntropy::make_plan(std::int64_t rows, Slots& slots) {
  Plan plan;
  slots.targets = plan.add("logits/own_targets", {rows}, DType::i32);
  slots.zeros = plan.add("logits/zeros", {rows}, DType::i32);
  return plan;
}

Plan VocabParallelCrossEntropy::plan(std::int64_t rows) {
  Slots slots;
  return make_plan(rows, slots);
}

VocabParallelCrossEntropy::VocabParallelCrossEntropy(Ops& ops, Communicator& tp_group,
                                                     const ShardDims& own, std::int64_t rows)
    : ops_(ops), tp_group_(tp_group), own_(own), arena_(ops.memory(), make_plan(rows, slots_)) {}

Tensor VocabParallelCrossEntropy::complete(Tensor logits, Tensor targets, Tensor loss) {
  const std::int64_t m = logits.rows(), ids = own_.ids;
  const auto rows = std::size_t(m), ranks = std::size_t(tp_group_.size());
  // Loss of column 0 plus its logit: the log-sum-exp of this rank's columns.
  column_.assign(rows, kNothing);
  ops_.copy(logits.column_range(ids, 1), column_of(column_));
  ops_.cross_entropy_forward(loss, logits, arena_[slots_.zeros].row_range(0, m));
  losses_.resize(rows);
  targets_.resize(rows);
  ops_.synchronize();  // column_ is written again
  ops_.copy(tensor_of(losses_), loss);
  ops_.copy(column_of(column_), logits.column_range(0, 1));
  ops_.copy(tensor_of(targets_), targets);
  ops_.synchronize();
  for (std::size_t i = 0; i < rows; ++i) losses_[i] += column_[i];
  lse_.resize(ranks * rows);
  tp_group_.all_gather(tensor_of(lse_), tensor_of(losses_));
  tp_group_.wait();

  for (std::size_t i = 0; i < rows; ++i) {
    const auto of = [&](std::size_t rank) { return double(lse_[rank * rows + i]); };
    double highest = -INFINITY, sum = 0;
    for (std::size_t r = 0; r < ranks; ++r)
      if (r != std::size_t(tp_group_.rank())) highest = std::max(highest, of(r));
    for (std::size_t r = 0; r < ranks; ++r)
      if (r != std::size_t(tp_group_.rank())) sum += std::exp(of(r) - highest);
    column_[i] = float(highest + std::log(sum));
    const std::int64_t target = targets_[i] - own_.first_id;
    targets_[i] = std::int32_t(target >= 0 && target < ids ? target : ids);
  }
  ops_.copy(logits.column_range(ids, 1), column_of(column_));
  const Tensor own_targets = arena_[slots_.targets].row_range(0, m);
  ops_.copy(own_targets, tensor_of(targets_));
  return own_targets;
}

void VocabParallelCrossEntropy::share_losses(Tensor loss) {
  ops_.copy(tensor_of(losses_), loss);
  ops_.synchronize();
  for (std::size_t i = 0; i < losses_.size(); ++i)
    if (targets_[i] == own_.ids) losses_[i] = 0;
  tp_group_.all_reduce(tensor_of(losses_), Reduce::sum);
  tp_group_.wait();
  ops_.copy(loss, tensor_of(losses_));
  ops_.synchronize();  // losses_ is written again
}

void VocabParallelCrossEntropy::forward(Tensor loss, Tensor logits, Tensor targets) {
  const Tensor own_targets = complete(logits, targets, loss);
  ops_.cross_entropy_forward(loss, logits, own_targets);
  share_losses(loss);
}

void VocabParallelCrossEntropy::backward(Tensor loss, Tensor logits, Tensor targets,
                                         Tensor weights) {
  const Tensor own_targets = complete(logits, targets, loss);
  ops_.cross_entropy_backward(loss, logits, own_targets, weights);
  share_losses(loss);
}

}  // namespace lacuna
