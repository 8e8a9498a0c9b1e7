#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "config/config.h"
#include "diffusion/noise.h"
#include "formats/process_group.h"
#include "formats/shared_file.h"
#include "model/inference_weights.h"
#include "model/weights.h"
#include "training/optimizer_shard.h"

namespace lacuna {

/// What one training step computed, to be compared with any other framework. An HDF5 file:
///   /clean [B,T] i32, /masked [B,T] u8, /p_mask [B,T] f32   the step's whole batch and its noise
///   /weight [B,T] f64            what multiplies each token's cross-entropy; 0 outside the loss
///   /loss, /grad_norm            f64 scalars: sum of weight times cross-entropy; before clipping
///   /gradients/<name> f32        before clipping
///   /model/<name> f32            the weights they were computed with
/// Fine-tuning has sequences of many lengths, end to end in the order of their samples, end tokens
/// that pad included: [N] instead of [B,T], and
///   /offsets [S+1] i32           sequence i is tokens offsets[i] to offsets[i+1]; the last is N
///   /response [N] u8             1 where a token belongs to a response
/// Block diffusion has train.noisy_views noisy views of each sequence, one after the other, each
/// as a sequence of its own ([B views,T], or as many more of [N] and /offsets); /p_mask is each
/// token's own, 0 where it is given. It adds
///   /block_size i32              per token, the block size of its sequence
///   /next_weight f64             what multiplies the next-token cross-entropy of each clean token,
///                                given those before it; in the first view alone. /loss has both
///                                sums
/// Where adapters are trained, /gradients and /model are theirs (adapter_weights()), and
///   /frozen/<name> f32           the weights that they adapt, as they are computed with
/// with the attribute lora_scale: W = frozen + lora_scale B A. Attributes of "/": format
/// "lacuna-trace", version, step (of the update, from 1), objective, mask_token_id, config (TOML,
/// as resolved). scripts/check_trace.py compares one with PyTorch. In the autoregressive objective
/// the cross-entropy of token i is that of the logits at i - 1.
class Trace {
 public:
  /// Takes in the micro-batches of this rank's share of the step, in order.
  void add(const LossBatch& batch);
  /// What the ranks write: each its sequences, from number `first` of the step's batch on, and its
  /// ranges of ModelTensors::flat(), as in saved_groups().
  struct Share {
    std::int64_t first = 0;
    std::vector<FlatRange> written;
    std::int64_t views = 1;  // noisy ones of each sequence
  };
  /// What the batch came to.
  struct Result {
    std::int64_t step = 0;  // of the update, from 1
    double loss = 0, grad_norm = 0;
    const OptimizerShard& gradients;
    const OptimizerShard& values;  // of the weights, what this rank updates
    const ModelTensors& weights;
    const InferenceWeights* frozen = nullptr;  // or none
  };
  /// Atomically: on any Error nothing appears. Collective.
  void write(const std::filesystem::path& path, const Config& config, const Result& result,
             const Share& share, ProcessGroup& team, Ops& ops) const;

 private:
  struct Tokens {
    std::vector<std::int32_t> clean;
    std::vector<std::uint8_t> masked, response;  // response: of fine-tuning
    std::vector<float> p_mask;
    std::vector<double> weight;
    std::vector<std::int32_t> block_size;  // of block diffusion
    std::vector<double> next_weight;
  };
  struct Sequence {
    std::int64_t sample;
    std::size_t begin, end;  // of its tokens
  };
  /// Where this rank's tokens lie among those of all.
  struct Place {
    std::int64_t first_token = 0, tokens = 0;
  };

  void add_block_texts(const LossBatch& batch, std::size_t from);
  std::vector<Sequence> by_sample() const;
  /// The tokens in the order of their samples.
  Tokens in_order() const;
  Place place(std::int64_t first_sequence, ProcessGroup& team) const;
  std::vector<SharedFile::Dataset> batch_datasets(const Config& config, const Place& place) const;
  void write_batch(SharedFile& file, const Share& share, const Place& place) const;

  std::int64_t length_ = 0;          // of all sequences of a pretraining step
  std::vector<Sequence> sequences_;  // of fine-tuning
  std::int64_t count_ = 0;           // of sequences
  Tokens tokens_;
};

}  // namespace lacuna
