#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "comm/communicator.h"
#include "core/row_documents.h"
#include "diffusion/objective.h"

namespace lacuna {

/// The sequences a model is validated on, in a fixed order.
struct ValidationSet {
  std::int64_t sequences = 0, length = 0;  // n, T
  /// Sequences [first, first + count) into host i32 [count, T].
  std::function<void(std::int64_t first, std::int64_t count, Tensor tokens)> read;
  /// Their documents, which are then sequences of their own; none: they are joined.
  std::function<std::vector<RowDocuments>(std::int64_t first, std::int64_t count)> documents = {};
};

/// Of the masks of every validation. Any constant would do; changing it changes every curve.
inline constexpr std::uint64_t kValidationSeed = 0x6c6163756e61;  // "lacuna"

/// One mask ratio t in (0,1) for each of n validation sequences: stratified, one in each of
/// [j/n, (j+1)/n), dealt to the sequences in a random order, so that a sequence's place in the
/// corpus says nothing about its ratio. Depends on n alone.
std::vector<double> validation_ratios(std::int64_t n);

/// What a validation of n sequences found beside their mean.
class ValidationDetail {
 public:
  static constexpr std::size_t kRanges = 10;  // of mask probability, of equal width

  explicit ValidationDetail(std::int64_t sequences) : estimates_(std::size_t(sequences)) {}
  /// Of a batch whose sequence b is number sequences[b] of the n, and its rows' losses.
  void add(const LossBatch& batch, std::span<const float> row_losses,
           std::span<const std::int64_t> sequences);
  /// Adds what other ranks have of the other sequences.
  void sum_over(Communicator& ranks);

  /// Of the mean over sequences, whose mask ratios are `ratios` of validation_ratios(); none where
  /// they have no ratios. Sequences of neighbouring ratios are compared in pairs (collapsed strata;
  /// Cochran, Sampling Techniques, section 5A.12), so that what the ratio itself explains is left
  /// out. 0 of one sequence.
  double standard_error(std::span<const double> ratios) const;
  /// Mean cross-entropy of the masked tokens, in nats, whose mask probability lies in
  /// [i/kRanges, (i+1)/kRanges); NaN where there are none.
  std::array<double, kRanges> loss_by_mask_probability() const;

 private:
  std::vector<double> estimates_;  // [n] each sequence's own estimate of the mean
  std::array<double, kRanges> loss_{}, tokens_{};
};

/// The mean loss of the objective on the set, with masks that depend on nothing but each
/// sequence's number and n: comparable between steps, runs and seeds. Masked diffusion: a bound on
/// the negative log-likelihood, in nats per token (arXiv:2502.09992, eq. 4), with the ratios
/// above. Block diffusion: the like, block by block, with levels that begin there. Autoregressive:
/// the exact mean nats per predicted token, all but each sequence's first. `options` gives
/// objective, eps and mask token; its seed is not used.
double validation_bound(ObjectiveRunner& runner, const NoiseOptions& options,
                        const ValidationSet& set, std::int64_t micro_batch);

/// What sequences [first, first + count) add to the same: the parts of several ranks add up to it.
/// `detail` (of set.sequences) may be null.
double validation_share(ObjectiveRunner& runner, const NoiseOptions& options,
                        const ValidationSet& set, std::int64_t micro_batch, std::int64_t first,
                        std::int64_t count, ValidationDetail* detail = nullptr);

}  // namespace lacuna
