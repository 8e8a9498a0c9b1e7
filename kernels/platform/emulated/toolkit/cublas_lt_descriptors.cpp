#include <cstring>

#include "kernels/platform/emulated/toolkit/cublas_lt.h"

// Objects of cuBLASLt, and what it demands of them together.

namespace lacuna::toolkit {

bool exists(const void* object) {
  const Lock lock(state().mutex);
  return state().descriptors.count(object);
}

namespace {

template <class T>
cublasStatus_t made(const char* function, T** object, T* fresh) {
  count_call(function);
  const Lock lock(state().mutex);
  state().descriptors.insert(*object = fresh);
  return CUBLAS_STATUS_SUCCESS;
}

template <class T>
cublasStatus_t destroyed(const char* function, T* object) {
  count_call(function);
  if (!exists(object))
    return refuse(CUBLAS_STATUS_INVALID_VALUE, function, ": not an object, or destroyed before");
  const Lock lock(state().mutex);
  state().descriptors.erase(object);
  delete object;
  return CUBLAS_STATUS_SUCCESS;
}

/// Copies an attribute of exactly this size.
template <class T>
cublasStatus_t set(const char* function, T* attribute, const void* value, std::size_t bytes) {
  if (bytes != sizeof(T))
    return refuse(CUBLAS_STATUS_INVALID_VALUE, function, ": an attribute of ", sizeof(T),
                  " bytes set to one of ", bytes);
  std::memcpy(attribute, value, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

std::string size_of(std::uint64_t rows, std::uint64_t cols) {
  return str("[", rows, ",", cols, "]");
}

/// The rule that the product breaks, or "".
std::string fault_of(const LtProduct& p) {
  const struct {
    const char* name;
    const MatrixLayout& layout;
    std::uint64_t rows, cols;
  } matrices[] = {{"a", p.a, p.transpose_a ? p.k : p.m, p.transpose_a ? p.m : p.k},
                  {"b", p.b, p.transpose_b ? p.n : p.k, p.transpose_b ? p.k : p.n},
                  {"c", p.c, p.m, p.n},
                  {"d", p.d, p.m, p.n}};
  for (const auto& [name, layout, rows, cols] : matrices) {
    if (layout.rows != rows || layout.cols != cols)
      return str(name, " is ", size_of(layout.rows, layout.cols), ", not ", size_of(rows, cols));
    if (layout.stride < std::int64_t(layout.rows))
      return str(name, "'s columns of ", layout.rows, " are ", layout.stride, " apart");
  }
  return "";
}

/// "To use FP8 kernels": a device of sm_89 or newer, a transposed and b not, and all dimensions
/// that lie along memory multiples of 16 bytes.
bool fp8_is_supported(const LtProduct& p, int device) {
  const DeviceModel& model = state().machine.devices[std::size_t(device)];
  const auto is_aligned = [](const MatrixLayout& m) {
    return m.rows * m.element() % 16 == 0 && std::uint64_t(m.stride) * m.element() % 16 == 0;
  };
  return model.major * 10 + model.minor >= 89 && p.transpose_a && !p.transpose_b &&
         is_aligned(p.a) && is_aligned(p.b) && is_aligned(p.d) &&
         (p.a.type == CUDA_R_8F_E4M3 || p.b.type == CUDA_R_8F_E4M3) &&
         (p.d.type == CUDA_R_16BF || p.d.type == CUDA_R_32F);
}

bool types_are_supported(const LtProduct& p, int device) {
  if (p.c.type != p.d.type) return false;
  if (p.a.is_fp8() && p.b.is_fp8()) return fp8_is_supported(p, device);
  if (p.a.type != p.b.type) return false;
  if (p.a.type == CUDA_R_32F) return p.c.type == CUDA_R_32F;
  return p.a.type == CUDA_R_16BF && (p.c.type == CUDA_R_16BF || p.c.type == CUDA_R_32F);
}

}  // namespace

std::optional<LtProduct> product_of(const char* function, cublasLtHandle_t handle,
                                    cublasLtMatmulDesc_t description, cublasLtMatrixLayout_t a,
                                    cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c,
                                    cublasLtMatrixLayout_t d, cublasStatus_t* error) {
  for (const void* object :
       {static_cast<const void*>(handle), static_cast<const void*>(description),
        static_cast<const void*>(a), static_cast<const void*>(b), static_cast<const void*>(c),
        static_cast<const void*>(d)})
    if (!exists(object)) {
      *error = refuse(CUBLAS_STATUS_INVALID_VALUE, function,
                      ": a handle or descriptor that does not exist");
      return std::nullopt;
    }
  if (handle->device != device_of_thread()) {
    *error = refuse(CUBLAS_STATUS_INVALID_VALUE, function, ": the handle is of another device");
    return std::nullopt;
  }
  LtProduct p{description->a != CUBLAS_OP_N, description->b != CUBLAS_OP_N, 0, 0, 0, *a, *b, *c, *d,
              description->a_scale,          description->b_scale};
  p.m = d->rows;
  p.n = d->cols;
  p.k = p.transpose_a ? a->rows : a->cols;
  if (const std::string fault = fault_of(p); !fault.empty()) {
    *error = refuse(CUBLAS_STATUS_INVALID_VALUE, function, ": ", fault);
    return std::nullopt;
  }
  if (!types_are_supported(p, handle->device)) {
    *error = refuse(CUBLAS_STATUS_NOT_SUPPORTED, function, ": types ", int(a->type), " x ",
                    int(b->type), " + ", int(c->type), " = ", int(d->type));
    return std::nullopt;
  }
  *error = CUBLAS_STATUS_SUCCESS;
  return p;
}

}  // namespace lacuna::toolkit

using namespace lacuna;
using namespace lacuna::toolkit;

#define LACUNA_STATUS(status) \
  case status:                \
    return #status
const char* cublasLtGetStatusName(cublasStatus_t status) {
  switch (status) {
    LACUNA_STATUS(CUBLAS_STATUS_SUCCESS);
    LACUNA_STATUS(CUBLAS_STATUS_NOT_INITIALIZED);
    LACUNA_STATUS(CUBLAS_STATUS_ALLOC_FAILED);
    LACUNA_STATUS(CUBLAS_STATUS_INVALID_VALUE);
    LACUNA_STATUS(CUBLAS_STATUS_ARCH_MISMATCH);
    LACUNA_STATUS(CUBLAS_STATUS_EXECUTION_FAILED);
    LACUNA_STATUS(CUBLAS_STATUS_INTERNAL_ERROR);
    LACUNA_STATUS(CUBLAS_STATUS_NOT_SUPPORTED);
  }
  return "CUBLAS_STATUS_UNKNOWN";
}
#undef LACUNA_STATUS
const char* cublasLtGetStatusString(cublasStatus_t status) {
  return status == CUBLAS_STATUS_NOT_SUPPORTED ? "the functionality is not supported"
                                               : "the library refuses or fails";
}
std::size_t cublasLtGetVersion() { return 130100; }

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  if (fault()) return CUBLAS_STATUS_NOT_INITIALIZED;
  return made("cublasLtCreate", handle, new cublasLtContext{device_of_thread()});
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  return destroyed("cublasLtDestroy", handle);
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* description,
                                        cublasComputeType_t compute, cudaDataType_t scale) {
  if (compute != CUBLAS_COMPUTE_32F || scale != CUDA_R_32F)
    return refuse(CUBLAS_STATUS_NOT_SUPPORTED, "cublasLtMatmulDescCreate: sums of type ",
                  int(compute), ", scaled by ", int(scale));
  return made("cublasLtMatmulDescCreate", description, new cublasLtMatmulDescOpaque_t);
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t description) {
  return destroyed("cublasLtMatmulDescDestroy", description);
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t description,
                                              cublasLtMatmulDescAttributes_t attribute,
                                              const void* value, std::size_t bytes) {
  const char* const name = "cublasLtMatmulDescSetAttribute";
  count_call(name);
  if (!exists(description)) return refuse(CUBLAS_STATUS_INVALID_VALUE, name, ": no description");
  switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
      return set(name, &description->a, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB:
      return set(name, &description->b, value, bytes);
    case CUBLASLT_MATMUL_DESC_A_SCALE_POINTER:
      return set(name, &description->a_scale, value, bytes);
    case CUBLASLT_MATMUL_DESC_B_SCALE_POINTER:
      return set(name, &description->b_scale, value, bytes);
    case CUBLASLT_MATMUL_DESC_FAST_ACCUM:
      return set(name, &description->fast_accumulation, value, bytes);
  }
  return refuse(CUBLAS_STATUS_INVALID_VALUE, name, ": attribute ", int(attribute));
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType type,
                                          std::uint64_t rows, std::uint64_t cols,
                                          std::int64_t stride) {
  if (rows == 0 || cols == 0)
    return refuse(CUBLAS_STATUS_INVALID_VALUE, "cublasLtMatrixLayoutCreate: an empty matrix");
  return made("cublasLtMatrixLayoutCreate", layout, new MatrixLayout{type, rows, cols, stride});
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  return destroyed("cublasLtMatrixLayoutDestroy", layout);
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  return made("cublasLtMatmulPreferenceCreate", preference, new cublasLtMatmulPreferenceOpaque_t);
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  return destroyed("cublasLtMatmulPreferenceDestroy", preference);
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void* value, std::size_t bytes) {
  const char* const name = "cublasLtMatmulPreferenceSetAttribute";
  count_call(name);
  if (!exists(preference)) return refuse(CUBLAS_STATUS_INVALID_VALUE, name, ": no preference");
  switch (attribute) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
      return set(name, &preference->workspace, value, bytes);
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK:
      return set(name, &preference->reductions, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
      return set(name,
                 &preference->alignment[attribute - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES],
                 value, bytes);
  }
  return refuse(CUBLAS_STATUS_INVALID_VALUE, name, ": attribute ", int(attribute));
}
