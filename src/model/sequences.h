#pragma once
#include <cstdint>
#include <vector>

#include "config/config.h"
#include "core/tensor.h"
#include "kernels/key_intervals.h"
#include "kernels/ops.h"

namespace lacuna {

/// What one forward pass sees: sequences laid end to end, which do not see each other, each with
/// positions from 0; and the rows whose hidden states are wanted. Of any mixture of lengths.
struct Sequences {
  std::vector<std::int32_t> offsets;    // [S+1]: sequence s is rows [offsets[s], offsets[s+1])
  std::vector<std::int32_t> head_rows;  // strictly increasing

  std::int64_t count() const { return offsets.empty() ? 0 : std::int64_t(offsets.size()) - 1; }
  std::int64_t rows() const { return offsets.empty() ? 0 : offsets.back(); }
  /// `count` sequences of `length` tokens, no head rows yet.
  static Sequences equal(std::int64_t count, std::int64_t length);
};

/// The most that one forward pass may be asked for.
struct ModelLimits {
  std::int64_t rows;       // tokens N
  std::int64_t sequences;  // S
  std::int64_t head_rows;  // M
  bool training;           // keep what backward() needs; without, blocks share their memory
};

/// Error naming what is not as `Sequences` says, exceeds the limits or is longer than
/// `max_length`.
void check(const Sequences& sequences, const ModelLimits& limits, std::int64_t max_length);

/// Sequences where the operations run: who attends to whom, at which positions.
struct SequenceTensors {
  Tensor tokens;            // i32 [N]
  Tensor positions;         // i32 [N], of each row within its sequence
  Tensor offsets;           // i32 [S+1]
  Tensor query_keys;        // i32 [N,4], the KeyIntervals of each row
  Tensor wanted_rows;       // i32 [M], the head rows
  Tensor wanted_positions;  // i32 [M]
  Tensor wanted_keys;       // i32 [M,4]
  Tensor wanted_offsets;    // i32 [S+1]: sequence s has wanted rows [wanted_offsets[s],
                            // wanted_offsets[s+1])
};

/// Fills SequenceTensors. Allocates nothing after its construction.
class SequencePlacer {
 public:
  SequencePlacer(const ModelLimits& limits, Attention attention);
  /// `tokens` i32 [N], in any place.
  void place(Ops& ops, const SequenceTensors& to, Tensor tokens, const Sequences& sequences);

 private:
  Attention attention_;
  std::vector<std::int32_t> positions_, wanted_positions_, wanted_offsets_;
  std::vector<KeyIntervals> query_keys_, wanted_keys_;
};

}  // namespace lacuna
