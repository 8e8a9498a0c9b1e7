#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/checks.h"
#include "kernels/cpu/cpu_ops.h"

namespace lacuna {

void CpuOps::unmask(Tensor canvas, Tensor confidence, Tensor bad, Tensor tokens, Tensor rows,
                    Tensor offsets, Tensor counts, std::int32_t mask_token) {
  const Checks c("unmask", Place::host);
  const std::int64_t segments =
      check_unmask(c, canvas, confidence, bad, tokens, rows, offsets, counts);
  auto* to = canvas.as<std::int32_t>();
  auto* sure = confidence.as<float>();
  const auto *row = rows.as<std::int32_t>(), *bound = offsets.as<std::int32_t>();
  for (std::int64_t m = 0; m < rows.count(); ++m)
    CHECK(row[m] >= 0 && row[m] < canvas.count(), c.op(), ": rows[", m, "] is ", row[m],
          "; canvas is ", canvas);
  std::vector<std::int32_t> order;
  for (std::int64_t s = 0; s < segments; ++s) {
    order.clear();
    for (std::int32_t m = bound[s]; m < bound[s + 1]; ++m) {
      if (to[row[m]] != mask_token)
        sure[m] = -1;
      else if (!std::isfinite(sure[m]))
        *bad.as<std::int32_t>() = 1;
      else
        order.push_back(m);
    }
    const auto count =
        std::min<std::size_t>(std::size_t(std::max(counts.as<std::int32_t>()[s], 0)), order.size());
    std::partial_sort(order.begin(), order.begin() + std::ptrdiff_t(count), order.end(),
                      [&](std::int32_t a, std::int32_t b) {
                        return sure[a] != sure[b] ? sure[a] > sure[b] : a < b;
                      });
    for (std::size_t i = 0; i < count; ++i) to[row[order[i]]] = tokens.as<std::int32_t>()[order[i]];
  }
}

}  // namespace lacuna
