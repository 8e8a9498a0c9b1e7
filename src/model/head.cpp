#include "model/head.h"

#include <algorithm>

namespace lacuna {
namespace {

Plan logits_plan(const ModelConfig& config, std::int64_t rows, const char* name, DType dtype) {
  CHECK(rows > 0, "a head that computes ", rows, " rows at once");
  Plan plan;
  plan.add(name, {rows, config.vocab_size}, dtype);
  return plan;
}

/// Calls work(first, count) for pieces of [0, rows) of almost equal size, at most `most` each.
void in_pieces(std::int64_t rows, std::int64_t most, auto&& work) {
  const std::int64_t pieces = (rows + most - 1) / most;
  for (std::int64_t i = 0; i < pieces; ++i) {
    const std::int64_t first = rows * i / pieces;
    work(first, rows * (i + 1) / pieces - first);
  }
}

}  // namespace

Head::Head(Ops& ops, const ModelConfig& config, const ModelTensors& weights,
           std::int64_t chunk_rows)
    : ops_(ops),
      weights_(weights),
      chunk_rows_(chunk_rows),
      logits_(ops.memory(), logits_plan(config, chunk_rows, "logits/chunk", weights.head.dtype)) {}

Tensor Head::chunk(const Arena& arena, std::int64_t rows) const {
  CHECK(rows <= chunk_rows_, "logits of ", rows, " rows where at most ", chunk_rows_,
        " were announced");
  return arena[Slot{0}].row_range(0, rows);
}

Tensor Head::logits(Tensor hidden) {
  const Tensor y = chunk(logits_, hidden.rows());
  ops_.linear_forward(y, hidden, weights_.head);
  return y;
}

Tensor Head::second_logits(Tensor hidden) {
  if (!second_) {
    Plan plan;
    plan.add("logits/second", logits_.plan().entries().front().shape, weights_.head.dtype);
    second_ = std::make_unique<Arena>(ops_.memory(), plan);
  }
  const Tensor y = chunk(*second_, hidden.rows());
  ops_.linear_forward(y, hidden, weights_.head);
  return y;
}

void Head::loss(Tensor loss, Tensor hidden, Tensor targets) {
  in_pieces(hidden.rows(), chunk_rows_, [&](std::int64_t first, std::int64_t rows) {
    ops_.cross_entropy_forward(loss.row_range(first, rows), logits(hidden.row_range(first, rows)),
                               targets.row_range(first, rows));
  });
}

void Head::loss_and_gradient(Tensor loss, Tensor d_hidden, Tensor d_head, Tensor hidden,
                             Tensor targets, Tensor row_weights) {
  in_pieces(hidden.rows(), chunk_rows_, [&](std::int64_t first, std::int64_t rows) {
    const Tensor x = hidden.row_range(first, rows), y = logits(x);
    ops_.cross_entropy_backward(loss.row_range(first, rows), y, targets.row_range(first, rows),
                                row_weights.row_range(first, rows));
    ops_.linear_backward_weight(d_head, y, x);  // before x may be overwritten
    ops_.linear_backward_input(d_hidden.row_range(first, rows), y, weights_.head,
                               GradMode::overwrite);
  });
}

}  // namespace lacuna
