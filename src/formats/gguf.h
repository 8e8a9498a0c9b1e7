#pragma once
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "core/atomic_file.h"
#include "core/tensor.h"

namespace lacuna {

// GGUF, version 3: llama.cpp's file format (github.com/ggml-org/ggml, docs/gguf.md). "GGUF", u32
// version, u64 tensors, u64 keys; the keys with their typed values; name, extents (innermost
// first), type and offset of every tensor; then their elements, each at a multiple of 32 bytes.

/// Types of elements, with GGML's numbers.
enum class GgufType : std::uint32_t { f32 = 0, f16 = 1, q8_0 = 8, bf16 = 30 };
const char* name_of(GgufType type);

/// Q8_0: blocks of 32 elements of a row, as an f16 scale and 32 i8 (ggml-quants.c).
inline constexpr std::int64_t kQ8Block = 32;
inline constexpr std::int64_t kQ8Bytes = 34;

/// Bytes of `count` elements. Q8_0: `count` is a multiple of 32.
std::int64_t gguf_bytes(GgufType type, std::int64_t count);
/// f32 elements to `type`, at `out`: rounded to the nearest, ties to even; Q8_0 as llama.cpp's own
/// quantiser: scale = max|x| / 127, elements round(x / scale), ties away from zero. Error, naming
/// `what`, when a finite number does not fit f16.
void convert_to_gguf(GgufType type, const float* from, std::int64_t count, char* out,
                     const std::string& what);

/// The keys of a GGUF file and their values, in the order they are added.
class GgufKeys {
 public:
  void add(const std::string& key, std::uint32_t value);
  void add(const std::string& key, float value);
  void add(const std::string& key, bool value);
  void add(const std::string& key, const std::string& value);
  void add(const std::string& key, const char* value) { add(key, std::string(value)); }
  void add(const std::string& key, const std::vector<std::string>& values);
  void add(const std::string& key, const std::vector<std::int32_t>& values);

  std::uint64_t count() const { return count_; }
  const std::string& bytes() const { return bytes_; }

 private:
  void begin(const std::string& key, std::uint32_t type);
  std::string bytes_;
  std::uint64_t count_ = 0;
};

struct GgufTensor {
  std::string name;
  Shape shape;  // outermost first, as everywhere here
  GgufType type = GgufType::f32;
};

/// Writes a GGUF file, tensor after tensor, so that none need be in memory whole. It appears under
/// its name on commit() only.
class GgufWriter {
 public:
  GgufWriter(const std::filesystem::path& path, const GgufKeys& keys,
             std::vector<GgufTensor> tensors);
  /// More elements of the next tensor that is not complete: any number of whole rows.
  void write(const float* elements, std::int64_t count);
  /// Error when tensors are not complete.
  void commit();
  std::int64_t bytes() const { return position_; }

 private:
  void put(const void* data, std::int64_t bytes);
  void pad();

  AtomicFile file_;
  std::string name_;
  std::vector<GgufTensor> tensors_;
  std::ofstream out_;
  std::int64_t position_ = 0, written_ = 0;  // bytes; elements of the present tensor
  std::size_t tensor_ = 0;                   // the present one
  std::string buffer_;
};

}  // namespace lacuna
