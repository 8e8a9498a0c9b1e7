#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/check.h"
#include "core/matrix.h"
#include "core/tensor.h"

namespace lacuna {

/// Elements below which a loop is not worth cutting: a few microseconds of one thread.
constexpr std::int64_t kGrain = 16384;

/// The same, in rows of `cols` elements.
inline std::int64_t row_grain(std::int64_t cols) {
  return std::max<std::int64_t>(1, kGrain / std::max<std::int64_t>(1, cols));
}

/// Where row `row` of a matrix view begins.
inline char* row_address(const Tensor& t, std::int64_t row) {
  return static_cast<char*>(t.data) + row * t.stride * size_of(t.dtype);
}

inline const char* row_address(const Matrix& m, std::int64_t row) {
  return static_cast<const char*>(m.data) + row * m.row_bytes;
}

/// Throws Error naming the first index outside [0, limit).
inline void check_indices(const char* op, const char* name, const Tensor& t, std::int64_t limit) {
  const auto* index = t.as<std::int32_t>();
  for (std::int64_t i = 0; i < t.count(); ++i)
    CHECK(index[i] >= 0 && index[i] < limit, op, ": ", name, "[", i, "] is ", index[i],
          "; it must be in [0,", limit, ")");
}

/// The same, and for a row named twice, which two threads would write at once.
inline void check_distinct_rows(const char* op, const Tensor& rows, std::int64_t limit) {
  check_indices(op, "rows", rows, limit);
  const auto* row = rows.as<std::int32_t>();
  std::vector<bool> seen(static_cast<std::size_t>(limit));
  for (std::int64_t m = 0; m < rows.count(); ++m) {
    CHECK(!seen[std::size_t(row[m])], op, ": rows[", m, "] is ", row[m],
          " a second time; rows must be distinct");
    seen[std::size_t(row[m])] = true;
  }
}

}  // namespace lacuna
