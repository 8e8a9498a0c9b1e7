#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "config/config.h"
#include "core/arena.h"
#include "kernels/ops.h"
#include "model/weights.h"
#include "training/gradient_norm.h"

namespace lacuna {

/// The adapter of one weight on the host, as the paper has it: W = W0 + s B A.
struct LoraFactors {
  struct Matrix {
    std::vector<float> values;
    Shape shape;
  };
  std::string weight;  // its name
  Matrix a, b;         // [r,in], [out,r]
  Matrix a_gradient, b_gradient;
};

/// Throws UsageError, naming the key of [lora], when a target is no matrix of a block or the rank
/// is not below both extents of one, and when the layout or the dtype is one that adapters cannot
/// have.
void check_lora(const Config& config);

/// Low-rank adaptation (LoRA, arXiv:2106.09685) of the matrices that lora.targets names: W = W0
/// + B A, where A [r,in] stands for the paper's A times alpha/r, and only A and B learn, by AdamW.
/// The model sees W itself, merged anew after each update, so that checkpoints, samples and exports
/// need to know nothing of adapters. Gradients are those of W, from which A's and B's follow:
///   dB = dW A^T,  dA = B^T dW.
/// With s = alpha/r, AdamW on A at learning rate s lr, eps/s and decay wd/s is AdamW at lr, eps and
/// wd on the paper's A = (our A)/s; the norm that is clipped is that of the paper's gradients.
class Lora {
 public:
  /// Borrows `weights`, f32. Throws what check_lora() does.
  Lora(Ops& ops, const Config& config, const ModelTensors& weights);

  /// W0 becomes what the weights are now; A uniform on +-s/sqrt(in) as in the paper's code, B zero.
  void start(std::uint64_t seed);
  /// As Optimizer's, of the gradients of A and B; update() also merges.
  void measure(const ModelTensors& gradients);
  void update(double learning_rate, std::int64_t number);
  double gradient_norm() const { return norm_.value(); }
  /// s = alpha/r.
  double scale() const { return scale_; }
  /// The adapters, and their gradients as measure() left them.
  std::vector<LoraFactors> factors() const;

  /// Adapters and moments, in a safetensors file: <weight>.lora_A, .lora_B and their .first_moment
  /// and .second_moment, with a checksum of them all in its metadata. Error, and no file, when a
  /// number in them is not finite.
  void save(const std::filesystem::path& file) const;
  /// The way back, onto W0, which becomes what the weights are now (those of train.init); merges.
  /// Error naming what is missing or of another shape; DamagedFile when the checksum does not
  /// match.
  void load(const std::filesystem::path& file);

  /// Elements of A and B together.
  std::int64_t parameters() const;
  /// Of memory.
  std::int64_t bytes() const { return arena_->plan().bytes(); }

 private:
  struct Factor {
    Slot value, gradient, first, second;
  };
  struct Adapter {
    std::string name;
    Tensor weight;
    std::size_t index;  // among the model's named weights
    Slot base;
    Factor a, b;
  };
  Plan make_plan(const Config& config, const ModelTensors& weights);
  void keep_base();
  /// On the host, times `factor`.
  LoraFactors::Matrix host_matrix(Slot slot, double factor) const;
  /// What save() writes and load() reads, by name.
  std::vector<std::pair<std::string, Slot>> stored() const;
  void merge();

  Ops& ops_;
  OptimizerConfig optimizer_;
  double scale_;  // s
  std::vector<Adapter> adapters_;
  std::unique_ptr<Arena> arena_;
  GradientNorm norm_;
};

/// Where the adapters of a checkpoint lie: beside it, with the extension .lora.safetensors.
std::filesystem::path adapter_path(const std::filesystem::path& checkpoint);
/// DamagedFile when the adapters in `file` do not match their checksum or are no safetensors file;
/// Error when they cannot be read. A file without a checksum, of an earlier version, gets a
/// warning.
void verify_adapters(const std::filesystem::path& file);
/// Removes adapters in `folder` (step-DIGITS.lora.safetensors) whose checkpoint is gone, and what
/// an interrupted save left of some.
void prune_adapters(const std::filesystem::path& folder);

}  // namespace lacuna
