#pragma once
#include <cstdint>

namespace lacuna {

/// By which score Ops::decide orders the draws of a segment, the highest first and of equal ones
/// the first draw; and how many of them it chooses: those before the first that fails. Scores are
/// f64, so that the choice is the same on the host and on a device.
enum class CommitRule : std::int32_t {
  count,    // p_draw: none but CommitRules::least
  above,    // p_draw: score > bound
  margin,   // p_first - p_second: score > bound
  factor,   // p_draw: the n-th, from 1, has score >= 1 - bound / (n + 1) (Fast-dLLM,
            // arXiv:2505.22618)
  entropy,  // -entropy: the entropies before sum to at most the bound (EB-Sampler,
            // arXiv:2505.24857)
};

/// A draw and its score.
struct ScoredDraw {
  double score;
  std::int32_t draw;
};
constexpr bool precedes(const ScoredDraw& a, const ScoredDraw& b) {
  return a.score != b.score ? a.score > b.score : a.draw < b.draw;
}

/// How many of `n` draws in that order are chosen.
constexpr std::int32_t chosen_by(CommitRule rule, double bound, const ScoredDraw* sorted,
                                 std::int32_t n) {
  double entropy_before = 0;
  for (std::int32_t i = 0; i < n; ++i) {
    const double score = sorted[i].score;
    bool passes = false;
    switch (rule) {
      case CommitRule::count:
        break;
      case CommitRule::above:
      case CommitRule::margin:
        passes = score > bound;
        break;
      case CommitRule::factor:
        passes = score >= 1 - bound / double(i + 2);
        break;
      case CommitRule::entropy:
        passes = entropy_before <= bound;
        entropy_before -= score;
        break;
    }
    if (!passes) return i;
  }
  return n;
}

/// Pointers to the rows of `RowStats` that scores are made of; those that no rule asks for may be
/// null.
struct ScoreSources {
  const float *p_draw, *p_first, *p_second, *entropy;

  constexpr double score(CommitRule rule, std::int64_t m) const {
    if (rule == CommitRule::margin) return double(p_first[m]) - double(p_second[m]);
    return rule == CommitRule::entropy ? -double(entropy[m]) : double(p_draw[m]);
  }
};

}  // namespace lacuna
