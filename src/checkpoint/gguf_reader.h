#pragma once
#include <map>
#include <string>
#include <vector>

#include "checkpoint/model_reader.h"
#include "config/config.h"
#include "formats/gguf_tensors.h"
#include "model/weight_spec.h"

namespace lacuna {

/// The order of the rows of query and key projections within a head of width D. llama.cpp's
/// converter reorders them for architectures whose rotary embedding it turns in neighbouring pairs
/// of channels (`llama`, `llada`), and keeps them where it turns the halves (`qwen2`, `qwen3`).
enum class GgufRowOrder : std::uint8_t {
  halves,  // as here
  pairs    // row 2 j + s of a head is row s D / 2 + j here
};

/// Of the tensor that holds a weight: that of experts holds all of them, the first outermost.
Shape gguf_shape(const ModelWeight& weight, const ModelConfig& model);

/// The model of a GGUF file, read where it lies. Matrices keep their format; read() gives the
/// elements of blocks as f32. Rows come in the order they have here: of a file with
/// GgufRowOrder::pairs whole rows are moved, which costs nothing in precision, as blocks run along
/// rows. There are no checksums.
class GgufReader final : public ModelReader {
 public:
  /// `info` and `model`: what the file's keys describe. Error when tensors and shapes do not agree
  /// with them, naming what does not, and for a type of tensor that is not computed with.
  GgufReader(GgufTensors tensors, CheckpointInfo info, const ModelConfig& model,
             GgufRowOrder order);

  const std::string& path() const override { return tensors_.path(); }
  const CheckpointInfo& info() const override { return info_; }
  std::vector<std::string> names(const std::string& group) const override;
  bool has(const std::string& group, const std::string& name) const override;
  Shape shape(const std::string& group, const std::string& name) const override;
  /// f32 of a format of blocks.
  DType dtype(const std::string& group, const std::string& name) const override;
  void read_box(const std::string& group, const std::string& name, std::int64_t row,
                std::int64_t col, const Tensor& out) const override;
  Matrix stored(const std::string& group, const std::string& name) const override;
  std::optional<MatrixFormat> format(const std::string& group,
                                     const std::string& name) const override;
  void read_rows(const std::string& group, const std::string& name, std::int64_t row,
                 const Tensor& bytes) const override;
  using ModelReader::verify;
  void verify(const std::string&, const std::string&) const override {}

 private:
  struct Weight {
    Shape shape;
    Matrix matrix;              // in the file; a vector is one row
    std::int64_t head_dim = 0;  // of rows that lie in pairs; else 0
    /// Row `row` of the model.
    const char* row_data(std::int64_t row) const;
  };
  const Weight& weight(const std::string& group, const std::string& name) const;

  GgufTensors tensors_;
  CheckpointInfo info_;
  std::map<std::string, Weight> weights_;  // by the names here
};

}  // namespace lacuna
