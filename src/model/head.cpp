#include "model/head.h"

#include <algorithm>

#include "model/pass.h"

namespace lacuna {
namespace {

/// Calls work(first, count) for pieces of [0, rows) of almost equal size, at most `most` each.
void in_pieces(std::int64_t rows, std::int64_t most, auto&& work) {
  const std::int64_t pieces = (rows + most - 1) / most;
  for (std::int64_t i = 0; i < pieces; ++i) {
    const std::int64_t first = rows * i / pieces;
    work(first, rows * (i + 1) / pieces - first);
  }
}

}  // namespace

Plan Head::plan(const ModelConfig& config, std::int64_t rows, DType dtype, ModelShare share,
                HeadUse use) {
  CHECK(rows > 0, "a head that computes ", rows, " rows at once");
  Plan plan;
  const bool own = share.count > 1 && use == HeadUse::loss;
  const std::int64_t columns = own ? ShareExtents(config, share).ids + 1 : config.vocab_size;
  plan.add("logits/chunk", {rows, columns}, dtype);
  return plan;
}

Head::Head(Ops& ops, const ModelConfig& config, const ModelTensors& weights,
           std::int64_t chunk_rows, Communicator* shares, HeadUse use)
    : ops_(ops),
      weights_(weights),
      chunk_rows_(chunk_rows),
      shares_(shares),
      logits_(ops.memory(), plan(config, chunk_rows, weights.head.dtype, weights.share(), use)) {
  if (weights.share().count == 1) return;
  CHECK(shares, "a head of shared weights without the ranks that share them");
  if (use == HeadUse::logits)
    gathered_ =
        std::make_unique<SharedLogits>(ops, *shares, config, chunk_rows, weights.head.dtype);
  else
    shared_ = std::make_unique<SharedCrossEntropy>(
        ops, *shares, ShareExtents(config, weights.share()), chunk_rows);
}

Tensor Head::chunk(const Arena& arena, std::int64_t rows) const {
  CHECK(rows <= chunk_rows_, "logits of ", rows, " rows where at most ", chunk_rows_,
        " were announced");
  return arena[Slot{0}].row_range(0, rows);
}

Tensor Head::whole_logits(const Arena& arena, Tensor hidden) {
  CHECK(!shared_, "whole logits of a shared model's head that was made for a loss");
  const Tensor y = chunk(arena, hidden.rows());
  if (gathered_)
    gathered_->compute(y, hidden, weights_.head);
  else
    ops_.linear_forward(y, hidden, weights_.head);
  return y;
}

Tensor Head::logits(Tensor hidden) { return whole_logits(logits_, hidden); }

Tensor Head::second_logits(Tensor hidden) {
  if (!second_) {
    Plan plan;
    plan.add("logits/second", logits_.plan().entries().front().shape, weights_.head.dtype);
    second_ = std::make_unique<Arena>(ops_.memory(), plan);
  }
  return whole_logits(*second_, hidden);
}

void Head::loss(Tensor loss, Tensor hidden, Tensor targets) {
  CHECK(!gathered_, "a loss of a shared model's head that was made for whole logits");
  in_pieces(hidden.rows(), chunk_rows_, [&](std::int64_t first, std::int64_t rows) {
    const Tensor y = chunk(logits_, rows), l = loss.row_range(first, rows),
                 t = targets.row_range(first, rows);
    ops_.linear_forward(own_columns(y), hidden.row_range(first, rows), weights_.head);
    if (shared_)
      shared_->forward(l, y, t);
    else
      ops_.cross_entropy_forward(l, y, t);
  });
}

void Head::loss_and_gradient(Tensor loss, Tensor d_hidden, Tensor d_head, Tensor hidden,
                             Tensor targets, Tensor row_weights) {
  CHECK(!gathered_, "a loss of a shared model's head that was made for whole logits");
  in_pieces(hidden.rows(), chunk_rows_, [&](std::int64_t first, std::int64_t rows) {
    const Tensor x = hidden.row_range(first, rows), y = chunk(logits_, rows), own = own_columns(y),
                 l = loss.row_range(first, rows), t = targets.row_range(first, rows),
                 weights = row_weights.row_range(first, rows);
    ops_.linear_forward(own, x, weights_.head);
    if (shared_)
      shared_->backward(l, y, t, weights);
    else
      ops_.cross_entropy_backward(l, y, t, weights);
    ops_.linear_backward_weight(d_head, own, x);  // before x may be overwritten
    ops_.linear_backward_input(d_hidden.row_range(first, rows), own, weights_.head,
                               GradMode::overwrite);
  });
  if (shared_) sum_over_shares(*shares_, d_hidden);
}

}  // namespace lacuna
