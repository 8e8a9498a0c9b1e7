#pragma once
#include <cuda_runtime.h>

#include "core/check.h"

namespace lacuna {

/// Throws Error: "<op>: out of memory (cudaErrorMemoryAllocation)". The error is cleared first, so
/// that it is not blamed on a later call too.
inline void check(cudaError_t error, const char* op) {
  if (error == cudaSuccess) return;
  (void)cudaGetLastError();
  fail(str(op, ": ", cudaGetErrorString(error), " (", cudaGetErrorName(error), ")"));
}

}  // namespace lacuna
