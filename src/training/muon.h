#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "comm/communicator.h"
#include "config/config.h"
#include "core/arena.h"
#include "kernels/ops.h"
#include "model/weight_layout.h"
#include "model/weights.h"
#include "training/newton_schulz.h"
#include "training/optimizer_shard.h"

namespace lacuna {

/// Whether Muon updates a weight: the matrices of the blocks. Query, key, value, gate and up are
/// matrices of their own.
bool is_updated_by_muon(const WeightSpec& spec);

/// Operations of orthogonalising all of a model's matrices once: 5 (4 m^2 n + 2 m^3) of one of
/// [m,n], m <= n.
double orthogonalisation_flops(const ModelConfig& config);

/// The ranks of an update by Muon.
struct MuonRanks {
  Communicator* all = nullptr;  // that share the work; null: this one alone
  Communicator* holders =
      nullptr;  // that hold disjoint parts of a matrix; null: each has all of it
};

/// Muon (Jordan et al., kellerjordan.github.io/posts/muon; arXiv:2502.16982 at scale): with g' the
/// clipped gradient of a matrix [r,c],
///   m = mu m + (1 - mu) g',  u = mu m + (1 - mu) g' (Nesterov's),
///   w = (1 - lr decay) w - lr 0.2 sqrt(max(r, c)) O(u),  O by NewtonSchulz:
/// the factor makes updates as large as AdamW's (arXiv:2502.16982, section 2.2), so that one
/// learning rate serves both.
///
/// Each matrix is orthogonalised whole, by one rank; which one follows from the model and the
/// number of ranks. Its parts are brought together before, and the result is sent to all ranks
/// after, a matrix per rank at a time, so that the weights do not depend on the layout but for
/// rounding.
class Muon {
 public:
  /// Borrows all. `momentum`: the parts of m that this rank updates, among others. Products are of
  /// the weights' type.
  Muon(Ops& ops, const OptimizerConfig& config, const ModelTensors& weights,
       const OptimizerShard& momentum, MuonRanks ranks);
  /// Bytes that it allocates, where a rank updates `updated` of flat().
  static std::int64_t planned_bytes(const WeightLayout& weights, DType dtype, FlatLayout layout,
                                    const std::vector<FlatRange>& updated, bool alone,
                                    bool holds_parts);

  /// One update of `master`, pieces of which are those of the momentum. scale f32 [1]: of clipping.
  /// Collective among ranks.all.
  void update(const OptimizerShard& gradients, const OptimizerShard& master, Tensor scale,
              double learning_rate);
  std::int64_t bytes() const;

 private:
  struct Job {
    std::size_t weight;
    std::vector<std::size_t> pieces;  // of the momentum
  };
  struct Sizes;
  static Plan buffers(const Sizes& sizes, bool alone, bool holds_parts);
  Tensor whole(Slot slot, const NamedWeight& w) const;
  void gather(const Job& job, Tensor into, const OptimizerShard& gradients, Tensor scale);
  void apply(const Job& job, Tensor orthogonal, const OptimizerShard& master, double learning_rate);

  Ops& ops_;
  const OptimizerConfig config_;
  const ModelTensors& weights_;
  const OptimizerShard& momentum_;
  const MuonRanks ranks_;
  std::vector<Job> jobs_;  // in the order in which ranks take them
  std::unique_ptr<Arena> arena_;
  std::unique_ptr<NewtonSchulz> newton_schulz_;
};

}  // namespace lacuna
