#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/matrix.h"
#include "core/tensor.h"

namespace lacuna {

struct CheckpointInfo {
  std::int64_t step = 0;       // training steps done
  std::int64_t samples = 0;    // training sequences consumed
  std::int64_t tokens = 0;     // training tokens consumed
  std::int64_t bad_steps = 0;  // steps whose update was skipped: a gradient was not finite
  std::int64_t seed = 0;
  std::string config;     // TOML
  std::string tokenizer;  // tokenizer.json; "" when unknown
  // Files of a Hugging Face folder that an import keeps for export: "hf_config" and the like to
  // their text. Names begin with "hf_".
  std::map<std::string, std::string> extra;
};

/// A model as it is stored: what describes it, and its tensors under Hugging Face LLaDA names,
/// [out, in]. `group` is "model", "first_moment", "second_moment" or "master"; all but "model" may
/// be absent.
class ModelReader {
 public:
  virtual ~ModelReader() = default;

  /// Stands for it in messages.
  virtual const std::string& path() const = 0;
  virtual const CheckpointInfo& info() const = 0;
  /// In alphabetical order; empty when the group is absent.
  virtual std::vector<std::string> names(const std::string& group) const = 0;
  virtual bool has(const std::string& group, const std::string& name) const = 0;
  virtual Shape shape(const std::string& group, const std::string& name) const = 0;
  virtual DType dtype(const std::string& group, const std::string& name) const = 0;
  /// Into `out`, of the same shape and of the same dtype, or f32 from bf16 or f16. Error, naming
  /// the tensor, when it is missing, when shapes or dtypes differ (naming both), and when its
  /// checksum, where the format has one, does not match.
  virtual void read(const std::string& group, const std::string& name, const Tensor& out) const;
  /// The box of a matrix that begins at (row, col) and has the extents of `out`, [rows, cols]; of a
  /// vector, row 0. f32 also from bf16 or f16. Errors as read(), but no checksum is compared:
  /// verify() before.
  virtual void read_box(const std::string& group, const std::string& name, std::int64_t row,
                        std::int64_t col, const Tensor& out) const = 0;
  /// A matrix where it lies in a file that is mapped into memory; valid while this object lives.
  /// Without data for a vector, and where read() is the only way. No checksum is compared: verify()
  /// before. Errors as read().
  virtual Matrix stored(const std::string& group, const std::string& name) const {
    (void)group, (void)name;
    return {};
  }
  /// The format of a matrix whose rows read_rows() gives; none of a vector, and where read() is the
  /// only way.
  virtual std::optional<MatrixFormat> format(const std::string& group,
                                             const std::string& name) const;
  /// Rows from `row` on as they are stored, into u8 [n, bytes of a row] in main memory. Errors as
  /// read_box().
  virtual void read_rows(const std::string& group, const std::string& name, std::int64_t row,
                         const Tensor& bytes) const;
  /// Compares the checksum of a tensor with its content, where the format has one.
  virtual void verify(const std::string& group, const std::string& name) const = 0;
  /// Of all tensors, cut into `parts` of about the same number of bytes, those of `part`.
  void verify(int part, int parts) const;
  void verify() const { verify(0, 1); }

 protected:
  /// Error unless `out` is contiguous host memory of a box within a tensor of shape `whole`.
  void check_box(const std::string& name, const Shape& whole, std::int64_t row, std::int64_t col,
                 const Tensor& out) const;
  /// Error unless they are rows of the matrix.
  void check_rows(const Matrix& matrix, const std::string& group, const std::string& name,
                  std::int64_t row, const Tensor& bytes) const;
};

/// Opens what resolve_checkpoint() gives: a checkpoint file, a Hugging Face folder or a GGUF file.
/// Of adapters (a checkpoint of LoRA), the model that they make of what they adapt.
std::unique_ptr<const ModelReader> open_model(const std::filesystem::path& path);
/// The same of the file alone: of a checkpoint of adapters, those.
std::unique_ptr<const ModelReader> open_stored(const std::filesystem::path& path);
/// Whether a checkpoint holds adapters in place of a model's weights.
bool holds_adapters(const ModelReader& reader);

}  // namespace lacuna
