#include "decoding/strategies/blockwise.h"

#include <algorithm>

namespace lacuna {

Blockwise::Blockwise(const Canvas& canvas, const BlockLayout& layout) : layout_(layout) {
  progress_.of = std::count(canvas.masked.begin(), canvas.masked.end(), true);
  if (!layout_.until_filled)
    progress_.of = std::min(progress_.of, layout_.count(canvas.rows()) * layout.steps);
  while (masked_in_block(canvas) == 0 && progress_.block + 1 < layout_.count(canvas.rows()))
    ++progress_.block;
  progress_.finished = masked_in_block(canvas) == 0;
}

RowRange Blockwise::block(const Canvas& canvas) const {
  const std::int64_t begin = layout_.first + progress_.block * layout_.length;
  return {begin, std::min(canvas.rows(), begin + layout_.length)};
}

std::int64_t Blockwise::masked_in_block(const Canvas& canvas) const {
  const RowRange rows = block(canvas);
  return std::count(canvas.masked.begin() + rows.begin, canvas.masked.begin() + rows.end, true);
}

StepPlan Blockwise::plan(const Canvas& canvas) const {
  return plan_from(canvas, block(canvas).begin);
}

StepPlan Blockwise::plan_from(const Canvas& canvas, std::int64_t first) const {
  StepPlan plan;
  plan.block = block(canvas);
  plan.visible = layout_.sees_later ? canvas.rows() : plan.block.end;
  plan.noise_step = std::uint64_t(progress_.done);
  for (std::int64_t i = first; i < plan.block.end; ++i)
    if (canvas.masked[std::size_t(i)]) plan.open.push_back(std::int32_t(i));
  plan.shift = layout_.shift;
  return plan;
}

bool Blockwise::block_done(const Canvas& canvas) const {
  if (layout_.until_filled) return masked_in_block(canvas) == 0;
  return masked_in_block(canvas) == 0 || progress_.step >= layout_.steps;
}

bool Blockwise::ended(const Canvas& canvas) const {
  if (layout_.end_token < 0) return false;
  const std::int64_t end = block(canvas).end;
  for (std::int64_t i = layout_.prompt; i < end; ++i) {
    if (canvas.masked[std::size_t(i)]) return false;
    if (canvas.tokens[std::size_t(i)] == layout_.end_token) return true;
  }
  return false;
}

bool Blockwise::complete(const Canvas& canvas) const {
  const RowRange rows = block(canvas);
  if (layout_.asked >= rows.end) return false;
  const auto begin = canvas.masked.begin();
  return std::count(begin + rows.begin, begin + layout_.asked, true) == 0;
}

void Blockwise::seek(const Canvas& canvas) {
  while (!ended(canvas) && progress_.block + 1 < layout_.count(canvas.rows())) {
    ++progress_.block;
    progress_.step = 0;
    if (masked_in_block(canvas) == 0) continue;
    begin_block(canvas);
    return;
  }
  progress_.finished = true;
}

void Blockwise::advance(const Canvas& canvas) {
  ++progress_.done;
  ++progress_.step;
  if (block_done(canvas) || complete(canvas)) seek(canvas);
}

}  // namespace lacuna
