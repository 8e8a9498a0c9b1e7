#pragma once
#include <cstdint>
#include <vector>

#include "comm/communicator.h"
#include "config/config.h"
#include "diffusion/noise.h"
#include "training/figure.h"
#include "training/gradient_norm.h"
#include "training/model_replica.h"

namespace lacuna {

/// What the gradients of samples, drawn independently, are: their mean's squared norm |G|^2, and
/// the trace of their covariance, tr S. Estimates: either may be negative.
struct GradientNoise {
  double squared_norm = 0, variance = 0;
  /// B_simple = tr S / |G|^2, the simple noise scale (arXiv:1812.06162, section 2.2): in samples,
  /// about the batch size at which a step makes half of the progress of one without noise. NaN
  /// where the estimate of |G|^2 is not above 0. Of several steps, divide the mean of the one by
  /// the mean of the other.
  double scale() const;
};

/// Unbiased estimates from gradients of parts of a batch of `batch` samples, each of which is the
/// sum over its n_i samples of g / batch: `parts` is the sum of their squared norms, `counts` of
/// n_i, `counts_squared` of n_i^2; `whole` is the squared norm of the whole batch's gradient
/// (arXiv:1812.06162, appendix A.1, for parts of any size):
///   E parts = |G|^2 counts_squared / batch^2 + tr S counts / batch^2,  E whole = |G|^2 + tr S /
///   batch
/// NaN where the only part is the batch.
GradientNoise estimated_gradient_noise(double parts, double counts, double counts_squared,
                                       double whole, double batch);

/// The samples of a micro-batch of pretraining or fine-tuning.
std::int64_t samples_in(const LossBatch& batch);

/// Measures a step's parts: every rank's first micro-batch, before gradients are reduced. Where
/// each micro-batch is reduced (ZeRO-2), the first ones of all ranks together are the only part.
/// Every rank has one and makes the same calls.
class GradientNoiseProbe {
 public:
  /// Borrows all. UsageError when the batch of `config` has one part only, and for a tensor
  /// parallel group with several micro-batches that are reduced together: the gradients of norms
  /// are summed over the group with the last one.
  GradientNoiseProbe(Ops& ops, const Config& config, const DeviceMesh& grid,
                     const ModelReplica& replica);

  /// When the gradients hold those of this rank's first micro-batch, of `samples` samples. Waits.
  void measure_part(std::int64_t samples);
  /// What the step's line in the log has, given the norm of its gradients.
  std::vector<Figure> figures(double gradient_norm) const;

 private:
  const DeviceMesh& grid_;
  const ModelReplica& replica_;
  const double batch_;
  GradientNorm norm_;
  double parts_ = 0, counts_ = 0, counts_squared_ = 0;
};

}  // namespace lacuna
