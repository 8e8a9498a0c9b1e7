#include "model/head.h"

#include <algorithm>

#include "model/logits_stride.h"
#include "model/pass.h"

namespace lacuna {
namespace {

constexpr std::int64_t kLogitsBytes = std::int64_t{64} << 20;
constexpr std::int64_t kDeviceLogitsBytes = std::int64_t{512} << 20;
constexpr std::int64_t kLeastRows = 32;

/// Calls work(first, count) for pieces of [0, rows) of almost equal size, at most `most` each; cut
/// at multiples of `unit` where pieces of at most `most` can be.
void in_pieces(std::int64_t rows, std::int64_t most, std::int64_t unit, auto&& work) {
  if (unit > most) unit = 1;
  const std::int64_t units = (rows + unit - 1) / unit, units_at_most = most / unit,
                     pieces = (units + units_at_most - 1) / units_at_most;
  for (std::int64_t i = 0; i < pieces; ++i) {
    const std::int64_t first = units * i / pieces * unit,
                       end = std::min(rows, units * (i + 1) / pieces * unit);
    work(first, end - first);
  }
}

}  // namespace

std::int64_t head_chunk_rows(const ModelConfig& config, DType type, Place place) {
  CHECK(config.vocab_size > 0, "model.vocab_size is ", config.vocab_size);
  const std::int64_t bytes = place == Place::device ? kDeviceLogitsBytes : kLogitsBytes;
  return std::max(kLeastRows, bytes / (config.vocab_size * size_of(type)));
}

Plan Head::plan(const ModelConfig& config, std::int64_t rows, DType dtype,
                TensorParallelShard share, HeadUse use) {
  CHECK(rows > 0, "a head that computes ", rows, " rows at once");
  Plan plan;
  const std::int64_t columns = columns_of(config, share, use);
  plan.add("logits/chunk", {rows, use == HeadUse::loss ? logits_stride(columns) : columns}, dtype);
  return plan;
}

/// A loss of a shared model has a column for the ids of the other ranks.
std::int64_t Head::columns_of(const ModelConfig& config, TensorParallelShard share, HeadUse use) {
  const bool own = share.count > 1 && use == HeadUse::loss;
  return own ? ShardDims(config, share).ids + 1 : config.vocab_size;
}

Head::Head(Ops& ops, const ModelConfig& config, const ModelWeights& weights,
           std::int64_t chunk_rows, Communicator* tp_group, HeadUse use, std::int64_t row_unit)
    : ops_(ops),
      head_(weights.head),
      dtype_(weights.dtype),
      chunk_rows_(chunk_rows),
      row_unit_(row_unit),
      use_(use),
      columns_(columns_of(config, weights.share, use)),
      tp_group_(tp_group),
      logits_(ops.memory(), plan(config, chunk_rows, weights.dtype, weights.share, use)) {
  if (weights.share.count == 1) return;
  CHECK(tp_group, "a head of shared weights without the ranks that share them");
  if (use == HeadUse::logits)
    gathered_ =
        std::make_unique<VocabParallelLogits>(ops, *tp_group, config, chunk_rows, weights.dtype);
  else
    shared_ = std::make_unique<VocabParallelCrossEntropy>(
        ops, *tp_group, ShardDims(config, weights.share), chunk_rows);
}

Tensor Head::chunk(const Arena& arena, std::int64_t rows) const {
  CHECK(rows <= chunk_rows_, "logits of ", rows, " rows where at most ", chunk_rows_,
        " were announced");
  return arena[Slot{0}].row_range(0, rows).column_range(0, columns_);
}

Tensor Head::whole_logits(const Arena& arena, Tensor hidden) {
  CHECK(use_ == HeadUse::logits, "whole logits of a head that was made for a loss");
  const Tensor y = chunk(arena, hidden.rows());
  if (gathered_)
    gathered_->compute(y, hidden, head_);
  else
    ops_.linear_forward(y, hidden, head_);
  return y;
}

Tensor Head::logits(Tensor hidden) { return whole_logits(logits_, hidden); }

Tensor Head::second_logits(Tensor hidden) {
  if (!second_) {
    Plan plan;
    plan.add("logits/second", logits_.plan().entries().front().shape, dtype_);
    second_ = std::make_unique<Arena>(ops_.memory(), plan);
  }
  return whole_logits(*second_, hidden);
}

void Head::loss(Tensor loss, Tensor hidden, Tensor targets) {
  CHECK(use_ == HeadUse::loss, "a loss of a head that was made for whole logits");
  in_pieces(hidden.rows(), chunk_rows_, row_unit_, [&](std::int64_t first, std::int64_t rows) {
    const Tensor y = chunk(logits_, rows), l = loss.row_range(first, rows),
                 t = targets.row_range(first, rows);
    ops_.linear_forward(own_columns(y), hidden.row_range(first, rows), head_);
    if (shared_)
      shared_->forward(l, y, t);
    else
      ops_.cross_entropy_forward(l, y, t);
  });
}

void Head::loss_and_gradient(Tensor loss, Tensor d_hidden, Tensor d_head, Tensor hidden,
                             Tensor targets, Tensor row_weights, GradMode mode) {
  CHECK(use_ == HeadUse::loss, "a loss of a head that was made for whole logits");
  in_pieces(hidden.rows(), chunk_rows_, row_unit_, [&](std::int64_t first, std::int64_t rows) {
    const Tensor x = hidden.row_range(first, rows), y = chunk(logits_, rows), own = own_columns(y),
                 l = loss.row_range(first, rows), t = targets.row_range(first, rows),
                 weights = row_weights.row_range(first, rows);
    ops_.linear_forward(own, x, head_);
    if (shared_)
      shared_->backward(l, y, t, weights);
    else
      ops_.cross_entropy_backward(l, y, t, weights);
    // Before x may be overwritten.
    if (d_head.data)
      ops_.linear_backward_weight(d_head, own, x, first == 0 ? mode : GradMode::accumulate);
    ops_.linear_backward_input(d_hidden.row_range(first, rows), own, head_, GradMode::overwrite);
  });
  if (d_head.data && hidden.rows() == 0 && mode == GradMode::overwrite) ops_.fill(d_head, 0);
  if (shared_) sum_over_shares(*tp_group_, d_hidden);
}

}  // namespace lacuna
