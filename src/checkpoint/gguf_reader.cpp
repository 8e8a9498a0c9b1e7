#include "checkpoint/gguf_reader.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <utility>
#include <vector>

#include "core/block_formats.h"
#include "core/check.h"
#include "core/text.h"

namespace lacuna {
namespace {

/// As GGML counts extents, which leaves out outer ones of 1.
Shape as_ggml_counts(const Shape& shape) {
  Shape counted;
  for (int i = 0; i < shape.rank; ++i)
    if (counted.rank > 0 || shape[i] != 1 || i + 1 == shape.rank)
      counted.extent[std::size_t(counted.rank++)] = shape[i];
  return counted;
}

}  // namespace

Shape gguf_shape(const ModelWeight& w, const ModelConfig& model) {
  if (w.expert < 0) return w.shape;
  return {model.num_experts, w.shape[0], w.shape[1]};
}

GgufReader::GgufReader(GgufTensors tensors, CheckpointInfo info, const ModelConfig& model,
                       GgufRowOrder order)
    : tensors_(std::move(tensors)), info_(std::move(info)) {
  std::set<std::string> unknown;
  for (const std::string& name : tensors_.names()) unknown.insert(name);
  for (const ModelWeight& w : model_weights(model)) {
    const std::string name = w.spec->name(NameScheme::gguf, w.block);
    const GgufTensors::Entry& stored = tensors_.at(name);
    const Shape wanted = gguf_shape(w, model);
    CHECK(as_ggml_counts(stored.shape) == as_ggml_counts(wanted), path(), ": tensor '", name,
          "' has shape ", stored.shape, "; the file's keys make it ", wanted);
    Weight& weight = weights_[w.name];
    weight.shape = w.shape;
    const std::int64_t cols = w.shape[w.shape.rank - 1], rows = w.shape.count() / cols;
    const std::int64_t before = w.expert < 0 ? 0 : w.expert * rows;  // rows of other experts
    weight.matrix =
        Matrix(stored.data + before * bytes_of_row(stored.format, cols), rows, cols, stored.format);
    const bool turned = w.spec->role == WeightRole::query || w.spec->role == WeightRole::key;
    if (turned && order == GgufRowOrder::pairs) weight.head_dim = model.head_width();
    unknown.erase(name);
  }
  CHECK(unknown.empty(), path(), ": tensor '", shown(*unknown.begin()),
        "' has no place in the model that the file's keys describe");
}

const char* GgufReader::Weight::row_data(std::int64_t row) const {
  if (head_dim > 0) {
    const std::int64_t head = row / head_dim, within = row % head_dim, half = head_dim / 2;
    row = head * head_dim + within % half * 2 + within / half;
  }
  return static_cast<const char*>(matrix.data) + row * matrix.row_bytes;
}

const GgufReader::Weight& GgufReader::weight(const std::string& group,
                                             const std::string& name) const {
  const auto found = weights_.find(name);
  CHECK(group == "model" && found != weights_.end(), path(), ": has no tensor ", name, " in group ",
        group);
  return found->second;
}

std::vector<std::string> GgufReader::names(const std::string& group) const {
  std::vector<std::string> names;
  if (group == "model")
    for (const auto& [name, weight] : weights_) names.push_back(name);
  return names;
}

bool GgufReader::has(const std::string& group, const std::string& name) const {
  return group == "model" && weights_.count(name) > 0;
}

Shape GgufReader::shape(const std::string& group, const std::string& name) const {
  return weight(group, name).shape;
}

DType GgufReader::dtype(const std::string& group, const std::string& name) const {
  const MatrixFormatInfo& info = info_of(weight(group, name).matrix.format);
  return info.is_float ? info.dtype : DType::f32;
}

void GgufReader::read_box(const std::string& group, const std::string& name, std::int64_t row,
                          std::int64_t col, const Tensor& out) const {
  const Weight& w = weight(group, name);
  const std::int64_t rows = out.rows(), cols = out.cols();
  check_box(name, w.shape, row, col, out);
  const DType stored = dtype(group, name);
  CHECK(out.dtype == stored || out.dtype == DType::f32, path(), ": tensor '", name, "' holds ",
        w.matrix.format, ", which cannot be read as ", out.dtype);
  const MatrixFormatInfo& info = info_of(w.matrix.format);
  const std::int64_t first = col / info.block_elements,
                     end = (col + cols + info.block_elements - 1) / info.block_elements;
  std::vector<float> blocks(std::size_t((end - first) * info.block_elements));
  for (std::int64_t r = 0; r < rows; ++r) {
    const char* from = w.row_data(row + r) + first * info.block_bytes;
    char* to = static_cast<char*>(out.data) + r * cols * size_of(out.dtype);
    if (info.is_float && out.dtype == stored) {
      std::memcpy(to, from, std::size_t(cols * info.block_bytes));
      continue;
    }
    dequantise(w.matrix.format, from, std::int64_t(blocks.size()), blocks.data());
    std::memcpy(to, blocks.data() + (col - first * info.block_elements),
                std::size_t(cols) * sizeof(float));
  }
}

Matrix GgufReader::stored(const std::string& group, const std::string& name) const {
  const Weight& w = weight(group, name);
  return w.shape.rank == 2 && w.head_dim == 0 ? w.matrix : Matrix();
}

std::optional<MatrixFormat> GgufReader::format(const std::string& group,
                                               const std::string& name) const {
  const Weight& w = weight(group, name);
  if (w.shape.rank != 2) return std::nullopt;
  return w.matrix.format;
}

void GgufReader::read_rows(const std::string& group, const std::string& name, std::int64_t row,
                           const Tensor& bytes) const {
  const Weight& w = weight(group, name);
  check_rows(w.matrix, group, name, row, bytes);
  for (std::int64_t r = 0; r < bytes.rows(); ++r)
    std::memcpy(bytes.as<std::uint8_t>() + r * bytes.stride, w.row_data(row + r),
                std::size_t(bytes.cols()));
  // They are in memory twice now, and nothing else reads those of the file.
  const std::int64_t unit = std::max<std::int64_t>(1, w.head_dim), first = row / unit * unit;
  MappedFile::release(static_cast<const char*>(w.matrix.data) + first * w.matrix.row_bytes,
                      std::uint64_t((row + bytes.rows() - first) * w.matrix.row_bytes));
}

}  // namespace lacuna
