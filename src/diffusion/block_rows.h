#pragma once
#include <cstdint>
#include <vector>

#include "diffusion/noise.h"
#include "model/sequences.h"

namespace lacuna {

/// A batch of block diffusion as the rows of one forward pass (arXiv:2503.09573, section 3.2): of
/// each text its noisy views, then its clean tokens, at the same positions.
///   noisy row of block b: attends to its own block of the same view, and to clean blocks < b
///   clean row of block b: attends to clean blocks <= b; with model.causal_context to clean tokens
///     up to its own
/// A masked token is predicted at its own row. With model.logits_shift at the noisy row before it,
/// and a block's first token at the last clean row of the block before, as in sampling, where that
/// block is finished: no row of its own block has a part in it, and one clean row predicts it for
/// all views. The first token of a text is given then.
/// Left out are rows that no loss needs: noisy blocks from which no token is predicted, and clean
/// tokens behind the last block that one is predicted from.
struct BlockRows {
  Sequences sequences;               // a text each, with positions and keys
  std::vector<std::int32_t> tokens;  // [N]
  std::vector<std::int32_t> losses;  // of each of LossBatch::rows, then of its clean_rows: which of
                                     // sequences.logit_rows; several may have the same

  BlockRows(const LossBatch& batch, bool causal_context, bool logits_shift = false);
  /// Pairs of a query and a key that it attends to: of all rows, or of logit rows.
  std::int64_t attended_pairs() const;
  std::int64_t attended_pairs_of_logit_rows() const;

 private:
  struct Text;
  void add(const LossBatch& batch, const Text& text, bool causal_context, bool logits_shift);
};

}  // namespace lacuna
