#include "model/vocab_parallel_cross_entropy.h"

namespace lacuna {
namespace {

// Adds nothing to a softmax, and is finite in every float type.
constexpr float kNothing = -1e30f;

Tensor as_column(const Tensor& x) { return x.reshaped({x.count(), 1}); }

}  // namespace

Plan VocabParallelCrossEntropy::make_plan(std::int64_t rows, int ranks, Slots& slots) {
  Plan plan;
  slots.targets = plan.add("logits/own_targets", {rows}, DType::i32);
  slots.zeros = plan.add("logits/zeros", {rows}, DType::i32);
  slots.nothing = plan.add("logits/nothing", {rows});
  slots.own_lse = plan.add("logits/own_lse", {rows});
  slots.lse = plan.add("logits/lse", {ranks * rows});
  return plan;
}

Plan VocabParallelCrossEntropy::plan(std::int64_t rows, int ranks) {
  Slots slots;
  return make_plan(rows, ranks, slots);
}

VocabParallelCrossEntropy::VocabParallelCrossEntropy(Ops& ops, Communicator& tp_group,
                                                     const ShardDims& own, std::int64_t rows)
    : ops_(ops),
      tp_group_(tp_group),
      own_(own),
      arena_(ops.memory(), make_plan(rows, tp_group.size(), slots_)) {
  ops_.fill(arena_[slots_.nothing], kNothing);
}

Tensor VocabParallelCrossEntropy::complete(Tensor logits, Tensor targets, Tensor loss) {
  const std::int64_t m = logits.rows(), ids = own_.ids;
  const auto rows_of = [&](Slot slot) { return arena_[slot].row_range(0, m); };
  const Tensor column = logits.column_range(ids, 1), own_targets = rows_of(slots_.targets),
               own_lse = rows_of(slots_.own_lse),
               lse = arena_[slots_.lse].row_range(0, tp_group_.size() * m);
  // Loss of column 0 plus its logit: the log-sum-exp of this rank's columns.
  ops_.copy(column, as_column(rows_of(slots_.nothing)));
  ops_.cross_entropy_forward(loss, logits, rows_of(slots_.zeros));
  ops_.copy(as_column(own_lse), logits.column_range(0, 1));
  ops_.add(own_lse, loss);
  tp_group_.all_gather(lse, own_lse);
  tp_group_.wait();
  ops_.complete_logits(column, own_targets, lse.reshaped({tp_group_.size(), m}), targets,
                       tp_group_.rank(), std::int32_t(own_.first_id), std::int32_t(ids));
  return own_targets;
}

void VocabParallelCrossEntropy::share_losses(Tensor loss, Tensor own_targets) {
  ops_.keep_own_losses(loss, own_targets, std::int32_t(own_.ids));
  tp_group_.all_reduce(loss, Reduce::sum);
  tp_group_.wait();
}

void VocabParallelCrossEntropy::forward(Tensor loss, Tensor logits, Tensor targets) {
  const Tensor own_targets = complete(logits, targets, loss);
  ops_.cross_entropy_forward(loss, logits, own_targets);
  share_losses(loss, own_targets);
}

void VocabParallelCrossEntropy::backward(Tensor loss, Tensor logits, Tensor targets,
                                         Tensor weights) {
  const Tensor own_targets = complete(logits, targets, loss);
  ops_.cross_entropy_backward(loss, logits, own_targets, weights);
  share_losses(loss, own_targets);
}

}  // namespace lacuna
