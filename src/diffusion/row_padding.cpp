#include "diffusion/row_padding.h"

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "diffusion/block_rows.h"

namespace lacuna {
namespace {

constexpr std::int64_t kBuckets = 32;
// Tiles of products are not smaller.
constexpr std::int64_t kLeastUnit = 16;

std::int64_t rounded_up(std::int64_t n, std::int64_t unit) { return (n + unit - 1) / unit * unit; }

}  // namespace

RowBuckets::RowBuckets(std::int64_t most, Place place)
    : most_(most),
      unit_(place == Place::host ? 1 : rounded_up((most + kBuckets - 1) / kBuckets, kLeastUnit)) {}

std::int64_t RowBuckets::padded(std::int64_t rows) const {
  return std::min(most_, rounded_up(rows, unit_));
}

std::vector<std::int64_t> RowBuckets::sizes() const {
  std::vector<std::int64_t> all = {most_};
  for (std::int64_t size = (most_ - 1) / unit_ * unit_; size > 0; size -= unit_)
    all.push_back(size);
  return all;
}

ModelLimits RowBuckets::with_padding(ModelLimits limits, std::int64_t max_length) const {
  limits.logit_rows = padded(limits.logit_rows);
  limits.sequences += (unit_ - 1 + max_length - 1) / max_length;
  return limits;
}

void PaddedBatch::fill(const LossBatch& batch, const RowBuckets& buckets,
                       const ModelConfig& model) {
  std::vector<std::int32_t> losses;
  if (!batch.texts.empty()) {
    BlockRows rows(batch, model.causal_context, model.logits_shift);
    sequences = std::move(rows.sequences);
    tokens = std::move(rows.tokens);
    losses = std::move(rows.losses);
  } else {
    tokens = batch.tokens;
    sequences = batch.offsets.empty() ? Sequences::equal(batch.sequences, batch.length)
                                      : Sequences{batch.offsets, {}};
  }
  CHECK(sequences.rows() <= buckets.most(), "a micro-batch of ", sequences.rows(),
        " rows where at most ", buckets.most(), " were announced");
  const std::vector<std::int32_t> rows =
      batch.texts.empty() ? batch.rows : std::exchange(sequences.logit_rows, {});
  add_padding(buckets.padded(sequences.rows()), model.max_seq_length);
  add_head_rows(batch, rows, losses, buckets.padded(std::int64_t(rows.size())));
}

/// Sequences that fill up to `rows` rows.
void PaddedBatch::add_padding(std::int64_t rows, std::int64_t max_length) {
  const bool row_by_row = !sequences.positions.empty();
  while (sequences.rows() < rows) {
    const std::int64_t begin = sequences.rows(), end = std::min(rows, begin + max_length);
    sequences.offsets.push_back(std::int32_t(end));
    for (std::int64_t row = begin; row_by_row && row < end; ++row) {
      sequences.positions.push_back(std::int32_t(row - begin));
      sequences.keys.push_back(bidirectional_keys(begin, end));
    }
  }
  tokens.resize(std::size_t(rows), 0);
}

/// The batch's `rows`, and as many of the last rows that are not among them as `count` asks for.
/// `losses` as in BlockRows, or empty: row m is that of LossBatch::rows.
void PaddedBatch::add_head_rows(const LossBatch& batch, const std::vector<std::int32_t>& rows,
                                const std::vector<std::int32_t>& losses, std::int64_t count) {
  sequences.logit_rows.assign(std::size_t(count), 0);
  targets.assign(std::size_t(count), 0);
  weights.assign(std::size_t(count), 0.0f);
  std::vector<std::int32_t> at(rows.size());  // of sequences.logit_rows
  std::size_t next = rows.size(), padding = std::size_t(count) - rows.size();
  std::int32_t row = sequences.offsets.back();  // the last one taken
  for (std::size_t i = std::size_t(count); i-- > 0;) {
    row = padding > 0 ? row - 1 : rows[next - 1];
    sequences.logit_rows[i] = row;
    if (next == 0 || row != rows[next - 1])
      --padding;
    else
      at[--next] = std::int32_t(i);
  }
  const std::size_t M = batch.rows.size();
  places.resize(losses.empty() ? rows.size() : losses.size());
  for (std::size_t m = 0; m < places.size(); ++m) {
    places[m] = at[losses.empty() ? m : std::size_t(losses[m])];
    const auto i = std::size_t(places[m]);
    const bool clean = m >= M;
    targets[i] = clean ? batch.clean[std::size_t(batch.clean_rows[m - M]) + 1] : batch.targets[m];
    weights[i] += float(clean ? batch.clean_weights[m - M] : batch.weights[m]);
  }
}

}  // namespace lacuna
