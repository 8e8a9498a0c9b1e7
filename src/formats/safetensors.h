#pragma once
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/atomic_file.h"
#include "core/tensor.h"
#include "formats/named_tensor.h"

namespace lacuna {

// Hugging Face's safetensors: a u64 length, that many bytes of JSON
// {"name": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [begin, end]}, …,
//  "__metadata__": {…}}, then the elements, little-endian, without gaps.

using Metadata = std::map<std::string, std::string>;

/// A file mapped into memory. DamagedFile, naming the file and the tensor, when the header is not
/// as above: lengths, JSON, types, offsets that overlap, leave gaps or lie beyond the file.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::filesystem::path& path);
  ~SafetensorsFile();
  SafetensorsFile(SafetensorsFile&&) noexcept;
  SafetensorsFile& operator=(SafetensorsFile&&) noexcept;

  const std::string& path() const;
  const Metadata& metadata() const;
  /// In alphabetical order.
  std::vector<std::string> names() const;
  bool has(const std::string& name) const;
  Shape shape(const std::string& name) const;
  DType dtype(const std::string& name) const;
  /// Elements in place, to be read only; valid while this object lives.
  Tensor view(const std::string& name) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

struct TensorInfo {
  std::string name;
  Shape shape;
  DType dtype = DType::f32;
  std::int64_t bytes() const { return shape.count() * size_of(dtype); }
};

/// Writes one file, tensor after tensor, so that they need not be in memory together. It appears
/// under its name on commit() only.
class SafetensorsWriter {
 public:
  SafetensorsWriter(const std::filesystem::path& path, std::vector<TensorInfo> tensors,
                    const Metadata& metadata);
  /// The tensors in the order announced.
  void write(const Tensor& t);
  void commit();

 private:
  void put(const void* data, std::int64_t bytes);
  AtomicFile file_;
  std::string name_;
  std::ofstream out_;
  std::vector<TensorInfo> tensors_;
  std::size_t written_ = 0;
};

/// Writes one file, atomically.
void write_safetensors(const std::filesystem::path& path, const std::vector<NamedTensor>& tensors,
                       const Metadata& metadata = {});

inline constexpr std::int64_t kShardBytes = 5'000'000'000;

/// Writes folder/model.safetensors, or, when the tensors exceed `shard_bytes`,
/// model-00001-of-0000N.safetensors and model.safetensors.index.json as Hugging Face does.
/// `read(i, out)` fills `out` with tensor i; one tensor is held at a time.
void write_safetensors_sharded(const std::filesystem::path& folder,
                               const std::vector<TensorInfo>& tensors, const Metadata& metadata,
                               const std::function<void(std::size_t, const Tensor&)>& read,
                               std::int64_t shard_bytes = kShardBytes);

/// The tensors of a Hugging Face folder: model.safetensors, or the shards its index names. Error
/// when a shard is missing or index and shards disagree.
class SafetensorsFolder {
 public:
  explicit SafetensorsFolder(const std::filesystem::path& folder);
  std::vector<std::string> names() const;
  bool has(const std::string& name) const { return where_.count(name) > 0; }
  Tensor view(const std::string& name) const;

 private:
  std::string folder_;
  std::vector<SafetensorsFile> files_;
  std::map<std::string, std::size_t> where_;
};

}  // namespace lacuna
