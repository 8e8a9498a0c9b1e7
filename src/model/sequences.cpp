#include "model/sequences.h"

#include "core/tensor_of.h"

namespace lacuna {

Sequences Sequences::equal(std::int64_t count, std::int64_t length) {
  Sequences s;
  for (std::int64_t i = 0; i <= count; ++i) s.offsets.push_back(std::int32_t(i * length));
  return s;
}

namespace {

/// Of Sequences that give them.
void check_rows(const Sequences& s, std::int64_t max_length) {
  CHECK(std::int64_t(s.positions.size()) == s.rows() && std::int64_t(s.keys.size()) == s.rows(),
        "sequences: ", s.positions.size(), " positions and ", s.keys.size(), " key intervals of ",
        s.rows(), " rows; there must be one of each per row, or none");
  for (std::size_t i = 0; i + 1 < s.offsets.size(); ++i)
    for (std::int32_t row = s.offsets[i]; row < s.offsets[i + 1]; ++row) {
      const std::int32_t position = s.positions[std::size_t(row)];
      CHECK(position >= 0 && position < max_length, "sequences: row ", row, " is at position ",
            position, "; model.max_seq_length is ", max_length);
      const KeyIntervals& k = s.keys[std::size_t(row)];
      const CacheRows own =
          s.slabs.empty() ? CacheRows{s.offsets[i], s.offsets[i + 1]} : s.slabs[i];
      CHECK(own.begin <= k.begin0 && k.begin0 < k.end0 && k.end0 <= k.begin1 &&
                k.begin1 <= k.end1 && k.end1 <= own.end,
            "sequences: row ", row, " attends to [", k.begin0, ",", k.end0, ") and [", k.begin1,
            ",", k.end1, "), which must ascend within its sequence, [", own.begin, ",", own.end,
            ")");
    }
}

void check_cache(const Sequences& s, std::int64_t rows) {
  CHECK(std::int64_t(s.slabs.size()) == s.count() &&
            std::int64_t(s.cache_rows.size()) == s.rows() && !s.keys.empty(),
        "sequences: ", s.slabs.size(), " slabs of ", s.count(), " sequences and ",
        s.cache_rows.size(), " cache rows of ", s.rows(),
        " rows; a model with a KV cache needs one of each, and key intervals");
  std::int32_t free = 0;
  for (std::size_t i = 0; i < s.slabs.size(); ++i) {
    const CacheRows& slab = s.slabs[i];
    CHECK(free <= slab.begin && slab.begin < slab.end && slab.end <= rows, "sequences: slab [",
          slab.begin, ",", slab.end, ") of sequence ", i, " must lie behind row ", free,
          " of a cache of ", rows);
    free = slab.end;
    for (std::int32_t row = s.offsets[i]; row < s.offsets[i + 1]; ++row) {
      const std::int32_t kept = s.cache_rows[std::size_t(row)];
      CHECK(slab.begin <= kept && kept < slab.end, "sequences: row ", row, " is kept in cache row ",
            kept, "; its slab is [", slab.begin, ",", slab.end, ")");
    }
  }
}

}  // namespace

void check(const Sequences& s, const ModelLimits& limits, std::int64_t max_length) {
  CHECK(s.count() >= 1 && s.offsets.front() == 0,
        "sequences: offsets must begin with 0 and give a sequence's end");
  CHECK(s.count() <= limits.sequences, "sequences: ", s.count(), " of them where at most ",
        limits.sequences, " were announced");
  for (std::size_t i = 1; i < s.offsets.size(); ++i) {
    const std::int64_t length = std::int64_t{s.offsets[i]} - s.offsets[i - 1];
    CHECK(length >= 1, "sequences: sequence ", i - 1, " is empty");
    CHECK(length <= max_length || !s.positions.empty(), "sequences: sequence ", i - 1, " has ",
          length, " tokens; model.max_seq_length is ", max_length);
  }
  if (limits.cache_rows > 0) check_cache(s, limits.cache_rows);
  if (!s.positions.empty() || !s.keys.empty()) check_rows(s, max_length);
  CHECK(s.rows() <= limits.rows, "sequences: ", s.rows(), " tokens where at most ", limits.rows,
        " were announced");
  const auto logit_rows = std::int64_t(s.logit_rows.size());
  CHECK(logit_rows <= limits.logit_rows, "sequences: ", logit_rows, " logit rows where at most ",
        limits.logit_rows, " were announced");
  for (std::size_t i = 0; i < s.logit_rows.size(); ++i) {
    const std::int32_t row = s.logit_rows[i];
    CHECK(row >= 0 && row < s.rows(), "sequences: logit row ", row, " of ", s.rows(), " rows");
    CHECK(i == 0 || row > s.logit_rows[i - 1], "sequences: logit rows must increase; ", row,
          " follows ", s.logit_rows[i - 1]);
  }
}

void SequencePlacer::Queries::reserve(std::int64_t rows, std::int64_t sequences) {
  positions.reserve(std::size_t(rows));
  keys.reserve(std::size_t(rows));
  offsets.reserve(std::size_t(sequences) + 1);
}

void SequencePlacer::Queries::clear() {
  positions.clear();
  keys.clear();
  offsets.assign(1, 0);
}

void SequencePlacer::Queries::add(std::int32_t position, const KeyIntervals& row_keys) {
  positions.push_back(position);
  keys.push_back(row_keys);
}

void SequencePlacer::Queries::add_to(std::vector<Upload>& uploads, const QueryTensors& to) const {
  uploads.push_back({to.positions, tensor_of(positions)});
  uploads.push_back({to.offsets, tensor_of(offsets)});
  uploads.push_back({to.keys, tensor_of(keys)});
}

SequencePlacer::SequencePlacer(const ModelLimits& limits, const AttentionMask& mask)
    : mask_(mask), cache_rows_(limits.cache_rows) {
  all_.reserve(limits.rows, limits.segments());
  logit_.reserve(limits.logit_rows, limits.segments());
  key_offsets_.reserve(std::size_t(limits.segments()) + 1);
}

std::int64_t SequencePlacer::segments(const Sequences& sequences) const {
  return cache_rows_ > 0 ? 2 * sequences.count() + 1 : sequences.count();
}

void SequencePlacer::end_segment(std::int32_t key_end) {
  all_.end_segment();
  logit_.end_segment();
  key_offsets_.push_back(key_end);
}

void SequencePlacer::place(Ops& ops, const SequenceTensors& to, Tensor tokens,
                           const Sequences& sequences) {
  all_.clear();
  logit_.clear();
  key_offsets_.assign(1, 0);
  const bool given = !sequences.positions.empty(), cached = cache_rows_ > 0;
  auto logit_row = sequences.logit_rows.begin();
  for (std::size_t s = 0; s + 1 < sequences.offsets.size(); ++s) {
    const std::int32_t begin = sequences.offsets[s], end = sequences.offsets[s + 1];
    if (cached) end_segment(sequences.slabs[s].begin);
    for (std::int32_t row = begin; row < end; ++row) {
      if (given)
        all_.add(sequences.positions[std::size_t(row)], sequences.keys[std::size_t(row)]);
      else
        all_.add(row - begin, mask_.keys(begin, end, row - begin));
    }
    for (; logit_row != sequences.logit_rows.end() && *logit_row < end; ++logit_row)
      logit_.add(all_.positions[std::size_t(*logit_row)], all_.keys[std::size_t(*logit_row)]);
    end_segment(cached ? sequences.slabs[s].end : end);
  }
  if (cached) end_segment(std::int32_t(cache_rows_));
  uploads_.clear();
  if (tokens.place == Place::host)
    uploads_.push_back({to.tokens, tokens});
  else
    ops.copy(to.tokens, tokens);
  all_.add_to(uploads_, to.all);
  uploads_.push_back({to.logit.rows, tensor_of(sequences.logit_rows)});
  logit_.add_to(uploads_, to.logit);
  if (cached) {
    uploads_.push_back({to.key_offsets, tensor_of(key_offsets_)});
    uploads_.push_back({to.cache_rows, tensor_of(sequences.cache_rows)});
  }
  ops.upload(uploads_);
}

}  // namespace lacuna
