#include "diffusion/separate_documents.h"

#include <algorithm>

#include "core/check.h"

namespace lacuna {
namespace {

/// Bounds of the documents within the first `length` tokens: 0, the starts, the end.
std::vector<std::int64_t> bounds_of(const RowDocuments& documents, std::int64_t length) {
  const std::int64_t end = std::min<std::int64_t>(length, documents.length);
  CHECK(end >= 1, "a sequence without a token");
  std::vector<std::int64_t> bounds{0};
  for (const std::int32_t start : documents.starts) {
    CHECK(start > bounds.back(), "documents of a sequence begin at ", bounds.back(), " and ",
          start);
    if (start < end) bounds.push_back(start);
  }
  bounds.push_back(end);
  return bounds;
}

}  // namespace

std::vector<std::int64_t> separate_documents(const NoiseOptions& options,
                                             std::span<const RowDocuments> documents,
                                             std::int64_t first_sample, LossBatch& batch) {
  const std::int64_t T = batch.length;
  const auto views = std::size_t(batch.views);
  CHECK(options.objective != Objective::block_diffusion && batch.offsets.empty() &&
            std::int64_t(documents.size() * views) == batch.sequences,
        "documents of ", documents.size(), " sequences of ", batch.sequences);
  LossBatch all;
  all.shift = batch.shift;
  all.views = batch.views;
  all.offsets.push_back(0);
  std::vector<std::int64_t> sequence_of;
  std::size_t m = 0;  // the next prediction
  for (std::size_t b = 0; b < documents.size() * views; ++b) {
    const std::vector<std::int64_t> bounds = bounds_of(documents[b / views], T);
    const std::int64_t begin = std::int64_t(b) * T, end = bounds.back();
    const auto pieces = std::int64_t(bounds.size()) - 1;
    const std::int64_t left_out = batch.shift * pieces + (T - end);
    const double predicted = double(std::max<std::int64_t>(1, T - left_out)),
                 scale = double(std::max<std::int64_t>(1, T - batch.shift)) / predicted;
    const auto at = std::int64_t(all.tokens.size()), moved = at - begin;
    all.tokens.insert(all.tokens.end(), batch.tokens.begin() + begin,
                      batch.tokens.begin() + begin + end);
    all.masked.insert(all.masked.end(), batch.masked.begin() + begin,
                      batch.masked.begin() + begin + end);
    for (std::int64_t i = 0; i < pieces; ++i) {
      all.offsets.push_back(std::int32_t(at + bounds[std::size_t(i) + 1]));
      all.length = std::max(all.length, bounds[std::size_t(i) + 1] - bounds[std::size_t(i)]);
      all.p.push_back(batch.p[b]);
      all.samples.push_back(first_sample + std::int64_t(b / views));
      sequence_of.push_back(std::int64_t(b / views));
    }
    for (; m < batch.rows.size() && batch.rows[m] < begin + T; ++m) {
      const std::int64_t token = batch.rows[m] + batch.shift;  // that is predicted
      if (token - begin >= end) continue;
      if (batch.shift > 0 && std::binary_search(bounds.begin(), bounds.end(), token - begin)) {
        all.tokens[std::size_t(token + moved)] = batch.targets[m];
        all.masked[std::size_t(token + moved)] = 0;
        continue;
      }
      all.rows.push_back(std::int32_t(batch.rows[m] + moved));
      all.targets.push_back(batch.targets[m]);
      all.weights.push_back(scale == 1 ? batch.weights[m] : batch.weights[m] * scale);
    }
  }
  all.sequences = std::int64_t(sequence_of.size());
  batch = std::move(all);
  return sequence_of;
}

}  // namespace lacuna
