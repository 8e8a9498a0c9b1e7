#include "checkpoint/model_reader.h"

#include <algorithm>
#include <cstring>

#include "checkpoint/adapted_reader.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/gguf_import.h"
#include "checkpoint/hugging_face.h"

namespace lacuna {

void ModelReader::verify(int part, int parts) const {
  struct Stored {
    std::int64_t bytes;
    const char* group;
    std::string name;
  };
  std::vector<Stored> all;
  for (const char* group : {"model", "first_moment", "second_moment", "master", "ema"})
    for (const std::string& name : names(group))
      all.push_back({shape(group, name).count() * size_of(dtype(group, name)), group, name});
  // The largest first, each to the part that has least.
  std::stable_sort(all.begin(), all.end(),
                   [](const Stored& a, const Stored& b) { return a.bytes > b.bytes; });
  std::vector<std::int64_t> bytes(std::size_t(parts), 0);
  for (const Stored& s : all) {
    const auto least = std::min_element(bytes.begin(), bytes.end());
    *least += s.bytes;
    if (least - bytes.begin() == part) verify(s.group, s.name);
  }
}

std::optional<MatrixFormat> ModelReader::format(const std::string& group,
                                                const std::string& name) const {
  const Matrix matrix = stored(group, name);
  if (!matrix.data) return std::nullopt;
  return matrix.format;
}

void ModelReader::read_rows(const std::string& group, const std::string& name, std::int64_t row,
                            const Tensor& bytes) const {
  const Matrix matrix = stored(group, name);
  check_rows(matrix, group, name, row, bytes);
  const Tensor from = matrix.row_range(row, bytes.rows()).as_bytes();
  for (std::int64_t r = 0; r < bytes.rows(); ++r)
    std::memcpy(bytes.as<std::uint8_t>() + r * bytes.stride,
                from.as<std::uint8_t>() + r * from.stride, std::size_t(bytes.cols()));
}

void ModelReader::read(const std::string& group, const std::string& name, const Tensor& out) const {
  const Shape stored = shape(group, name);
  CHECK(stored == out.shape, path(), ": tensor '", name, "' has shape ", stored,
        "; the model needs ", out.shape);
  read_box(group, name, 0, 0, out);
}

void ModelReader::check_box(const std::string& name, const Shape& whole, std::int64_t row,
                            std::int64_t col, const Tensor& out) const {
  const std::int64_t cols = whole.rank ? whole[whole.rank - 1] : 1,
                     rows = cols ? whole.count() / cols : 0;
  CHECK(row >= 0 && col >= 0 && row + out.rows() <= rows && col + out.cols() <= cols, path(), ": ",
        out, " at row ", row, ", column ", col, " is no part of tensor '", name, "' of shape ",
        whole);
  CHECK(out.place == Place::host && out.contiguous(), path(), ": tensor '", name,
        "' can be read only into contiguous main memory");
}

void ModelReader::check_rows(const Matrix& matrix, const std::string& group,
                             const std::string& name, std::int64_t row, const Tensor& bytes) const {
  CHECK(
      matrix.data && row >= 0 && row + bytes.rows() <= matrix.rows() &&
          bytes.cols() == bytes_of_row(matrix.format, matrix.cols()) && bytes.place == Place::host,
      path(), ": ", bytes, " from row ", row, " on are no rows of ", group, " ", name, " ", matrix);
}

std::unique_ptr<const ModelReader> open_stored(const std::filesystem::path& path) {
  if (std::filesystem::is_directory(path)) return std::make_unique<HuggingFaceReader>(path);
  if (is_gguf_file(path)) return open_gguf(path);
  return std::make_unique<CheckpointReader>(path);
}

bool holds_adapters(const ModelReader& reader) {
  const std::vector<std::string> names = reader.names("model");
  return !names.empty() && std::all_of(names.begin(), names.end(), [](const std::string& name) {
    return name.ends_with(".lora_A.weight") || name.ends_with(".lora_B.weight");
  });
}

std::unique_ptr<const ModelReader> open_model(const std::filesystem::path& path) {
  std::unique_ptr<const ModelReader> reader = open_stored(path);
  if (!holds_adapters(*reader)) return reader;
  return std::make_unique<AdaptedReader>(std::move(reader));
}

}  // namespace lacuna
