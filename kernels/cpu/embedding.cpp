#include <algorithm>
#include <vector>

#include "core/block_formats.h"
#include "kernels/checks.h"
#include "kernels/cpu/blocks.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/simd.h"
#include "kernels/float_types.h"

namespace lacuna {

void CpuOps::embedding_forward(Tensor y, Tensor ids, Matrix w) {
  const Checks c = checks("embedding_forward");
  const bool blocks = !w.is_float();
  const auto [rows, cols] = blocks || (y.dtype == DType::f32 && w.format != MatrixFormat::f32)
                                ? check_stored_embedding(c, y, ids, w)
                                : check_embedding(c, "y", y, ids, "w", w);
  check_indices(c.op(), "ids", ids, w.rows());
  const auto* id = ids.as<std::int32_t>();
  pool_.for_ranges(rows, row_grain(cols), [&, n = cols](std::int64_t begin, std::int64_t end) {
    std::vector<float> wide(std::size_t(blocks ? n : 0));
    for (std::int64_t row = begin; row < end; ++row) {
      const char* stored = row_address(w, id[row]);
      if (blocks) lacuna::dequantise(w.format, stored, n, wide.data());
      move(row_address(y, row), y.dtype, blocks ? static_cast<const void*>(wide.data()) : stored,
           blocks ? DType::f32 : info_of(w.format).dtype, n);
    }
  });
}

// Each thread takes some columns of every row. So rows are added in their order whatever the number
// of threads, and the work is even although half of the ids may be one, the mask token's.
void CpuOps::embedding_backward(Tensor dw, Tensor dy, Tensor ids, GradMode mode) {
  const Checks c = checks("embedding_backward");
  const auto [rows, cols] = check_embedding(c, "dy", dy, ids, "dw", dw);
  check_indices(c.op(), "ids", ids, dw.rows());
  if (mode == GradMode::overwrite) fill(dw, 0);
  const auto* id = ids.as<std::int32_t>();
  constexpr std::int64_t kLine = 32;  // no cache line belongs to two threads
  const std::int64_t wanted = kGrain / std::max<std::int64_t>(1, rows) / kLine * kLine;
  visit_float(dw.dtype, [&, n = cols, count = rows](auto w_type) {
    visit_float(dy.dtype, [&](auto y_type) {
      using W = typename decltype(w_type)::type;
      using T = typename decltype(y_type)::type;
      pool_.for_ranges(n, std::max(kLine, wanted), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t row = 0; row < count; ++row)
          simd_.loops<W>().add(dw.as<W>() + id[row] * n + begin, dy.as<T>() + row * n + begin,
                               end - begin);
      });
    });
  });
}

}  // namespace lacuna
