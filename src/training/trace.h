#pragma once
#include <filesystem>
#include <vector>

#include "checkpoint/team.h"
#include "config/config.h"
#include "diffusion/noise.h"
#include "model/weights.h"

namespace lacuna {

/// One training step laid open, to be compared with any other framework. An HDF5 file:
///   /clean [B,T] i32, /masked [B,T] u8, /p_mask [B,T] f32   the step's whole batch and its noise
///   /weight [B,T] f64            what multiplies each token's cross-entropy; 0 outside the loss
///   /loss, /grad_norm            f64 scalars: sum of weight times cross-entropy; before clipping
///   /gradients/<name> f32        before clipping
///   /model/<name> f32            the weights they were computed with
/// and attributes of "/": format "lacuna-trace", version, step (of the update, from 1), objective,
/// mask_token_id, config (TOML, as resolved). scripts/check_trace.py compares one with PyTorch. In
/// the autoregressive objective the cross-entropy of token i is that of the logits at i - 1.
class Trace {
 public:
  /// Takes in the micro-batches of this rank's share of the step, in order.
  void add(const NoisyBatch& batch);
  /// What the ranks write: each its sequences, from number `first` of the step's batch on, and its
  /// ranges of ModelTensors::flat(), as in save_training().
  struct Share {
    std::int64_t first = 0;
    std::vector<FlatRange> written;
  };
  /// Atomically: on any Error nothing appears. Collective.
  void write(const std::filesystem::path& path, const Config& config, std::int64_t step,
             double loss, double grad_norm, const ModelTensors& gradients,
             const ModelTensors& weights, const Share& share, Team& team, Ops& ops) const;

 private:
  std::int64_t sequences_ = 0, length_ = 0;
  std::vector<std::int32_t> clean_;
  std::vector<std::uint8_t> masked_;
  std::vector<float> p_mask_;
  std::vector<double> weight_;
};

}  // namespace lacuna
