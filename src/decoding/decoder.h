#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "comm/communicator.h"
#include "decoding/canvas.h"
#include "kernels/ops.h"
#include "model/model_weights.h"
#include "model/tensor_parallel_shard.h"

namespace lacuna {

/// Rows of a forward pass that commands and evaluation ask for, where there is work for so many:
/// enough that GEMMs run at their full rate.
inline constexpr std::int64_t kBatchTokens = 4096;

/// What a step left on one text.
struct DecodingStep {
  std::int64_t id = 0;                           // of its request
  std::int64_t block = 0, step = 0;              // step within the block, from 0
  std::int64_t done = 0, of = 0;                 // steps so far, this one included; at most, in all
  std::int64_t rows = 0;                         // that the step computed of this text
  std::int64_t logit_rows = 0;                   // of them, rows whose logits it needed
  std::span<const std::int32_t> tokens = {};     // prompt and what follows
  std::span<const std::int32_t> committed = {};  // positions filled by this step, increasing
  std::span<const std::int32_t> revoked = {};    // positions that it masked again
  std::span<const float> probability = {};       // of each token when it was filled; 0: it was not
  std::int64_t reused = 0;  // tokens whose keys and values an earlier text left
};
using DecodingObserver = std::function<void(const DecodingStep&)>;

/// A text that is done: its prompt and what follows, or the filled text.
struct DecodingResult {
  std::int64_t id;
  std::vector<std::int32_t> tokens;
  // Of each token: the step that filled it, from 0, and its probability then, without noise; -1 and
  // 0 of the prompt.
  std::vector<std::int32_t> committed_at;
  std::vector<float> probability;
};

/// What a decoder has done so far, of all texts.
struct DecodingStats {
  std::int64_t passes = 0;      // forward passes
  std::int64_t rows = 0;        // computed, of all passes
  std::int64_t logit_rows = 0;  // of them, rows whose logits were needed
  std::int64_t tokens = 0;      // committed, and not taken back
  std::int64_t refreshes = 0;   // of approximate caches, of each text by itself
  std::int64_t steps = 0;       // passes, of each text by itself

  /// What was done since.
  DecodingStats operator-(const DecodingStats& before) const {
    return {passes - before.passes, rows - before.rows,           logit_rows - before.logit_rows,
            tokens - before.tokens, refreshes - before.refreshes, steps - before.steps};
  }
};
/// What the decoders of all ranks have done. Collective.
DecodingStats sum_over(Communicator& data, const DecodingStats& own);

/// The most that one forward pass may be asked for.
struct DecoderLimits {
  std::int64_t tokens;         // of all texts together, with what is to be generated
  std::int64_t sequences = 1;  // texts
  bool guidance = false;       // whether cfg_scale may be more than 0: twice the activations
  bool cache = false;          // whether keys and values are kept (DecodingOptions::cache)
  std::int64_t prefixes = 0;   // tokens of texts that are done whose keys and values are kept for
                               // others, with a cache that is exact (decoding/prefix_cache.h)
};

/// The limits for so many texts at once, of prompts of at most `prompt` tokens with these options.
DecoderLimits limits_for(const ModelConfig& config, const DecodingOptions& options,
                         std::int64_t prompt, std::int64_t sequences = 1);

/// Generates texts: one loop for every model and strategy (decoding/strategy.h). Each text has its
/// own length, options, seed and phase; nothing is padded, and no text depends on those beside it,
/// but for rounding. A step is one forward pass over all texts in progress, up to the limits; one
/// that is done makes room for the next that waits. A causal model decodes from left to right; any
/// other fills blocks of masked rows by a strategy. Which rows a pass computes: cached_rows.h.
class Decoder {
 public:
  /// Borrows `weights`. `shares` as in Model: all those ranks make the same calls, and get the same
  /// texts. Throws UsageError when a model that is not causal has no mask token.
  Decoder(Ops& ops, const ModelConfig& config, const ModelWeights& weights,
          const DecoderLimits& limits, Communicator* shares = nullptr);
  ~Decoder();
  /// Bytes of what that allocates, with weights of `dtype` and the given share on a device of
  /// `place`, and of what else they need. The first text with a constraint allocates 16 rows of the
  /// vocabulary in bf16 more.
  static std::int64_t bytes(const ModelConfig& config, DType dtype, Place place,
                            TensorParallelShard share, const DecoderLimits& limits,
                            const WeightScratch& weights = {});

  /// Queues a request; returns its id, counted from 0. An empty prompt of a causal model continues
  /// model.eos_token, which is what precedes a document. Throws UsageError for options that
  /// resolved() refuses, an empty prompt without an end token, and infilling by a model that is not
  /// bidirectional; Error for a text that exceeds the limits or model.max_seq_length.
  std::int64_t add(DecodingRequest request);
  /// Where a text in the queue or in progress stands, valid until the next call of another member.
  DecodingStep state(std::int64_t id) const;
  /// Advances the texts in progress: by one step; on a device, where what is committed can be
  /// decided there, by some steps of their blocks (decoding/device_rounds.h). The observer is
  /// called for each text after each step. Throws Error when logits are not finite; the texts in
  /// progress are then gone.
  void step(const DecodingObserver& observer = {});
  /// Whether no text is queued or in progress.
  bool idle() const;
  const DecodingStats& stats() const;
  /// The texts that were done since the last call.
  std::vector<DecodingResult> collect();
  /// Forgets a request, wherever it is; nothing for one that is done.
  void cancel(std::int64_t id);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lacuna
