#include "diffusion/block_rows.h"

#include <algorithm>
#include <utility>

#include "core/check.h"

namespace lacuna {
namespace {

std::int64_t pairs_of(const KeyIntervals& k) {
  return std::int64_t{k.end0 - k.begin0} + (k.end1 - k.begin1);
}

}  // namespace

/// A text of the batch: where its tokens and losses lie.
struct BlockRows::Text {
  std::int64_t clean = 0, noisy = 0;  // its first of LossBatch::clean, of LossBatch::tokens
  std::int64_t length = 0, views = 0, block_size = 0;
  std::size_t loss = 0, loss_end = 0;              // of LossBatch::rows
  std::size_t clean_loss = 0, clean_loss_end = 0;  // of LossBatch::clean_rows
};

BlockRows::BlockRows(const LossBatch& batch, bool causal_context, bool logits_shift)
    : losses(batch.rows.size() + batch.clean_rows.size()) {
  sequences.offsets.push_back(0);
  Text text;
  for (std::size_t i = 0; i < batch.texts.size(); ++i) {
    const LossBatch::CleanText& t = batch.texts[i];
    const std::int64_t end =
        i + 1 < batch.texts.size() ? batch.texts[i + 1].first : std::int64_t(batch.clean.size());
    text.clean = t.first;
    text.length = end - t.first;
    text.views = t.views;
    text.block_size = t.block_size;
    const auto count_below = [](const std::vector<std::int32_t>& rows, std::size_t from,
                                std::int64_t bound) {
      return std::size_t(std::lower_bound(rows.begin() + std::ptrdiff_t(from), rows.end(), bound) -
                         rows.begin());
    };
    text.loss_end = count_below(batch.rows, text.loss, text.noisy + text.views * text.length);
    text.clean_loss_end = count_below(batch.clean_rows, text.clean_loss, end);
    add(batch, text, causal_context, logits_shift);
    text.noisy += text.views * text.length;
    text.loss = text.loss_end;
    text.clean_loss = text.clean_loss_end;
  }
}

void BlockRows::add(const LossBatch& batch, const Text& text, bool causal_context,
                    bool logits_shift) {
  if (text.loss == text.loss_end && text.clean_loss == text.clean_loss_end) return;
  const std::int64_t begin = sequences.rows(), size = text.block_size;
  const auto block_end = [&](std::int64_t block) {
    return std::min(text.length, (block + 1) * size);
  };
  std::vector<std::pair<std::int64_t, std::size_t>> at_clean;  // a position, and a loss at its row
  // Noisy blocks, whose clean keys are known when all of them are.
  std::int64_t last_block = -1;
  for (std::size_t m = text.loss; m < text.loss_end;) {
    const std::int64_t at = batch.rows[m] - text.noisy, view = at / text.length,
                       block = at % text.length / size, first = text.noisy + view * text.length;
    const std::int64_t row = std::int64_t(tokens.size()) - block * size;  // of position 0
    last_block = std::max(last_block, block);
    if (logits_shift && at % text.length == block * size) {
      CHECK(block > 0, "a text's first token is masked, which no row predicts");
      at_clean.emplace_back(block * size - 1, m++);
      if (m == text.loss_end || batch.rows[m] >= first + block_end(block)) continue;
    }
    for (std::int64_t position = block * size; position < block_end(block); ++position) {
      tokens.push_back(batch.tokens[std::size_t(first + position)]);
      sequences.positions.push_back(std::int32_t(position));
      sequences.keys.push_back(key_interval(row + block * size, row + block_end(block)));
    }
    for (; m < text.loss_end && batch.rows[m] < first + block_end(block); ++m) {
      losses[m] = std::int32_t(sequences.logit_rows.size());
      sequences.logit_rows.push_back(
          std::int32_t(row + batch.rows[m] - first - std::int64_t(logits_shift)));
    }
  }
  const auto clean = std::int64_t(tokens.size());
  for (std::int64_t row = begin; row < clean; ++row) {
    const std::int64_t block = sequences.positions[std::size_t(row)] / size;
    KeyIntervals& keys = sequences.keys[std::size_t(row)];
    if (block > 0)
      keys = {keys.begin0, keys.end0, std::int32_t(clean), std::int32_t(clean + block * size)};
  }
  std::int64_t needed = std::max<std::int64_t>(0, last_block * size);
  if (text.clean_loss < text.clean_loss_end)
    needed = std::max(needed, batch.clean_rows[text.clean_loss_end - 1] - text.clean + 1);
  for (std::int64_t position = 0; position < needed; ++position) {
    tokens.push_back(batch.clean[std::size_t(text.clean + position)]);
    sequences.positions.push_back(std::int32_t(position));
    sequences.keys.push_back(causal_context
                                 ? causal_keys(clean, position)
                                 : block_causal_keys(clean, clean + needed, position, size));
  }
  for (std::size_t j = text.clean_loss; j < text.clean_loss_end; ++j)
    at_clean.emplace_back(batch.clean_rows[j] - text.clean, batch.rows.size() + j);
  std::sort(at_clean.begin(), at_clean.end());
  std::int64_t last = -1;
  for (const auto& [position, loss] : at_clean) {
    if (position != last) sequences.logit_rows.push_back(std::int32_t(clean + position));
    losses[loss] = std::int32_t(sequences.logit_rows.size()) - 1;
    last = position;
  }
  sequences.offsets.push_back(std::int32_t(tokens.size()));
}

std::int64_t BlockRows::attended_pairs() const {
  std::int64_t pairs = 0;
  for (const KeyIntervals& k : sequences.keys) pairs += pairs_of(k);
  return pairs;
}

std::int64_t BlockRows::attended_pairs_of_logit_rows() const {
  std::int64_t pairs = 0;
  for (const std::int32_t row : sequences.logit_rows)
    pairs += pairs_of(sequences.keys[std::size_t(row)]);
  return pairs;
}

}  // namespace lacuna
