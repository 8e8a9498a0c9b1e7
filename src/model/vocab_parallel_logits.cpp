#include "model/vocab_parallel_logits.h"

#include "model/logits_stride.h"

namespace lacuna {
namespace {

/// Columns for the ids of the rank that has most: gathered are equal parts.
std::int64_t columns_of_part(const ModelConfig& config, int tp_group) {
  return logits_stride((config.vocab_size + tp_group - 1) / tp_group);
}

}  // namespace

Plan VocabParallelLogits::plan(const ModelConfig& config, std::int64_t rows, DType type,
                               int tp_group) {
  Plan plan;
  plan.add("logits/parts", {tp_group * rows * columns_of_part(config, tp_group)}, type);
  return plan;
}

VocabParallelLogits::VocabParallelLogits(Ops& ops, Communicator& tp_group,
                                         const ModelConfig& config, std::int64_t rows, DType type)
    : ops_(ops),
      tp_group_(tp_group),
      config_(config),
      parts_(ops.memory(), plan(config, rows, type, tp_group.size())) {}

void VocabParallelLogits::compute(Tensor logits, Tensor hidden, Matrix w) {
  const int ranks = tp_group_.size();
  const std::int64_t m = hidden.rows(), each = columns_of_part(config_, ranks);
  const Tensor parts = parts_[Slot{0}].row_range(0, ranks * m * each).reshaped({ranks * m, each});
  const auto part = [&](int rank) { return parts.row_range(rank * m, m); };
  const Tensor own = part(tp_group_.rank());
  ops_.linear_forward(own.column_range(0, w.rows()), hidden, w);
  tp_group_.all_gather(parts, own);
  tp_group_.wait();
  for (int rank = 0; rank < ranks; ++rank) {
    const ShardDims of(config_, {rank, ranks});
    ops_.copy(logits.column_range(of.first_id, of.ids), part(rank).column_range(0, of.ids));
  }
}

}  // namespace lacuna
