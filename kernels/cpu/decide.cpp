#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/checks.h"
#include "kernels/cpu/cpu_ops.h"

namespace lacuna {
namespace {

void check_rows(const Checks& c, const Tensor& rows, const Tensor& tokens) {
  const auto* row = rows.as<std::int32_t>();
  for (std::int64_t i = 0; i < rows.count(); ++i)
    CHECK(row[i] >= -1 && row[i] < tokens.count(), c.op(), ": rows[", i / rows.cols(), ",",
          i % rows.cols(), "] is ", row[i], "; tokens is ", tokens);
}

void check_rules(const Checks& c, const CommitRules& rules, const ScoreSources& found) {
  for (std::int64_t s = 0; s < rules.rules.count(); ++s) {
    const std::int32_t rule = rules.rules.as<std::int32_t>()[s];
    CHECK(rule >= 0 && rule <= std::int32_t(CommitRule::entropy), c.op(), ": rules[", s, "] is ",
          rule, "; there is no such rule");
    CHECK(CommitRule(rule) != CommitRule::entropy || found.entropy, c.op(), ": rules[", s,
          "] needs entropy");
    CHECK(CommitRule(rule) != CommitRule::margin || (found.p_first && found.p_second), c.op(),
          ": rules[", s, "] needs p_first and p_second");
  }
}

}  // namespace

void CpuOps::decide(const Commits& commits, const RowStats& found, Tensor rows, Tensor offsets,
                    const CommitRules& rules, std::int32_t mask_token, std::int32_t number) {
  const Checks c = checks("decide");
  const std::int64_t segments = check_decide(c, commits, found, rows, offsets, rules);
  const ScoreSources sources = score_sources(found);
  check_rows(c, rows, commits.tokens);
  check_rules(c, rules, sources);
  auto* tokens = commits.tokens.as<std::int32_t>();
  const auto *row = rows.as<std::int32_t>(), *bound = offsets.as<std::int32_t>(),
             *drawn = found.draw.as<std::int32_t>();
  const std::int64_t draws = found.draw.count();
  std::vector<ScoredDraw> sorted;
  for (std::int64_t s = 0; s < segments; ++s) {
    const auto rule = CommitRule(rules.rules.as<std::int32_t>()[s]);
    sorted.clear();
    for (std::int32_t m = bound[s]; m < bound[s + 1]; ++m) {
      if (row[m] < 0 || tokens[row[m]] != mask_token) continue;
      const double score = sources.score(rule, m);
      if (std::isfinite(score) && std::isfinite(sources.p_draw[m]))
        sorted.push_back({score, m});
      else
        *commits.not_finite.as<std::int32_t>() = 1;
    }
    std::sort(sorted.begin(), sorted.end(), precedes);
    const auto n = std::int32_t(sorted.size());
    const std::int32_t count =
        std::max(chosen_by(rule, rules.bounds.as<double>()[s], sorted.data(), n),
                 std::min(rules.least.as<std::int32_t>()[s], n));
    for (std::int32_t i = 0; i < count; ++i) {
      const std::int32_t m = sorted[std::size_t(i)].draw;
      for (std::int64_t at = m; at < rows.count(); at += draws)
        if (row[at] >= 0) tokens[row[at]] = drawn[m];
      if (drawn[m] == mask_token) continue;
      commits.step.as<std::int32_t>()[m] = number;
      commits.probability.as<float>()[m] = sources.p_draw[m];
    }
  }
}

}  // namespace lacuna
