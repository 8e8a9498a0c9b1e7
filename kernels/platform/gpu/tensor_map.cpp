#include "kernels/platform/tensor_map.h"

#include <cuda.h>
#include <cuda_runtime.h>

#include <cstring>

#include "core/check.h"

namespace lacuna {
namespace {

/// The driver's function, found at run time: the program does not link the driver.
auto encode_function(const char* op) {
  static const auto function = [op] {
    void* found = nullptr;
    cudaDriverEntryPointQueryResult result{};
    const cudaError_t error = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found,
                                                               12000, cudaEnableDefault, &result);
    CHECK(error == cudaSuccess && result == cudaDriverEntryPointSuccess && found, op,
          ": the NVIDIA driver has no cuTensorMapEncodeTiled; it must be of CUDA 12 or newer");
    return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(found);
  }();
  return function;
}

}  // namespace

TensorMap tensor_map(const char* op, const BFloat16* data, std::int64_t rows, std::int64_t columns,
                     std::int64_t stride, int box_rows) {
  static_assert(sizeof(CUtensorMap) == sizeof(TensorMap));
  CUtensorMap map{};
  const cuuint64_t sizes[] = {cuuint64_t(columns), cuuint64_t(rows)};
  const cuuint64_t strides[] = {cuuint64_t(stride) * sizeof(BFloat16)};
  const cuuint32_t box[] = {cuuint32_t(kBoxColumns), cuuint32_t(box_rows)}, steps[] = {1, 1};
  const CUresult result = encode_function(op)(
      &map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, const_cast<BFloat16*>(data), sizes, strides, box,
      steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
      CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  CHECK(result == CUDA_SUCCESS, op, ": cuTensorMapEncodeTiled: error ", int(result), " for [", rows,
        ",", columns, "] bf16, stride ", stride);
  TensorMap made{};
  std::memcpy(made.bytes, &map, sizeof map);
  return made;
}

}  // namespace lacuna
