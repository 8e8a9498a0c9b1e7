#include "diffusion/row_padding.h"

#include <algorithm>

#include "core/check.h"

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

void PaddedBatch::fill(const LossBatch& batch, const RowBuckets& buckets, std::int64_t max_length) {
  tokens = batch.tokens;
  if (batch.offsets.empty())
    sequences = Sequences::equal(batch.sequences, batch.length);
  else
    sequences.offsets = batch.offsets;
  const std::int64_t rows = buckets.padded(sequences.rows());
  while (sequences.rows() < rows)
    sequences.offsets.push_back(std::int32_t(std::min(rows, sequences.rows() + max_length)));
  tokens.resize(std::size_t(rows), 0);
  add_head_rows(batch, buckets.padded(std::int64_t(batch.rows.size())));
}

/// The batch's, and as many of the last rows that are not among them as `count` asks for.
void PaddedBatch::add_head_rows(const LossBatch& batch, std::int64_t count) {
  const std::size_t M = batch.rows.size();
  sequences.logit_rows.assign(std::size_t(count), 0);
  targets.assign(std::size_t(count), 0);
  weights.assign(std::size_t(count), 0.0f);
  places.resize(M);
  std::size_t m = M, padding = std::size_t(count) - M;
  std::int32_t row = sequences.offsets.back();  // the last one taken
  for (std::size_t i = std::size_t(count); i-- > 0;) {
    row = padding > 0 ? row - 1 : batch.rows[m - 1];
    sequences.logit_rows[i] = row;
    if (m == 0 || row != batch.rows[m - 1]) {
      --padding;
      continue;
    }
    --m;
    targets[i] = batch.targets[m];
    weights[i] = float(batch.weights[m]);
    places[m] = std::int32_t(i);
  }
}

}  // namespace lacuna
