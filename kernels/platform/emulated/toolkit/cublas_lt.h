#pragma once
#include <cublasLt.h>

#include <optional>
#include <string>

#include "kernels/platform/emulated/toolkit/state.h"

// What the two files of the cuBLASLt stand-in share: a product as its descriptors give it.

struct cublasLtContext {
  int device;
};
struct cublasLtMatmulDescOpaque_t {
  cublasOperation_t a = CUBLAS_OP_N, b = CUBLAS_OP_N;
  const float *a_scale = nullptr, *b_scale = nullptr;  // on the device
  std::int8_t fast_accumulation = 0;
};
struct cublasLtMatrixLayoutOpaque_t {
  cudaDataType type;
  std::uint64_t rows, cols;
  std::int64_t stride;

  bool is_fp8() const { return type == CUDA_R_8F_E4M3 || type == CUDA_R_8F_E5M2; }
  std::uint64_t element() const { return is_fp8() ? 1 : type == CUDA_R_32F ? 4 : 2; }
  /// From the first element to behind the last.
  std::uint64_t bytes() const { return ((cols - 1) * std::uint64_t(stride) + rows) * element(); }
  bool operator==(const cublasLtMatrixLayoutOpaque_t&) const = default;
};
/// The defaults are cuBLASLt's: no workspace, all reductions, addresses that are multiples of 256.
struct cublasLtMatmulPreferenceOpaque_t {
  std::uint64_t workspace = 0;
  std::uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_MASK;
  std::uint32_t alignment[4] = {256, 256, 256, 256};  // of a, b, c, d
};

namespace lacuna::toolkit {

using MatrixLayout = cublasLtMatrixLayoutOpaque_t;

/// op(a) is [m,k], op(b) [k,n], c and d [m,n], column-major.
struct LtProduct {
  bool transpose_a, transpose_b;
  std::uint64_t m, n, k;
  MatrixLayout a, b, c, d;
  const float *a_scale, *b_scale;
};
/// From descriptors that exist and fit each other; else notes what is wrong, and *error is it.
std::optional<LtProduct> product_of(const char* function, cublasLtHandle_t handle,
                                    cublasLtMatmulDesc_t description, cublasLtMatrixLayout_t a,
                                    cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c,
                                    cublasLtMatrixLayout_t d, cublasStatus_t* error);

bool exists(const void* object);
Blas& blas();

/// What an algorithm asks for, with a product.
struct Demands {
  std::uint64_t alignment;  // of addresses and strides, in bytes
  std::uint64_t workspace;
  cublasLtReductionScheme_t reduction;
};
Demands demands_of(Algorithm algorithm, const LtProduct& p);
/// Whether every stride of the product is a multiple of so many bytes.
bool strides_allow(std::uint64_t alignment, const LtProduct& p);

/// An algorithm as the caller keeps it; nothing if it was not made for products of these types and
/// transpositions, or is of an entry that was in an error state.
cublasLtMatmulAlgo_t written(Algorithm algorithm, const LtProduct& p, bool valid);
std::optional<Algorithm> read(const char* function, const cublasLtMatmulAlgo_t& algorithm,
                              const LtProduct& p);

}  // namespace lacuna::toolkit
