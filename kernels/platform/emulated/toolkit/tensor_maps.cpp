#include <cuda.h>

#include <cstring>
#include <string_view>

#include "core/half.h"
#include "kernels/platform/emulated/hopper.h"
#include "kernels/platform/emulated/toolkit/state.h"

// The driver's tensor maps: every rule of cuTensorMapEncodeTiled's documentation, and what the
// emulator's TMA unit (kernels/platform/emulated/hopper.cpp) makes of a map.

using namespace lacuna;
using namespace lacuna::toolkit;

namespace {

constexpr int kDriverOfTensorMaps = 12000;

/// Bytes of an element; 0 for no type that is declared.
std::size_t size_of(CUtensorMapDataType type) {
  switch (type) {
    case CU_TENSOR_MAP_DATA_TYPE_UINT8:
      return 1;
    case CU_TENSOR_MAP_DATA_TYPE_UINT16:
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT16:
    case CU_TENSOR_MAP_DATA_TYPE_BFLOAT16:
      return 2;
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT32:
      return 4;
  }
  return 0;
}

bool is_float(CUtensorMapDataType type) { return type >= CU_TENSOR_MAP_DATA_TYPE_FLOAT16; }

/// Bytes within which a row of a box is swizzled; 0: no limit.
std::size_t span_of(CUtensorMapSwizzle swizzle) {
  return swizzle == CU_TENSOR_MAP_SWIZZLE_NONE ? 0 : std::size_t{16} << int(swizzle);
}

struct Request {
  CUtensorMap* map;
  CUtensorMapDataType type;
  cuuint32_t rank;
  void* data;
  const cuuint64_t *sizes, *strides;
  const cuuint32_t *box, *element_strides;
  CUtensorMapInterleave interleave;
  CUtensorMapSwizzle swizzle;
  CUtensorMapL2promotion promotion;
  CUtensorMapFloatOOBfill fill;
};

bool is_multiple(const void* p, std::uintptr_t of) {
  return reinterpret_cast<std::uintptr_t>(p) % of == 0;
}

/// The rule that is broken, or "".
std::string fault_of_dimensions(const Request& r) {
  const std::size_t element = size_of(r.type);
  const std::uintptr_t unit = r.interleave == CU_TENSOR_MAP_INTERLEAVE_32B ? 32 : 16;
  if (!is_multiple(r.data, unit)) return str("an address that is no multiple of ", unit);
  for (cuuint32_t i = 0; i < r.rank; ++i) {
    if (r.sizes[i] == 0 || r.sizes[i] > std::uint64_t{1} << 32)
      return str("a size of ", r.sizes[i], ", beyond 1 to 2^32");
    if (r.box[i] == 0 || r.box[i] > 256) return str("a box of ", r.box[i], ", beyond 1 to 256");
    if (r.element_strides[i] == 0 || r.element_strides[i] > 8)
      return str("an element stride of ", r.element_strides[i], ", beyond 1 to 8");
  }
  std::uint64_t least = r.sizes[0] * element;  // what a stride must step over
  for (cuuint32_t i = 0; i + 1 < r.rank; ++i) {
    const std::uint64_t stride = r.strides[i];
    if (stride % unit) return str("a stride of ", stride, " bytes, no multiple of ", unit);
    if (stride >= std::uint64_t{1} << 40)
      return str("a stride of ", stride, " bytes, 2^40 or more");
    if (stride < least) return str("a stride of ", stride, " bytes over ", least);
    least = stride * r.sizes[i + 1];
  }
  return "";
}

std::string fault_of_box(const Request& r) {
  const std::size_t row = r.box[0] * size_of(r.type);
  if (r.interleave != CU_TENSOR_MAP_INTERLEAVE_NONE) {
    if (r.rank < 3) return "an interleaved layout of fewer than 3 dimensions";
    if (r.interleave == CU_TENSOR_MAP_INTERLEAVE_32B && r.swizzle != CU_TENSOR_MAP_SWIZZLE_32B)
      return "an interleaved layout of 32 bytes without the swizzle of 32 bytes";
    return "";
  }
  if (row % 16) return str("a box of ", row, " bytes per row, no multiple of 16");
  if (const std::size_t span = span_of(r.swizzle); span && row > span)
    return str("a box of ", row, " bytes per row, swizzled within ", span);
  return "";
}

std::string fault_of(const Request& r) {
  if (!is_multiple(r.map, 64)) return "a map that is not aligned to 64";
  if (size_of(r.type) == 0) return str("type ", int(r.type));
  if (r.rank < 1 || r.rank > 5) return str(r.rank, " dimensions, beyond 1 to 5");
  if (int(r.swizzle) < 0 || r.swizzle > CU_TENSOR_MAP_SWIZZLE_128B)
    return str("swizzle ", int(r.swizzle));
  if (int(r.interleave) < 0 || r.interleave > CU_TENSOR_MAP_INTERLEAVE_32B)
    return str("interleave ", int(r.interleave));
  if (int(r.promotion) < 0 || r.promotion > CU_TENSOR_MAP_L2_PROMOTION_L2_256B)
    return str("promotion ", int(r.promotion));
  if (r.fill != CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE && !is_float(r.type))
    return "NaN beyond the edges of integers";
  if (std::string fault = fault_of_dimensions(r); !fault.empty()) return fault;
  if (std::string fault = fault_of_box(r); !fault.empty()) return fault;
  // Not a rule of the call: what is copied later would be an illegal address.
  std::uint64_t extent = size_of(r.type) * r.sizes[0];
  for (cuuint32_t i = 1; i < r.rank; ++i) extent += (r.sizes[i] - 1) * r.strides[i - 1];
  const std::optional<Block> block = block_of(r.data, extent);
  if (!block || block->kind != Kind::device) return str(extent, " bytes that are no device memory");
  return "";
}

bool device_has_tensor_maps() {
  const Lock lock(state().mutex);
  return state().machine.devices[std::size_t(device_of_thread())].major >= 9;
}

}  // namespace

