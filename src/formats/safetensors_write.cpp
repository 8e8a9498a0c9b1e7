#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>

#include "formats/safetensors.h"

namespace lacuna {
namespace {

using Json = nlohmann::ordered_json;

const char* word_for(DType dtype) {
  constexpr const char* words[] = {"F32", "F64", "BF16", "F16", "I32", "I64", "U8"};
  return words[int(dtype)];
}

std::string header_of(const std::vector<TensorInfo>& tensors, const Metadata& metadata,
                      const std::string& file) {
  Json header = Json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::int64_t offset = 0;
  for (const TensorInfo& t : tensors) {
    CHECK(!header.contains(t.name), file, ": two tensors are named '", t.name, "'");
    Json shape = Json::array();
    for (int i = 0; i < t.shape.rank; ++i) shape.push_back(t.shape[i]);
    header[t.name] = {{"dtype", word_for(t.dtype)},
                      {"shape", shape},
                      {"data_offsets", {offset, offset + t.bytes()}}};
    offset += t.bytes();
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // so that the data are aligned
  return text;
}

std::vector<TensorInfo> infos_of(const std::vector<NamedTensor>& tensors) {
  std::vector<TensorInfo> infos;
  infos.reserve(tensors.size());
  for (const NamedTensor& t : tensors) infos.push_back({t.name, t.tensor.shape, t.tensor.dtype});
  return infos;
}

/// Wide elements first, so that every tensor is aligned, as Hugging Face's own writer does.
template <class T, class DTypeOfItem>
void widest_first(std::vector<T>& items, DTypeOfItem dtype) {
  std::stable_sort(items.begin(), items.end(),
                   [&](const T& a, const T& b) { return size_of(dtype(a)) > size_of(dtype(b)); });
}

/// Indices of the tensors of each shard: in order, as many as fit, at least one.
std::vector<std::vector<std::size_t>> cut_into_shards(const std::vector<TensorInfo>& tensors,
                                                      std::int64_t shard_bytes) {
  std::vector<std::vector<std::size_t>> shards(1);
  std::int64_t bytes = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (!shards.back().empty() && bytes + tensors[i].bytes() > shard_bytes) {
      shards.emplace_back();
      bytes = 0;
    }
    shards.back().push_back(i);
    bytes += tensors[i].bytes();
  }
  return shards;
}

std::string shard_name(std::size_t shard, std::size_t shards) {
  char name[64];
  std::snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", shard + 1, shards);
  return name;
}

}  // namespace

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path,
                                     std::vector<TensorInfo> tensors, const Metadata& metadata)
    : file_(path), name_(path.string()), tensors_(std::move(tensors)) {
  const std::string header = header_of(tensors_, metadata, name_);
  out_.open(file_.partial(), std::ios::binary);
  CHECK(out_, name_, ": cannot write: ", std::strerror(errno));
  const std::uint64_t bytes = header.size();
  put(&bytes, 8);
  put(header.data(), std::int64_t(header.size()));
}

void SafetensorsWriter::put(const void* data, std::int64_t bytes) {
  errno = 0;
  out_.write(static_cast<const char*>(data), bytes);
  CHECK(out_, name_, ": cannot write: ", std::strerror(errno));
}

void SafetensorsWriter::write(const Tensor& t) {
  CHECK(written_ < tensors_.size(), name_, ": more tensors than announced");
  const TensorInfo& info = tensors_[written_++];
  CHECK(t.shape == info.shape && t.dtype == info.dtype, name_, ": tensor '", info.name,
        "' was announced as ", info.shape, ' ', info.dtype, ", not ", t);
  CHECK(t.place == Place::host && t.contiguous(), name_, ": tensor '", info.name,
        "' must be contiguous and in main memory");
  put(t.data, t.bytes());
}

void SafetensorsWriter::commit() {
  CHECK(written_ == tensors_.size(), name_, ": only ", written_, " of ", tensors_.size(),
        " tensors were written");
  errno = 0;
  out_.close();
  CHECK(out_, name_, ": cannot write: ", std::strerror(errno));
  file_.commit();
}

void write_safetensors(const std::filesystem::path& path, const std::vector<NamedTensor>& tensors,
                       const Metadata& metadata) {
  std::vector<NamedTensor> sorted = tensors;
  widest_first(sorted, [](const NamedTensor& t) { return t.tensor.dtype; });
  SafetensorsWriter writer(path, infos_of(sorted), metadata);
  for (const NamedTensor& t : sorted) writer.write(t.tensor);
  writer.commit();
}

void write_safetensors_sharded(const std::filesystem::path& folder,
                               const std::vector<TensorInfo>& tensors, const Metadata& metadata,
                               const std::function<void(std::size_t, const Tensor&)>& read,
                               std::int64_t shard_bytes) {
  const auto shards = cut_into_shards(tensors, shard_bytes);
  Json weight_map = Json::object();
  std::int64_t total = 0;
  std::vector<double> buffer;  // aligned for every dtype
  for (std::size_t s = 0; s < shards.size(); ++s) {
    const std::string name =
        shards.size() == 1 ? "model.safetensors" : shard_name(s, shards.size());
    std::vector<std::size_t> order = shards[s];
    widest_first(order, [&](std::size_t i) { return tensors[i].dtype; });
    std::vector<TensorInfo> infos;
    infos.reserve(order.size());
    for (const std::size_t i : order) infos.push_back(tensors[i]);
    SafetensorsWriter writer(folder / name, infos, metadata);
    for (const std::size_t i : order) {
      const TensorInfo& info = tensors[i];
      buffer.resize(std::max(buffer.size(), std::size_t(info.bytes() + 7) / 8));
      const Tensor t(static_cast<void*>(buffer.data()), info.shape, info.dtype);
      read(i, t);
      writer.write(t);
      weight_map[info.name] = name;
      total += info.bytes();
    }
    writer.commit();
  }
  const std::filesystem::path index_path = folder / "model.safetensors.index.json";
  if (shards.size() == 1) {  // an index that an earlier export left would be believed first
    std::error_code ignored;
    std::filesystem::remove(index_path, ignored);
    return;
  }
  const Json index = {{"metadata", {{"total_size", total}}}, {"weight_map", weight_map}};
  write_file(index_path, index.dump(2) + "\n");
}

}  // namespace lacuna
