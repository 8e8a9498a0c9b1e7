#pragma once
#include <array>
#include <compare>
#include <cstdint>
#include <map>
#include <string>

#include "kernels/platform/gemm.h"

namespace lacuna {

/// What the algorithm of a product is chosen by: all of a Gemm but its addresses, of which only
/// the largest power of two up to 256 that divides them matters, and whether it accumulates: the
/// first gradients of a step, which overwrite, are the same sums as the later ones, which are
/// added.
struct GemmShape {
  GemmShape() = default;
  explicit GemmShape(const Gemm& p);
  auto operator<=>(const GemmShape&) const = default;

  bool transpose_a = false, transpose_b = false;
  std::int64_t m = 0, n = 0, k = 0, lda = 0, ldb = 0, ldc = 0;
  DType factors = DType::f32, result = DType::f32;
  std::uint32_t a_alignment = 0, b_alignment = 0, c_alignment = 0;
};

/// A cublasLtMatmulAlgo_t: "can be trivially serialized and later restored for use with the same
/// version of cuBLAS library" (cublasLt.h).
using GemmAlgorithm = std::array<std::uint64_t, 8>;

/// A flag that is true while one of these lives.
class WhileTrue {
 public:
  explicit WhileTrue(bool& flag) : flag_(flag) { flag_ = true; }
  ~WhileTrue() { flag_ = false; }
  WhileTrue(const WhileTrue&) = delete;
  WhileTrue& operator=(const WhileTrue&) = delete;

 private:
  bool& flag_;
};

/// The algorithms that were the fastest for some shapes on one kind of device, as text for later
/// runs.
class GemmTable {
 public:
  /// `device` is a line that names all that an algorithm's meaning and speed depend on: the GPU,
  /// the library's version, the driver's.
  explicit GemmTable(std::string device) : device_(std::move(device)) {}

  /// Null where none was chosen.
  const GemmAlgorithm* find(const GemmShape& shape) const;
  void set(const GemmShape& shape, const GemmAlgorithm& algorithm);

  std::string text() const;
  /// Adds what such a text holds, in place of what is there for the same shapes. Throws Error, and
  /// changes nothing, when the text is no whole table, or one of another device.
  void read(const std::string& text);

 private:
  std::string device_;
  std::map<GemmShape, GemmAlgorithm> algorithms_;
};

}  // namespace lacuna
