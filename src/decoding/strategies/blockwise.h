#pragma once
#include "decoding/strategy.h"

namespace lacuna {

/// How a canvas is divided into blocks that are filled one after the other.
struct BlockLayout {
  std::int64_t first;      // where block 0 begins; prompt rows in it are not filled
  std::int64_t length;     // of each block; the canvas may end within the last
  bool sees_later;         // whether rows behind the block exist for it
  std::int64_t prompt;     // rows before the answer, among which no end token is looked for
  std::int64_t end_token;  // with a block that holds it and no mask before it the text ends; -1
  std::int64_t steps;      // per block, at most
  std::int64_t asked;      // rows [0, asked) are asked for; the last block may go beyond them
  std::int64_t shift = 0;  // StepPlan::shift
  // Whether a block goes on while a row is masked, whatever its steps: not all that a strategy
  // commits may be kept.
  bool until_filled = false;

  /// Blocks of a canvas of so many rows.
  std::int64_t count(std::int64_t rows) const { return (rows - first + length - 1) / length; }
};

/// Fills blocks from left to right, each in steps until none of its rows is masked. Open to a step
/// are the block's masked rows.
class Blockwise : public Strategy {
 public:
  StepPlan plan(const Canvas& canvas) const override;
  void advance(const Canvas& canvas) override;

 protected:
  Blockwise(const Canvas& canvas, const BlockLayout& layout);

  /// A new block is active.
  virtual void begin_block(const Canvas&) {}
  /// Whether the active block needs no further step, `progress_.step` of which are done.
  virtual bool block_done(const Canvas& canvas) const;

  /// A plan in which the masked rows from `first` to the block's end are open.
  StepPlan plan_from(const Canvas& canvas, std::int64_t first) const;
  const BlockLayout& layout() const { return layout_; }
  RowRange block(const Canvas& canvas) const;
  std::int64_t masked_in_block(const Canvas& canvas) const;

 private:
  /// Moves on to the next block that has a masked row, or finishes.
  void seek(const Canvas& canvas);
  bool ended(const Canvas& canvas) const;
  /// Whether all that is asked for is filled, and rows beyond it may not be.
  bool complete(const Canvas& canvas) const;

  const BlockLayout layout_;
};

}  // namespace lacuna
