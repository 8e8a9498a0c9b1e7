#pragma once
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "core/atomic_file.h"
#include "core/matrix.h"
#include "core/parallel.h"

namespace lacuna {

// GGUF, version 3: llama.cpp's file format (github.com/ggml-org/ggml, docs/gguf.md). "GGUF", u32
// version, u64 tensors, u64 keys; the keys with their typed values; name, extents (innermost
// first), type and offset of every tensor; then their elements, each at a multiple of 32 bytes.

/// The number that GGML gives a format.
std::uint32_t gguf_type(MatrixFormat format);

/// f32 elements to `format`, at `out`: rounded to the nearest, ties to even; to formats of blocks
/// as quantise(). `count` is a number of whole blocks. Error, naming `what`, when it is not, and
/// when a finite number does not fit f16.
void convert_to_gguf(MatrixFormat format, const float* from, std::int64_t count, char* out,
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
  MatrixFormat format = MatrixFormat::f32;
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
  void convert(const GgufTensor& t, const float* elements, std::int64_t count);

  AtomicFile file_;
  std::string name_;
  std::vector<GgufTensor> tensors_;
  std::ofstream out_;
  std::int64_t position_ = 0, written_ = 0;  // bytes; elements of the present tensor
  std::size_t tensor_ = 0;                   // the present one
  std::string buffer_;
  ThreadPool pool_;
};

}  // namespace lacuna
