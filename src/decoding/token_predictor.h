#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include "core/arena.h"
#include "decoding/batch.h"
#include "kernels/ops.h"
#include "model/head.h"
#include "model/model.h"

namespace lacuna {

/// Draws a token at each logit row of a forward pass, and says how sure the model is of it.
class TokenPredictor {
 public:
  /// `limits` of one forward pass. Borrows `weights`. `shares` as in Model: every rank draws, and
  /// the noise being the same, they draw the same tokens.
  TokenPredictor(Ops& ops, const ModelConfig& config, const ModelWeights& weights,
                 const ModelLimits& limits, Communicator* shares = nullptr);
  /// Bytes of what that allocates.
  static std::int64_t bytes(const ModelConfig& config, const ModelLimits& limits, DType dtype,
                            Place place, TensorParallelShard share);

  /// A forward pass of the batch and its draws, on the host, valid until the next call. Throws
  /// Error when logits are not finite.
  RowStatistics predict(const DecodingBatch& batch);

  // The same in parts, for steps that follow each other on a device.
  /// Where operations run, what the model and draw() read. Returns once the batch is copied.
  void place(const DecodingBatch& batch);
  /// Queues the statistics (Ops::row_stats) at `hidden`, the result of model().run(). Noise steps
  /// are `later` than the batch's.
  void draw(const DecodingBatch& batch, Tensor hidden, std::uint64_t later = 0);
  /// How often a batch was placed, by predict() as well.
  std::int64_t placements() const { return placements_; }
  /// Where draw() leaves them.
  RowStats drawn(const DecodingBatch& batch) const { return stats(batch.wanted, 0, batch.draws()); }
  Model& model() { return model_; }

 private:
  struct Slots {
    Slot keys, current, tokens, confidence, best, first, second, entropy, p_current;
  };
  static Plan make_plan(const ModelLimits& limits, Slots& slots);
  void place_rows(const DecodingBatch& batch);
  /// Draws [at, at + n), all of one chunk of the head, before which `guided` others are guided.
  /// Returns how many of them are.
  std::int64_t draw_chunk(const DecodingBatch& batch, Tensor hidden, std::int64_t at,
                          std::int64_t n, std::int64_t guided, std::uint64_t later);
  /// Adds the biases of the draws from `first` on to their logits.
  void add_biases(const DecodingBatch& batch, std::int64_t first, Tensor logits);
  RowStats stats(const WantedStatistics& wanted, std::int64_t at, std::int64_t n) const;

  Ops& ops_;
  Slots slots_;
  Model model_;
  Head head_;
  Arena arena_;
  // Rows of biases, made when the first is needed, and which are there: many rows of a batch, and
  // of the next one, have the same.
  std::optional<Arena> biases_;
  Slot bias_rows_;
  std::vector<TokenBias> placed_biases_;
  std::int64_t placements_ = 0;
  struct OnHost {
    std::vector<std::int32_t> tokens, best;
    std::vector<float> confidence, first, second, entropy, current;
  };
  OnHost host_;
};

}  // namespace lacuna
