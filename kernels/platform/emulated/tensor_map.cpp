#include "kernels/platform/tensor_map.h"

#include <cstring>

#include "core/check.h"
#include "kernels/platform/emulated/hopper.h"

namespace lacuna {

TensorMap tensor_map(const char* op, const BFloat16* data, std::int64_t rows, std::int64_t columns,
                     std::int64_t stride, int box_rows) {
  CHECK(reinterpret_cast<std::uintptr_t>(data) % 16 == 0 && stride % 8 == 0 && box_rows <= 256, op,
        ": emulator: a tensor map of stride ", stride, " and boxes of ", box_rows, " rows");
  const emulator::BoxMap map{data, rows, columns, stride, box_rows};
  TensorMap made{};
  std::memcpy(made.bytes, &map, sizeof map);
  return made;
}

}  // namespace lacuna
