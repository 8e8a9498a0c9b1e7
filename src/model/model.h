#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "comm/communicator.h"
#include "config/config.h"
#include "core/arena.h"
#include "kernels/ops.h"
#include "model/sequences.h"
#include "model/unit_gatherer.h"
#include "model/weights.h"

namespace lacuna {

/// Called during a backward pass: the gradients of elements [complete, …) of ModelTensors::flat()
/// are complete.
using GradientObserver = std::function<void(std::int64_t complete)>;

/// LLaDA's transformer (arXiv:2502.09992, appendix B; a LLaMA without a causal mask): the one
/// forward pass that training, validation, sampling and scoring call. Only the rows that get logits
/// pass through the last block's queries, feed-forward and the final norm.
class Model {
 public:
  /// Borrows what `weights` view. Allocates everything once; throws Error with the memory table
  /// when that does not fit, and as check_formats(). `shares`: the ranks whose parts of the weights
  /// make up the model, in order; all of them make the same calls, with the same tokens, and get
  /// the same results. Null: one rank.
  Model(Ops& ops, const ModelConfig& config, const ModelWeights& weights, const ModelLimits& limits,
        Communicator* tp_group = nullptr);
  ~Model();

  /// tokens i32 [N], on the host or in ops.place(). Returns the hidden states [M,C] of
  /// sequences.logit_rows after the final norm, valid until the next call. Throws Error for more
  /// than the limits allow or a sequence longer than config.max_seq_length, UsageError never.
  Tensor forward(Tensor tokens, const Sequences& sequences);
  /// The same in two parts, for many passes over sequences of one shape: place() says what is seen,
  /// run() computes, as often as one likes. The result and placed_tokens() stay where they are
  /// until the next place().
  void place(Tensor tokens, const Sequences& sequences);
  Tensor run();
  /// Whether run() waits for results on the way (model.num_experts, or weights that each pass
  /// gathers), and so cannot be recorded (Ops::run_captured).
  bool waits_for_device() const;
  /// Of weights that passes gather; null: all are there.
  UnitGatherer* gatherer() const;
  /// i32 [N] in ops().place(): what run() reads. The caller may change them.
  Tensor placed_tokens() const;
  /// With a KV cache: copies keys and values of as many rows as `from` has.
  void copy_cache_rows(CacheRows to, CacheRows from);
  /// Adds to `gradients`, or by `mode` overwrites them with (a tied head's is added to what the
  /// head has given), those of a function whose gradient with respect to the last forward's result
  /// is d_hidden [M,C], which is overwritten and may be that result's own memory. Needs
  /// limits.training and a forward pass of its own. Where rows are split (TensorParallelShard),
  /// gradients of norms are of this rank's rows until a backward pass with an observer, or
  /// complete(), adds them up; so are gradients of the norms of heads, of this rank's heads. Of
  /// adapters, which the weights must have, where `gradients` are of adapters alone; those that
  /// every rank holds are likewise of its own outputs or inputs.
  void backward(ModelTensors& gradients, Tensor d_hidden, const GradientObserver& observer = {},
                GradMode mode = GradMode::accumulate);
  /// In place of the last backward pass of a step, when there is nothing to go back from.
  void complete(ModelTensors& gradients);

  const ModelConfig& config() const;
  const ModelLimits& limits() const;
  const Plan& plan() const;
  Ops& ops() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lacuna
