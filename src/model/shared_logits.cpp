#include "model/shared_logits.h"

#include "model/logits_stride.h"

namespace lacuna {
namespace {

/// Columns for the ids of the rank that has most: gathered are equal parts.
std::int64_t columns_of_part(const ModelConfig& config, int shares) {
  return logits_stride((config.vocab_size + shares - 1) / shares);
}

}  // namespace

Plan SharedLogits::plan(const ModelConfig& config, std::int64_t rows, DType type, int shares) {
  Plan plan;
  plan.add("logits/parts", {shares * rows * columns_of_part(config, shares)}, type);
  return plan;
}

SharedLogits::SharedLogits(Ops& ops, Communicator& shares, const ModelConfig& config,
                           std::int64_t rows, DType type)
    : ops_(ops),
      shares_(shares),
      config_(config),
      parts_(ops.memory(), plan(config, rows, type, shares.size())) {}

void SharedLogits::compute(Tensor logits, Tensor hidden, Tensor w) {
  const int ranks = shares_.size();
  const std::int64_t m = hidden.rows(), each = columns_of_part(config_, ranks);
  const Tensor parts = parts_[Slot{0}].row_range(0, ranks * m * each).reshaped({ranks * m, each});
  const auto part = [&](int rank) { return parts.row_range(rank * m, m); };
  const Tensor own = part(shares_.rank());
  ops_.linear_forward(own.column_range(0, w.rows()), hidden, w);
  shares_.all_gather(parts, own);
  shares_.join();
  for (int rank = 0; rank < ranks; ++rank) {
    const ShareExtents of(config_, {rank, ranks});
    ops_.copy(logits.column_range(of.first_id, of.ids), part(rank).column_range(0, of.ids));
  }
}

}  // namespace lacuna
