#pragma once
#include <cstdint>
#include <functional>
#include <vector>

#include "diffusion/objective.h"

namespace lacuna {

/// The sequences a model is validated on, in a fixed order.
struct ValidationSet {
  std::int64_t sequences = 0, length = 0;  // n, T
  /// Sequences [first, first + count) into host i32 [count, T].
  std::function<void(std::int64_t first, std::int64_t count, Tensor tokens)> read;
};

/// Of the masks of every validation. Any constant would do; changing it changes every curve.
inline constexpr std::uint64_t kValidationSeed = 0x6c6163756e61;  // "lacuna"

/// One mask ratio t in (0,1) for each of n validation sequences: stratified, one in each of
/// [j/n, (j+1)/n), dealt to the sequences in a random order, so that a sequence's place in the
/// corpus says nothing about its ratio. Depends on n alone.
std::vector<double> validation_ratios(std::int64_t n);

/// The mean loss of the objective on the set, with masks that depend on nothing but each
/// sequence's number and n: comparable between steps, runs and seeds. Masked diffusion: a bound on
/// the negative log-likelihood, in nats per token (arXiv:2502.09992, eq. 4), with the ratios
/// above. Block diffusion: the like, block by block, with levels that begin there. Autoregressive:
/// the exact mean nats per predicted token, all but each sequence's first. `options` gives
/// objective, eps and mask token; its seed is not used.
double validation_bound(ObjectiveRunner& runner, const NoiseOptions& options,
                        const ValidationSet& set, std::int64_t micro_batch);

/// What sequences [first, first + count) add to the same: the parts of several ranks add up to it.
double validation_share(ObjectiveRunner& runner, const NoiseOptions& options,
                        const ValidationSet& set, std::int64_t micro_batch, std::int64_t first,
                        std::int64_t count);

}  // namespace lacuna
