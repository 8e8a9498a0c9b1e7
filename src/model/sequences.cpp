#include "model/sequences.h"

namespace lacuna {
namespace {

Tensor view(const std::vector<std::int32_t>& v) {
  return Tensor(const_cast<std::int32_t*>(v.data()), {std::int64_t(v.size())});
}

}  // namespace

Sequences Sequences::equal(std::int64_t count, std::int64_t length) {
  Sequences s;
  for (std::int64_t i = 0; i <= count; ++i) s.offsets.push_back(std::int32_t(i * length));
  return s;
}

void check(const Sequences& s, const ModelLimits& limits, std::int64_t max_length) {
  CHECK(s.count() >= 1 && s.offsets.front() == 0,
        "sequences: offsets must begin with 0 and give a sequence's end");
  CHECK(s.count() <= limits.sequences, "sequences: ", s.count(), " of them where at most ",
        limits.sequences, " were announced");
  for (std::size_t i = 1; i < s.offsets.size(); ++i) {
    const std::int64_t length = std::int64_t{s.offsets[i]} - s.offsets[i - 1];
    CHECK(length >= 1, "sequences: sequence ", i - 1, " is empty");
    CHECK(length <= max_length, "sequences: sequence ", i - 1, " has ", length,
          " tokens; model.max_length is ", max_length);
  }
  CHECK(s.rows() <= limits.rows, "sequences: ", s.rows(), " tokens where at most ", limits.rows,
        " were announced");
  const auto wanted = std::int64_t(s.head_rows.size());
  CHECK(wanted <= limits.head_rows, "sequences: ", wanted, " head rows where at most ",
        limits.head_rows, " were announced");
  for (std::size_t i = 0; i < s.head_rows.size(); ++i) {
    const std::int32_t row = s.head_rows[i];
    CHECK(row >= 0 && row < s.rows(), "sequences: head row ", row, " of ", s.rows(), " rows");
    CHECK(i == 0 || row > s.head_rows[i - 1], "sequences: head rows must increase; ", row,
          " follows ", s.head_rows[i - 1]);
  }
}

SequencePlacer::SequencePlacer(const ModelLimits& limits, Attention attention)
    : attention_(attention) {
  positions_.reserve(std::size_t(limits.rows));
  query_keys_.reserve(std::size_t(limits.rows));
  wanted_keys_.reserve(std::size_t(limits.head_rows));
  wanted_positions_.reserve(std::size_t(limits.head_rows));
  wanted_offsets_.reserve(std::size_t(limits.sequences) + 1);
}

void SequencePlacer::place(Ops& ops, const SequenceTensors& to, Tensor tokens,
                           const Sequences& sequences) {
  positions_.clear();
  wanted_positions_.clear();
  wanted_offsets_.assign(1, 0);
  query_keys_.clear();
  wanted_keys_.clear();
  auto head_row = sequences.head_rows.begin();
  for (std::size_t s = 0; s + 1 < sequences.offsets.size(); ++s) {
    const std::int32_t begin = sequences.offsets[s], end = sequences.offsets[s + 1];
    for (std::int32_t row = begin; row < end; ++row) {
      positions_.push_back(row - begin);
      query_keys_.push_back(attention_ == Attention::causal ? causal_keys(begin, row - begin)
                                                            : bidirectional_keys(begin, end));
    }
    for (; head_row != sequences.head_rows.end() && *head_row < end; ++head_row) {
      wanted_positions_.push_back(*head_row - begin);
      wanted_keys_.push_back(query_keys_[std::size_t(*head_row)]);
    }
    wanted_offsets_.push_back(std::int32_t(wanted_positions_.size()));
  }
  ops.copy(to.tokens, tokens);
  ops.copy(to.positions, view(positions_));
  ops.copy(to.offsets, view(sequences.offsets));
  ops.copy(to.query_keys, tensor_of(query_keys_));
  ops.copy(to.wanted_rows, view(sequences.head_rows));
  ops.copy(to.wanted_positions, view(wanted_positions_));
  ops.copy(to.wanted_keys, tensor_of(wanted_keys_));
  ops.copy(to.wanted_offsets, view(wanted_offsets_));
}

}  // namespace lacuna
