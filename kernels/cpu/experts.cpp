#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/checks.h"
#include "kernels/cpu/blocks.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/simd.h"
#include "kernels/float_types.h"

namespace lacuna {
namespace {

/// x = softmax(x). All of it is NaN where a logit is NaN or +inf, or all are -inf.
void softmax(float* x, std::int64_t n) {
  float max = -INFINITY;
  for (std::int64_t e = 0; e < n; ++e) max = x[e] > max ? x[e] : max;
  double sum = 0;
  for (std::int64_t e = 0; e < n; ++e) sum += double(x[e] = std::exp(x[e] - max));
  for (std::int64_t e = 0; e < n; ++e) x[e] = float(double(x[e]) / sum);
}

struct Choice {
  std::int32_t expert;
  float weight;
};

/// The k largest of p, of equal ones the first; of those that are NaN the first. p is used up.
void choose(Choice* chosen, std::int64_t k, float* p, std::int64_t n, bool normalise) {
  constexpr float kTaken = -1;
  float sum = 0;
  for (std::int64_t i = 0; i < k; ++i) {
    std::int64_t best = -1;
    for (std::int64_t e = 0; e < n; ++e)
      if (p[e] != kTaken && (best < 0 || p[e] > p[best])) best = e;
    chosen[i] = {std::int32_t(best), p[best]};
    sum += p[best];
    p[best] = kTaken;
  }
  if (!normalise) return;
  for (std::int64_t i = 0; i < k; ++i) chosen[i].weight /= sum;
}

/// A counting sort by expert, which keeps the order of rows.
void group(const RoutedRows& routed, const std::vector<Choice>& chosen, const Routing& r) {
  auto* const offsets = routed.offsets.as<std::int32_t>();
  std::fill_n(offsets, r.experts + 1, 0);
  for (const Choice& c : chosen) ++offsets[c.expert + 1];
  for (std::int64_t e = 0; e < r.experts; ++e) offsets[e + 1] += offsets[e];
  std::vector<std::int32_t> next(offsets, offsets + r.experts);
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    const std::int32_t at = next[std::size_t(chosen[i].expert)]++;
    routed.rows.as<std::int32_t>()[at] = std::int32_t(std::int64_t(i) / r.each);
    routed.weights.as<float>()[at] = chosen[i].weight;
  }
}

}  // namespace

void CpuOps::route_rows(const RoutedRows& routed, Tensor logits, bool normalise) {
  const Routing r = check_route_rows(checks("route_rows"), routed, logits);
  std::vector<Choice> chosen(std::size_t(r.rows * r.each));
  pool_.for_ranges(r.rows, row_grain(r.experts * r.each),
                   [&](std::int64_t begin, std::int64_t end) {
                     std::vector<float> p(static_cast<std::size_t>(r.experts));
                     for (std::int64_t n = begin; n < end; ++n) {
                       move(p.data(), DType::f32, row_address(logits, n), logits.dtype, r.experts);
                       softmax(p.data(), r.experts);
                       choose(chosen.data() + n * r.each, r.each, p.data(), r.experts, normalise);
                     }
                   });
  group(routed, chosen, r);
}

void CpuOps::add_weighted_rows(Tensor x, Tensor y, Tensor rows, Tensor weights) {
  const Checks c = checks("add_weighted_rows");
  const auto [count, cols] = check_add_weighted_rows(c, x, y, rows, weights);
  check_distinct_rows(c.op(), rows, x.rows());
  const auto* const to = rows.as<std::int32_t>();
  const auto* const weight = weights.as<float>();
  visit_float(y.dtype, [&, count = count, n = cols](auto type) {
    using T = typename decltype(type)::type;
    pool_.for_ranges(count, row_grain(n), [&](std::int64_t begin, std::int64_t end) {
      std::vector<float> wide(sizeof(T) == sizeof(float) ? 0 : std::size_t(n));
      for (std::int64_t m = begin; m < end; ++m) {
        const float* from = wide.data();
        if constexpr (sizeof(T) == sizeof(float))
          from = y.as<T>() + m * n;
        else
          simd_.loops<T>().widen(wide.data(), y.as<T>() + m * n, n);
        float* const sum = x.as<float>() + to[m] * n;
        for (std::int64_t i = 0; i < n; ++i) sum[i] += weight[m] * from[i];
      }
    });
  });
}

}  // namespace lacuna
