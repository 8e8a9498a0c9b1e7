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
/// Left out are rows that no loss needs: noisy blocks without a masked token, and clean tokens
/// behind the last block that one is predicted from.
struct BlockRows {
  Sequences sequences;               // a text each, with positions and keys
  std::vector<std::int32_t> tokens;  // [N]
  std::vector<std::int32_t> losses;  // of each logit row: m of LossBatch::rows, or their number + j
                                     // of LossBatch::clean_rows

  BlockRows(const LossBatch& batch, bool causal_context);
  /// Pairs of a query and a key that it attends to: of all rows, or of logit rows.
  std::int64_t attended_pairs() const;
  std::int64_t attended_pairs_of_logit_rows() const;

 private:
  struct Text;
  void add(const LossBatch& batch, const Text& text, bool causal_context);
};

}  // namespace lacuna
