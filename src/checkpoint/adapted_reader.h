#pragma once
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "checkpoint/model_reader.h"
#include "checkpoint/stored_adapter.h"
#include "config/config.h"

namespace lacuna {

/// The model that low-rank adapters make of another, merged as it is read: W + s B A in place of
/// each adapted matrix W. Where the adapters were trained beside quantised matrices
/// (lora.base_dtype), W are those: what the model computes in use is what it computed in training.
class AdaptedReader final : public ModelReader {
 public:
  /// Of a checkpoint of adapters (holds_adapters()), on the model that its config names. Error when
  /// that is not there or has other shapes.
  explicit AdaptedReader(std::unique_ptr<const ModelReader> adapters);
  /// Of any model, which `adapter` was opened for.
  AdaptedReader(std::unique_ptr<const ModelReader> base, StoredAdapter adapter);

  const std::string& path() const override { return path_; }
  const CheckpointInfo& info() const override { return info_; }
  std::vector<std::string> names(const std::string& group) const override;
  bool has(const std::string& group, const std::string& name) const override;
  Shape shape(const std::string& group, const std::string& name) const override;
  DType dtype(const std::string& group, const std::string& name) const override;
  void read_box(const std::string& group, const std::string& name, std::int64_t row,
                std::int64_t col, const Tensor& out) const override;
  Matrix stored(const std::string& group, const std::string& name) const override;
  std::optional<MatrixFormat> format(const std::string& group,
                                     const std::string& name) const override;
  void read_rows(const std::string& group, const std::string& name, std::int64_t row,
                 const Tensor& bytes) const override;
  using ModelReader::verify;
  void verify(const std::string& group, const std::string& name) const override;

 private:
  struct Factors {
    std::vector<float> a, b;  // [r,in], [out,r]
  };
  bool is_changed(const std::string& name) const {
    return factors_.count(name) > 0 || rounded_.count(name) > 0;
  }
  void read_factors(const ModelReader& adapters, const ModelConfig& model);
  void read_merged(const std::string& name, std::int64_t row, std::int64_t col, std::int64_t rows,
                   std::int64_t cols, float* to) const;

  std::unique_ptr<const ModelReader> base_;
  std::string path_;
  CheckpointInfo info_;
  LoraConfig lora_;
  std::unordered_map<std::string, Factors> factors_;       // by the matrix that they adapt
  std::unordered_map<std::string, MatrixFormat> rounded_;  // matrices that training quantised
};

}  // namespace lacuna
