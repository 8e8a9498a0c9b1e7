#pragma once
#include <functional>
#include <string>
#include <vector>

#include "tests/kernels/attention_case.h"

namespace lacuna::testing {

/// A set of attention kernels in one dtype, and sizes for it: around its tiles, and no larger than
/// an emulated GPU computes in a second.
struct AttentionBackend {
  std::string name;  // of the kernels, the dtype and, if emulated, the order of threads
  DType dtype;
  AttentionPrecision precision;
  std::vector<Heads> heads;  // cases take them in turn
  std::int64_t tile;         // query or key rows of its largest tiles, or thereabouts
  std::int64_t gap;          // elements between rows that it must allow for
  /// Lengths of the sequences of each case.
  std::vector<std::vector<std::int64_t>> bidirectional, causal;
  std::vector<std::int32_t> blocks;      // of block diffusion, a case each
  std::vector<std::int64_t> other_dims;  // head dimensions beside those of `heads`
  std::uint64_t random_cases;
  /// Calls test(ops) for each Ops that has these kernels; skips the test where there is none.
  std::function<void(const std::function<void(Ops&)>& test)> on_each;
};
inline void PrintTo(const AttentionBackend& b, std::ostream* out) { *out << b.name; }

/// Those that attention_test.cpp runs on; each test program has its own.
std::vector<AttentionBackend> attention_backends();

}  // namespace lacuna::testing
