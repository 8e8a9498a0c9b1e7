#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace lacuna {

/// Which of several sources a sample comes from, by weights that may change at given samples. A
/// function of the seed, the weights and the sample's global number: nothing is stored, so that the
/// answer is the same on any layout and after a resume.
///
/// Weights become whole numbers q that sum to a period Q, a power of two; each Q samples, in the
/// same random order, hold q[j] of source j. So shares are exact after each period. What a source
/// gives is numbered from 0 in the order of the samples, also across a change of weights: nothing
/// is left out or repeated, and what comes later changes nothing before it.
class Mixture {
 public:
  struct Stage {
    std::int64_t first_sample = 0;
    std::vector<double> weights;  // of the sources, in [0, inf), not all 0
  };
  struct Place {
    std::size_t source;
    std::int64_t number;  // of the sample within its source, from 0
  };

  /// `stages`: at least one, the first from sample 0, first samples increasing. Error when they are
  /// not, or weights are so unequal that no period up to 2^20 holds them.
  Mixture(const std::vector<Stage>& stages, std::uint64_t seed);

  Place operator()(std::int64_t sample) const;
  /// Samples of a source among the first `samples`.
  std::int64_t drawn(std::size_t source, std::int64_t samples) const;
  /// The share of a source from `sample` on: its weight, rounded to a multiple of 1 / Q.
  double share(std::size_t source, std::int64_t sample) const;

 private:
  struct Slot {
    std::uint32_t source, number;  // among the source's in the period
  };
  struct Part {  // a stage
    std::int64_t first = 0;
    std::vector<Slot> slots;           // [Q]
    std::vector<std::int64_t> counts;  // [sources]: q
    std::vector<std::int64_t> before;  // [sources]: samples of it before the stage
  };
  const Part& part_of(std::int64_t sample) const;
  static std::int64_t drawn(const Part& part, std::size_t source, std::int64_t samples);

  std::vector<Part> parts_;
};

}  // namespace lacuna
