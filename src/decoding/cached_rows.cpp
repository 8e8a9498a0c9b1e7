#include "decoding/cached_rows.h"

#include <algorithm>
#include <limits>

namespace lacuna {
namespace {

/// Of a block; the row before it, too, where the logits for the first of it are.
std::int64_t first_row(const StepPlan& plan) {
  return std::max<std::int64_t>(0, plan.block.begin - plan.shift);
}

}  // namespace

CachedRows::CachedRows(Attention attention, const DecodingOptions& options)
    : attention_(attention),
      kind_(options.cache),
      refresh_every_(options.refresh_every),
      vicinity_(options.vicinity) {}

RowRange CachedRows::approximate(const StepPlan& plan, bool refresh) const {
  if (refresh) return {0, plan.visible};
  RowRange rows{first_row(plan), plan.block.end};
  // Rows that were left over before the block.
  if (!plan.open.empty()) rows.begin = std::min<std::int64_t>(rows.begin, plan.logit_row(0));
  if (kind_ == CacheKind::prefix) rows.end = plan.visible;
  if (kind_ == CacheKind::vicinity)
    rows = {std::max<std::int64_t>(0, rows.begin - vicinity_),
            std::min(plan.visible, rows.end + vicinity_)};
  return rows;
}

CachedRows::Pass CachedRows::pass(const StepPlan& plan) const {
  Pass pass;
  RowRange range{0, plan.visible};
  if (kind_ == CacheKind::none) {
    pass.refresh = true;
  } else if (is_exact()) {
    range.begin = std::min(kept_, first_row(plan));
  } else {
    pass.refresh = block_ != plan.block || (refresh_every_ > 0 && since_refresh_ >= refresh_every_);
    range = approximate(plan, pass.refresh);
  }
  for (std::int64_t i = range.begin; i < range.end; ++i) pass.rows.push_back(std::int32_t(i));
  return pass;
}

std::int64_t CachedRows::alike(const StepPlan& plan) const {
  constexpr std::int64_t kAll = std::numeric_limits<std::int64_t>::max();
  if (kind_ == CacheKind::none) return kAll;
  if (is_exact()) return kept_ == plan.block.begin ? kAll : 1;
  if (refresh_every_ == 1) return kAll;
  if (block_ != plan.block) return 1;
  // Rows that were left over before the block are computed until they are filled.
  if (!plan.open.empty() && plan.open.front() < plan.block.begin) return 1;
  return refresh_every_ > 0 ? std::max<std::int64_t>(1, refresh_every_ - since_refresh_) : kAll;
}

void CachedRows::made(const StepPlan& plan, const Pass& pass) {
  kept_ = plan.block.begin;
  block_ = plan.block;
  since_refresh_ = pass.refresh ? 1 : since_refresh_ + 1;
}

}  // namespace lacuna
