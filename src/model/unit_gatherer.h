#pragma once
#include <cstddef>
#include <cstdint>

namespace lacuna {

enum class PassDirection : std::uint8_t { forward, backward };

/// Weights of a model of which each rank has its shard up to date, and which are gathered unit by
/// unit as passes use them (ZeRO, arXiv:1910.02054; FSDP, arXiv:2304.11277). Units are numbered as
/// ModelTensors::units() has them: 0 is the embedding, 1 + l block l, and the last one what follows
/// the blocks.
///
/// The ranks make the same passes, so that they gather the same units in the same order; or they
/// say that they do not (begin_uneven_passes()).
class UnitGatherer {
 public:
  virtual ~UnitGatherer() = default;

  /// Whether each pass gathers; or the first one since the shards changed, and none between
  /// begin_uneven_passes() and end_uneven_passes().
  virtual bool gathers_in_every_pass() const = 0;

  /// Called by a model before each forward pass.
  virtual void begin_pass() = 0;
  /// Called by a model before it first uses a unit in a pass of that direction, in the order of the
  /// units or against it: later Ops calls see the unit's weights. A block is there until the next
  /// but one is gathered, what follows the blocks until the backward pass, or the next forward
  /// pass, comes to its first block, and so is the embedding where the head is tied to it; else
  /// until the last block is gathered. Begins to gather the unit that comes next.
  virtual void gather(std::size_t unit, PassDirection direction) = 0;

  /// Until end_uneven_passes(), which returns when all ranks have called it, ranks may make
  /// different numbers of forward passes: one that has made its own joins in the gathers of the
  /// others. Collective; no backward passes.
  virtual void begin_uneven_passes() = 0;
  virtual void end_uneven_passes() = 0;

  /// Until end_trial_passes() passes gather nothing and read whatever weights there are: passes
  /// that are made for their time, not for their result. Collective.
  virtual void begin_trial_passes() = 0;
  virtual void end_trial_passes() = 0;
};

/// The result of work(), in which ranks may make different numbers of forward passes. `gatherer`
/// null: each rank has the weights. An exception ends the run.
template <class Work>
auto uneven_passes(UnitGatherer* gatherer, const Work& work) {
  if (gatherer) gatherer->begin_uneven_passes();
  auto result = work();
  if (gatherer) gatherer->end_uneven_passes();
  return result;
}

}  // namespace lacuna
