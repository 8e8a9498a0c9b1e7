#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "decoding/canvas.h"
#include "kernels/commit_rule.h"

namespace lacuna {

/// Rows [begin, end) of a canvas.
struct RowRange {
  std::int64_t begin = 0, end = 0;
  std::int64_t count() const { return end - begin; }
  bool operator==(const RowRange&) const = default;
};

/// What one step needs of one canvas. Which of its rows are computed for that, the cache decides
/// (decoding/cached_rows.h).
struct StepPlan {
  RowRange block;                  // the rows that are being filled
  std::int64_t visible = 0;        // rows [0, visible) exist for this step
  std::vector<std::int32_t> open;  // those that the draws may fill, increasing
  std::int64_t shift = 0;          // the draw for row i is read from the logits of i - shift
  // Rows that a masked row also stands for (strategy wino); some of these rows get logits there.
  std::vector<std::int32_t> shadows = {}, verified = {};
  std::uint64_t noise_step = 0;  // names the draws' noise, with seed, sample and row

  /// One per open row, then one per shadow that is verified.
  std::int64_t draws() const { return std::int64_t(open.size() + verified.size()); }
  /// The row that draw m is read from, of those for open rows.
  std::int32_t logit_row(std::size_t m) const { return open[m] - std::int32_t(shift); }
};

/// What a step found at a plan's logit rows and then its verified shadows, in the softmax of the
/// logits without noise or temperature. Of `current`, what Strategy::needs() does not name is
/// empty.
struct RowStatistics {
  std::span<const std::int32_t> tokens;            // drawn
  std::span<const float> confidence;               // p(drawn)
  std::span<const std::int32_t> best = {};         // the most probable token
  std::span<const float> first = {}, second = {};  // probability of it, and of the second
  std::span<const float> entropy = {};             // in nats
  std::span<const float> current = {};             // p(the token that is in the row)

  RowStatistics part(std::size_t begin, std::size_t count) const;
};

/// Which of the optional ones are computed.
struct WantedStatistics {
  bool best = false, entropy = false, current = false;
  WantedStatistics operator|(const WantedStatistics& o) const {
    return {best || o.best, entropy || o.entropy, current || o.current};
  }
};

/// A row gets a token, or is masked again (token kMaskAgain).
struct Change {
  std::int32_t row, token;
  float probability;
  bool operator==(const Change&) const = default;
};
inline constexpr std::int32_t kMaskAgain = -1;

/// Draw m of a plan, committed to its row.
inline Change committed(const StepPlan& plan, const RowStatistics& found, std::size_t m) {
  return {plan.open[m], found.tokens[m], found.confidence[m]};
}

/// Rows that a step adds to the canvas.
struct Growth {
  std::int64_t row = 0, masks = 0;  // so many masked rows before this one
  std::int64_t ends = 0;            // and, behind everything, rows with the end token
};

/// How the coming steps of a block choose among the plan's open rows, where a device can do it
/// (Ops::decide): in order of a score, with noise steps from the plan's on.
struct CommitSchedule {
  CommitRule rule = CommitRule::count;
  double bound = 0;
  std::vector<std::int32_t> least = {};  // CommitRules::least of each step that the block may take
};

/// Where a text stands.
struct DecodingProgress {
  std::int64_t block = 0, step = 0;  // the next step is this one of this block, from 0
  std::int64_t done = 0, of = 0;     // steps so far; at most, in all
  bool finished = false;
};

/// Decides what the steps of one text commit; one object per text. The decoder calls plan(),
/// decide() and advance() for each step until the text is finished.
class Strategy {
 public:
  virtual ~Strategy() = default;
  const DecodingProgress& progress() const { return progress_; }

  virtual WantedStatistics needs() const { return {}; }
  /// Whether the mask token may be drawn. LLaDA's generate() allows it.
  virtual bool may_draw_mask() const { return false; }
  virtual StepPlan plan(const Canvas& canvas) const = 0;
  /// What a device does in place of decide() in the rest of the block; no steps where decide() is
  /// needed.
  virtual CommitSchedule schedule(const Canvas&) const { return {}; }
  /// Rows in increasing order, each once.
  virtual std::vector<Change> decide(const Canvas& canvas, const StepPlan& plan,
                                     const RowStatistics& found) = 0;
  /// What the step adds after the changes of decide().
  virtual Growth growth() const { return {}; }
  /// The step is done; its changes are on the canvas.
  virtual void advance(const Canvas& canvas) = 0;

 protected:
  DecodingProgress progress_;
};

inline RowStatistics RowStatistics::part(std::size_t begin, std::size_t count) const {
  const auto cut = [&](const auto& all) { return all.empty() ? all : all.subspan(begin, count); };
  return {cut(tokens), cut(confidence), cut(best),   cut(first),
          cut(second), cut(entropy),    cut(current)};
}

}  // namespace lacuna
