#pragma once
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "comm/device_mesh.h"
#include "model_io/tensor_io.h"
#include "tests/support/ranks.h"
#include "tests/training/planned.h"
#include "tests/training/support.h"

namespace lacuna::testing {

/// Relative error of sums of some hundred f32 products in another order.
constexpr double kRounding = 1e-5;

/// How ranks divide the work.
struct Layout {
  int tensor = 1;
  std::int64_t zero = 0, micro_batch = 2;
  bool sequence_parallel = false;
};
inline std::string text_of(const Layout& l) {
  return str("tensor ", l.tensor, ", zero ", l.zero, ", micro-batch ", l.micro_batch,
             l.sequence_parallel ? ", sequence parallel" : "");
}
inline std::ostream& operator<<(std::ostream& out, const Layout& l) { return out << text_of(l); }

/// Every layout that `ranks` ranks allow for training weights, but some of ZeRO-2, of which ZeRO-3
/// does all and more; or for adapters.
inline std::vector<Layout> layouts(int ranks, Trained trained = Trained::weights) {
  std::vector<Layout> all;
  const bool weights = trained == Trained::weights;
  for (int tensor = 1; tensor <= ranks; ++tensor)
    for (const std::int64_t zero : {0, 1, 2, 3})
      if (ranks % tensor == 0 && (zero == 0 || tensor < ranks || ranks == 1))
        for (const std::int64_t micro : {1, 3})
          if (zero == 2 ? !weights || (tensor == 1 && micro == 1) : zero < 3 || weights)
            all.push_back({tensor, zero, micro});
  for (int tensor = 2; tensor <= ranks; ++tensor)
    if (ranks % tensor == 0)
      for (const std::int64_t micro : {1, 3})
        all.push_back({tensor, tensor < ranks ? (micro == 1 ? 2 : 1) : 0, micro, true});
  return all;
}

/// A run whose files all ranks of a group see: those of its first rank.
class SharedRun {
 public:
  explicit SharedRun(Communicator& group)
      : group_(group), folder_(shared_text(group, own_.folder / "")) {
    config = own_.config;
    config.model.num_heads = 4;                 // so that four ranks can share them
    config.model.vocab_size = kVocabulary + 1;  // and must hold unequal numbers of ids
    config.data.train = folder_ + "train.h5";
    config.data.validation = folder_ + "validation.h5";
    config.train.batch_size = 6;  // which four ranks share unequally
    config.train.micro_batch_size = 3;
    config.train.output = folder_ + "run";
  }
  /// The folder stays until all are done with it.
  ~SharedRun() { group_.barrier(); }
  SharedRun(const SharedRun&) = delete;
  SharedRun& operator=(const SharedRun&) = delete;

  /// The config of a run in another folder, on that layout.
  Config in(const std::string& name, const Layout& layout) const {
    Config other = config;
    other.train.output = folder_ + name;
    other.train.micro_batch_size = layout.micro_batch;
    other.parallel.tensor_parallel = layout.tensor;
    other.parallel.zero_stage = layout.zero;
    other.parallel.sequence_parallel = layout.sequence_parallel;
    return other;
  }
  std::string path(const std::string& name) const { return folder_ + name; }

  Config config;
  CpuOps ops{1};

 private:
  Communicator& group_;
  TinyRun own_;
  std::string folder_;
};

// So small that each step has many.
inline constexpr std::int64_t kSmallBuckets = 8192;

inline TrainerOptions on(DeviceMesh& grid, bool resume = false) {
  return {.resume = resume,
          .trace = {},
          .matmul_peak = 1e9,
          .grid = &grid,
          .bucket_bytes = kSmallBuckets};
}
/// What this rank alone has the sums of, and writes.
inline std::vector<FlatRange> parts(const Trainer& trainer, const DeviceMesh& grid) {
  return ZeroLayout(trainer.config().parallel.zero_stage, grid.data().size())
      .buckets(trainer.weights().units(), kSmallBuckets)
      .parts(grid.data().rank());
}

/// The largest ||mine - whole|| / ||whole|| of all tensors, over what this rank holds of `pieces`.
/// A tensor's own norm stands for those of its parts.
inline double relative_difference(const std::vector<WeightPiece>& pieces, const ModelTensors& mine,
                                  const ModelTensors& whole) {
  std::vector<double> difference(mine.named().size());
  for (const WeightPiece& piece : pieces) {
    const NamedWeight& w = mine.named()[piece.weight];
    const Tensor& all = whole.named()[piece.weight].tensor;
    for_boxes(w, piece, 1 << 20, [&](std::int64_t row, std::int64_t col, Tensor box) {
      for (std::int64_t i = 0; i < box.rows(); ++i)
        for (std::int64_t j = 0; j < box.cols(); ++j) {
          const double d = double(box.as<float>()[i * box.cols() + j]) -
                           double(all.as<float>()[(row + i) * all.cols() + col + j]);
          difference[piece.weight] += d * d;
        }
    });
  }
  double worst = 0;
  for (std::size_t i = 0; i < difference.size(); ++i) {
    const Tensor& all = whole.named()[i].tensor;
    double size = 0;
    for (std::int64_t e = 0; e < all.count(); ++e)
      size += double(all.as<float>()[e]) * double(all.as<float>()[e]);
    if (difference[i] > 0) worst = std::max(worst, std::sqrt(difference[i] / size));
  }
  return worst;
}
inline std::vector<WeightPiece> everything(const ModelTensors& tensors) {
  return pieces_within(tensors, {{0, tensors.flat().count()}});
}
/// The weights that a rank has between steps: all, or those that it updates.
inline std::vector<WeightPiece> held_weights(const Trainer& trainer) {
  return trainer.updater().optimizer().weights().pieces();
}

/// The same of the ranks of `options`' mesh.
inline RunPlan expect_planned(const Config& config, const TrainerOptions& options) {
  Communicator& world = options.grid->world();
  return expect_planned(config, options, RunTask::pretrain, world.size(),
                        [&](double bytes) { return reduced(world, bytes, Reduce::max); });
}

}  // namespace lacuna::testing