CUresult cuTensorMapEncodeTiled(CUtensorMap* map, CUtensorMapDataType type, cuuint32_t rank,
                                void* data, const cuuint64_t* sizes, const cuuint64_t* strides,
                                const cuuint32_t* box, const cuuint32_t* element_strides,
                                CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle,
                                CUtensorMapL2promotion promotion, CUtensorMapFloatOOBfill fill) {
  const char* const name = "cuTensorMapEncodeTiled";
  count_call(name);
  const Request r{map,        type,    rank,      data, sizes, strides, box, element_strides,
                  interleave, swizzle, promotion, fill};
  if (!device_has_tensor_maps())
    return refuse(CUDA_ERROR_NOT_SUPPORTED, name, ": a device older than sm_90");
  if (const std::string fault = fault_of(r); !fault.empty())
    return refuse(CUDA_ERROR_INVALID_VALUE, name, ": ", fault);
  if (rank != 2 || type != CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 || box[0] != kBoxColumns ||
      element_strides[0] != 1 || element_strides[1] != 1 ||
      interleave != CU_TENSOR_MAP_INTERLEAVE_NONE || swizzle != CU_TENSOR_MAP_SWIZZLE_128B ||
      fill != CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE)
    return refuse(
        CUDA_ERROR_NOT_SUPPORTED, name,
        ": right, but the emulator has no such copies: kernels/platform/emulated/hopper.h");
  const emulator::BoxMap made{static_cast<const BFloat16*>(data), std::int64_t(sizes[1]),
                              std::int64_t(sizes[0]), std::int64_t(strides[0] / sizeof(BFloat16)),
                              int(box[1])};
  *map = {};
  std::memcpy(map, &made, sizeof made);
  return CUDA_SUCCESS;
}

cudaError_t cudaGetDriverEntryPointByVersion(const char* symbol, void** function,
                                             unsigned int version, unsigned long long flags,
                                             cudaDriverEntryPointQueryResult* result) {
  return call("cudaGetDriverEntryPointByVersion", [&] {
    *function = nullptr;
    if (flags != cudaEnableDefault)
      return refuse(cudaErrorInvalidValue, "cudaGetDriverEntryPointByVersion: flags ", flags);
    if (std::string_view(symbol) != "cuTensorMapEncodeTiled" ||
        state().machine.driver < kDriverOfTensorMaps) {
      *result = cudaDriverEntryPointSymbolNotFound;
    } else if (int(version) < kDriverOfTensorMaps) {
      *result = cudaDriverEntryPointVersionNotSufficent;
    } else {
      *function = reinterpret_cast<void*>(&cuTensorMapEncodeTiled);
      *result = cudaDriverEntryPointSuccess;
    }
    return cudaSuccess;
  });
}
