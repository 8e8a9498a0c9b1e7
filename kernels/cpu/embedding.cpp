#include <algorithm>

#include "core/block_formats.h"
#include "kernels/checks.h"
#include "kernels/cpu/blocks.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/simd.h"

namespace lacuna {

void CpuOps::embedding_forward(Tensor y, Tensor ids, Matrix w) {
  const Checks c("embedding_forward", Place::host);
  const auto [rows, cols] = w.format == MatrixFormat::f32 ? check_embedding(c, "y", y, ids, "w", w)
                                                          : check_stored_embedding(c, y, ids, w);
  check_indices(c.op(), "ids", ids, w.rows());
  const auto* id = ids.as<std::int32_t>();
  pool_.for_ranges(rows, row_grain(cols), [&, n = cols](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row)
      dequantise(w.format, static_cast<const char*>(w.data) + id[row] * w.row_bytes, n,
                 y.as<float>() + row * n);
  });
}

// Each thread takes some columns of every row. So rows are added in their order whatever the number
// of threads, and the work is even although half of the ids may be one, the mask token's.
void CpuOps::embedding_backward(Tensor dw, Tensor dy, Tensor ids) {
  const Checks c("embedding_backward", Place::host);
  const auto [rows, cols] = check_embedding(c, "dy", dy, ids, "dw", dw);
  check_indices(c.op(), "ids", ids, dw.rows());
  const auto* id = ids.as<std::int32_t>();
  constexpr std::int64_t kLine = 16;  // no cache line belongs to two threads
  const std::int64_t wanted = kGrain / std::max<std::int64_t>(1, rows) / kLine * kLine;
  const auto columns = [&, n = cols, count = rows](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = 0; row < count; ++row)
      simd_.add(dw.as<float>() + id[row] * n + begin, dy.as<float>() + row * n + begin,
                end - begin);
  };
  pool_.for_ranges(cols, std::max(kLine, wanted), columns);
}

}  // namespace lacuna
