#pragma once
#include <optional>

#include "decoding/strategies/confidence.h"

namespace lacuna {

/// DAEDAL (arXiv:2508.00819; github.com/Li-Jinsong/DAEDAL): a text that begins short and grows to
/// at most gen_length tokens. The expectation of an end E is the sum of the probabilities of the
/// end token in the last 32 rows, at most, whose most probable token it is, divided by 32.
///
///   1. While E < 0.5, 8 masked rows are added at the end. Nothing is committed. Then 16 rows with
///      the end token follow.
///   2. The rows are filled by a ConfidenceStrategy, block by block. Where E < 0.9, the least
///      confident masked row of the block, of a confidence below 0.1, becomes 8.
///
/// Part 2 grows the text in every pass without a cache, and with one in the first pass of a block.
class Growing final : public Strategy {
 public:
  /// `options` as resolved() gives them; the canvas has their initial_length masked rows.
  Growing(const Canvas& canvas, const BlockLayout& layout, const DecodingOptions& options,
          std::int32_t end_token);

  WantedStatistics needs() const override;
  StepPlan plan(const Canvas& canvas) const override;
  std::vector<Change> decide(const Canvas& canvas, const StepPlan& plan,
                             const RowStatistics& found) override;
  Growth growth() const override { return growth_; }
  void advance(const Canvas& canvas) override;

 private:
  std::int64_t room(const Canvas& canvas) const { return most_rows_ - canvas.rows(); }
  /// Whether the coming step may grow the text while it fills it.
  bool may_grow(const Canvas& canvas) const;
  double expectation_of_end(const RowStatistics& found) const;
  void lengthen(const Canvas& canvas, const RowStatistics& found);
  void show_progress(const Canvas& canvas);

  const BlockLayout layout_;
  const DecodingOptions options_;
  const std::int32_t end_token_;
  const std::int64_t most_rows_;
  bool long_enough_ = false;                   // at the end of part 1
  std::optional<ConfidenceStrategy> filling_;  // of part 2
  std::int64_t passes_before_ = 0;             // of part 1
  Growth growth_;                              // by the last pass
};

}  // namespace lacuna
