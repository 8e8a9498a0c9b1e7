#pragma once
#include <cstdint>
#include <functional>
#include <string>

#include "core/parallel.h"

namespace lacuna {

/// c = alpha op(a) op(b) + beta c, all row-major, op(x) = x or its transpose: op(a) is [m,k], op(b)
/// [k,n], c [m,n]; lda, ldb, ldc are the distances between stored rows. beta 0 overwrites c without
/// reading it, also when k is 0. The product is cut into one block of c per thread; the cut, and so
/// the result to the last bit, depends on the sizes and on pool.size() alone.
/// Throws Error when OpenBLAS is not installed.
void sgemm(ThreadPool& pool, bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n,
           std::int64_t k, float alpha, const float* a, std::int64_t lda, const float* b,
           std::int64_t ldb, float beta, float* c, std::int64_t ldc);

/// The kernels OpenBLAS chose for this processor: "OpenBLAS SkylakeX".
std::string blas_description();

/// How many blocks sgemm cuts the rows and columns of c into.
struct BlockGrid {
  std::int64_t rows, cols;
};
BlockGrid choose_grid(std::int64_t m, std::int64_t n, std::int64_t k, int threads);

/// A block of c.
struct Block {
  std::int64_t row, rows, col, cols;
};
/// Calls task(block, thread) for every block of the grid that choose_grid gives, each on a thread
/// of its own.
void for_blocks(ThreadPool& pool, std::int64_t m, std::int64_t n, std::int64_t k,
                const std::function<void(const Block&, int)>& task);
/// Rows of a product that takes as long as reading the other factor.
constexpr std::int64_t kFewRows = 8;
/// The same for a product whose result does not depend on the cut, b stored as [n,k] of `bytes`
/// each: with few rows ranges of columns go to whichever thread is free.
void for_blocks_by_reading(ThreadPool& pool, std::int64_t m, std::int64_t n, std::int64_t k,
                           std::int64_t bytes, const std::function<void(const Block&, int)>& task);

}  // namespace lacuna
