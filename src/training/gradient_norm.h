#pragma once
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "core/arena.h"
#include "kernels/ops.h"
#include "model/weights.h"

namespace lacuna {

/// Those parts of `ranges` of flat() whose gradients a rank of a tensor parallel group counts in
/// the global norm: of weights that all of them hold, which have the same gradients, the first
/// rank's.
std::vector<FlatRange> counted_ranges(const ModelTensors& weights,
                                      const std::vector<FlatRange>& ranges);

/// The global norm of gradients (arXiv:1211.5063), formed on the device and queued like all Ops:
/// the factor by which an update scales them never passes through the host.
class GradientNorm {
 public:
  /// `kind` as in Plan. clip_norm 0: no clipping.
  GradientNorm(Ops& ops, double clip_norm, const std::string& kind);

  /// Of `gradients` and those of the other `ranks` (null: there are none). Each square counts
  /// `factor` times. Then scale() is that of this norm; NaN too where `check`, f64 [1] on the
  /// device, is not finite on some rank. Given on all ranks or on none.
  void measure(const std::vector<Tensor>& gradients, double factor, Communicator* ranks,
               Tensor check = {});

  /// f32 [1] on the device: min(1, clip_norm / norm), NaN when the norm is not finite.
  Tensor scale() const { return scalars_[Slot{1}]; }
  /// Whether scale() is finite: an update changes something. Waits.
  bool is_finite() const;
  /// f64 [1] on the device: the norm's square.
  Tensor squares() const { return scalars_[Slot{0}].row_range(0, 1); }
  /// The norm itself; NaN or infinite when a gradient is. Waits.
  double value() const;

 private:
  Ops& ops_;
  const float clip_norm_;
  Arena scalars_;
};

}  // namespace lacuna
