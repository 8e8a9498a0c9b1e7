#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include "config/config.h"
#include "decoding/strategy.h"

namespace lacuna {

/// Which rows of one text a pass computes, the keys and values of the others being those of earlier
/// passes.
///
/// Causal and block-causal attention: what the cache holds is exact. Rows before the block do not
/// see it; once a pass has computed them without masks, they stay. So the first pass of a block
/// computes the finished block before it as well, for its keys and values, and the first pass of
/// all the whole prompt. Where the logits for a row are those of the row before it
/// (StepPlan::shift), the row before the block is computed in every pass.
///
/// Bidirectional attention: every row changes with every committed token, and the cache is an
/// approximation (Fast-dLLM, arXiv:2505.22618; dInfer, arXiv:2510.08666). A refresh computes all
/// rows, when a block begins and after every `refresh_every` passes; a pass between two refreshes
///
///   prefix     the block and everything behind it
///   dual       the block
///   vicinity   the block and `vicinity` rows on each side of it
class CachedRows {
 public:
  /// `options` as resolved() gives them.
  CachedRows(Attention attention, const DecodingOptions& options);

  struct Pass {
    std::vector<std::int32_t> rows;  // of the canvas, increasing; the plan's logit rows among them
    bool refresh = false;            // whether it computes what the cache held
  };
  Pass pass(const StepPlan& plan) const;
  /// How many passes from the coming one on, all of the plan's block, compute the same rows.
  std::int64_t alike(const StepPlan& plan) const;
  /// Rows of the canvas have moved: nothing that is kept is where it was.
  void forget() { block_.reset(), kept_ = 0; }
  /// Rows [0, rows) are as they will stay, of exact caches: so many, or none.
  std::int64_t kept() const { return is_exact() ? kept_ : 0; }
  void keep(std::int64_t rows) { kept_ = rows; }
  bool is_exact() const {
    return attention_ != Attention::bidirectional && kind_ != CacheKind::none;
  }
  /// That pass was made.
  void made(const StepPlan& plan, const Pass& pass);

 private:
  RowRange approximate(const StepPlan& plan, bool refresh) const;

  Attention attention_;
  CacheKind kind_;
  std::int64_t refresh_every_, vicinity_;
  std::int64_t kept_ = 0;           // exact: rows [0, kept_) are as they will stay
  std::optional<RowRange> block_;   // approximate: of the last pass
  std::int64_t since_refresh_ = 0;  // passes, the refresh included
};

}  // namespace lacuna
