#include "checkpoint/adapted_reader.h"

#include <algorithm>

#include "checkpoint/checkpoint.h"
#include "checkpoint/checkpoint_config.h"
#include "core/block_formats.h"
#include "core/check.h"
#include "model/weight_spec.h"

namespace lacuna {
namespace {

std::unique_ptr<const ModelReader> open_adapted(const ModelReader& adapters, const Config& config) {
  try {
    return open_model(resolve_checkpoint(config.train.init));
  } catch (const Error& e) {
    fail(str(adapters.path(), ": holds adapters of a model that cannot be read: ", e.what(),
             "; if it lies elsewhere, name it as the checkpoint, and this with --adapter"));
  }
}

/// As the run computed with them: rounded, where they are.
std::vector<float> read_floats(const ModelReader& reader, const std::string& name) {
  const Shape shape = reader.shape("model", name);
  std::vector<float> values(std::size_t(shape.count()));
  reader.read("model", name, Tensor(values.data(), shape));
  return values;
}

}  // namespace

AdaptedReader::AdaptedReader(std::unique_ptr<const ModelReader> adapters)
    : path_(adapters->path()), info_(adapters->info()) {
  const Config config = config_of_checkpoint(*adapters);
  lora_ = config.lora;
  base_ = open_adapted(*adapters, config);
  for (const ModelWeight& w : model_weights(config.model))
    CHECK(base_->has("model", w.name) && base_->shape("model", w.name) == w.shape, path_,
          ": holds adapters of a model with ", w.name, ' ', w.shape, ", which ", base_->path(),
          " has not");
  read_factors(*adapters, config.model);
}

AdaptedReader::AdaptedReader(std::unique_ptr<const ModelReader> base, StoredAdapter adapter)
    : base_(std::move(base)),
      path_(base_->path()),
      info_(base_->info()),
      lora_(std::move(adapter.lora)) {
  read_factors(*adapter.reader, config_of_checkpoint(*base_).model);
}

void AdaptedReader::read_factors(const ModelReader& adapters, const ModelConfig& model) {
  for (const ModelWeight& w : adapter_weights(model, lora_)) {
    Factors& factors = factors_[adapter_of(*w.spec).target->name(NameScheme::llada, w.block)];
    (w.spec->role == WeightRole::lora_a ? factors.a : factors.b) = read_floats(adapters, w.name);
  }
  if (lora_.base_dtype == BaseDtype::automatic) return;
  const MatrixFormat format = format_named(word_of(lora_.base_dtype)).value();
  for (const ModelWeight& w : model_weights(model))
    if (w.spec->is_block_matrix() && base_->format("model", w.name) != format)
      rounded_[w.name] = format;
}

std::vector<std::string> AdaptedReader::names(const std::string& group) const {
  return group == "model" ? base_->names(group) : std::vector<std::string>();
}

bool AdaptedReader::has(const std::string& group, const std::string& name) const {
  return group == "model" && base_->has(group, name);
}

Shape AdaptedReader::shape(const std::string& group, const std::string& name) const {
  return base_->shape(group, name);
}

DType AdaptedReader::dtype(const std::string& group, const std::string& name) const {
  return base_->dtype(group, name);
}

Matrix AdaptedReader::stored(const std::string& group, const std::string& name) const {
  return is_changed(name) ? Matrix() : base_->stored(group, name);
}

std::optional<MatrixFormat> AdaptedReader::format(const std::string& group,
                                                  const std::string& name) const {
  return is_changed(name) ? std::nullopt : base_->format(group, name);
}

void AdaptedReader::read_rows(const std::string& group, const std::string& name, std::int64_t row,
                              const Tensor& bytes) const {
  CHECK(!is_changed(name), path(), ": ", name, " is not stored as it is read");
  base_->read_rows(group, name, row, bytes);
}

void AdaptedReader::verify(const std::string& group, const std::string& name) const {
  base_->verify(group, name);  // the adapters' checksums were compared as they were read
}

void AdaptedReader::read_box(const std::string& group, const std::string& name, std::int64_t row,
                             std::int64_t col, const Tensor& out) const {
  CHECK(group == "model", path(), ": has no group ", group);
  if (!is_changed(name)) return base_->read_box(group, name, row, col, out);
  check_box(name, shape(group, name), row, col, out);
  const std::int64_t cols = out.cols();
  if (out.dtype == DType::f32)
    return read_merged(name, row, col, out.rows(), cols, out.as<float>());
  CHECK(out.dtype == dtype(group, name), path(), ": ", name, " is ", dtype(group, name),
        ", which cannot be read as ", out.dtype);
  std::vector<float> values(static_cast<std::size_t>(cols));
  for (std::int64_t r = 0; r < out.rows(); ++r) {
    read_merged(name, row + r, col, 1, cols, values.data());
    round_to(format_of(out.dtype), values.data(), cols,
             static_cast<char*>(out.data) + r * cols * size_of(out.dtype));
  }
}

void AdaptedReader::read_merged(const std::string& name, std::int64_t row, std::int64_t col,
                                std::int64_t rows, std::int64_t cols, float* to) const {
  if (const auto rounded = rounded_.find(name); rounded != rounded_.end()) {
    // Whole rows, as blocks are.
    const std::int64_t width = shape("model", name)[1];
    std::vector<float> values(static_cast<std::size_t>(width));
    std::vector<std::uint8_t> bytes(std::size_t(bytes_of_row(rounded->second, width)));
    for (std::int64_t r = 0; r < rows; ++r) {
      base_->read_box("model", name, row + r, 0, Tensor(values.data(), {1, width}));
      round_to(rounded->second, values.data(), width, bytes.data());
      dequantise(rounded->second, bytes.data(), width, values.data());
      std::copy_n(values.data() + col, cols, to + r * cols);
    }
  } else {
    base_->read_box("model", name, row, col, Tensor(to, {rows, cols}));
  }
  const auto adapted = factors_.find(name);
  if (adapted == factors_.end()) return;
  const Factors& f = adapted->second;
  const std::int64_t rank = lora_.rank, width = shape("model", name)[1];
  const double s = lora_.scale();
  std::vector<float> sum(static_cast<std::size_t>(cols));
  for (std::int64_t r = 0; r < rows; ++r) {
    std::fill(sum.begin(), sum.end(), 0.0f);
    for (std::int64_t k = 0; k < rank; ++k) {
      const float b = f.b[std::size_t((row + r) * rank + k)];
      const float* a = f.a.data() + k * width + col;
      for (std::int64_t c = 0; c < cols; ++c) sum[std::size_t(c)] += b * a[c];
    }
    for (std::int64_t c = 0; c < cols; ++c)
      to[r * cols + c] = float(double(to[r * cols + c]) + s * double(sum[std::size_t(c)]));
  }
}

}  // namespace lacuna
