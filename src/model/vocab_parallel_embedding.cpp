#include "model/vocab_parallel_embedding.h"

#include <utility>

#include "core/tensor_of.h"
#include "model/pass.h"

namespace lacuna {

void VocabParallelEmbedding::place(Tensor tokens) {
  if (tp_group_.size() == 1) return;
  const auto* first = tokens.as<std::int32_t>();
  tokens_.assign(first, first + tokens.count());
  placed_ = true;
}

/// Which of tokens_ are this rank's, and where they are.
void VocabParallelEmbedding::find_own() {
  ids_.clear();
  rows_.clear();
  for (std::size_t row = 0; row < tokens_.size(); ++row) {
    const std::int64_t id = tokens_[row] - own_.first_id;
    if (id < 0 || id >= own_.ids) continue;
    ids_.push_back(std::int32_t(id));
    rows_.push_back(std::int32_t(row));
  }
  const auto n = std::int64_t(ids_.size());
  ops_.upload(
      {{activations_.own_ids(n), tensor_of(ids_)}, {activations_.own_rows(n), tensor_of(rows_)}});
}

void VocabParallelEmbedding::forward(Tensor x, Tensor tokens, Matrix w) {
  if (tp_group_.size() == 1) return ops_.embedding_forward(x, tokens, w);
  if (!std::exchange(placed_, false)) {
    tokens_.resize(std::size_t(tokens.count()));
    ops_.copy(tensor_of(tokens_), tokens);
    ops_.synchronize();
  }
  find_own();
  ops_.fill(x, 0);
  if (const auto n = std::int64_t(ids_.size()); n > 0) {
    const Tensor own = activations_.own_embeddings(n);
    ops_.embedding_forward(own, activations_.own_ids(n), w);
    ops_.scatter_add_rows(x, own, activations_.own_rows(n));
  }
  sum_over_shares(tp_group_, x);  // of which all but one are zeros
}

void VocabParallelEmbedding::backward(Tensor dw, Tensor d_x, Tensor tokens, GradMode mode) {
  if (tp_group_.size() == 1) return ops_.embedding_backward(dw, d_x, tokens, mode);
  const auto n = std::int64_t(ids_.size());
  if (n == 0 && mode == GradMode::accumulate) return;
  const Tensor own = activations_.own_embeddings(n);
  ops_.gather_rows(own, d_x, activations_.own_rows(n));
  ops_.embedding_backward(dw, own, activations_.own_ids(n), mode);
}

}  // namespace lacuna
