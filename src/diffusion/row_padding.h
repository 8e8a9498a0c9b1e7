#pragma once
#include <cstdint>
#include <vector>

#include "core/tensor.h"
#include "diffusion/noise.h"
#include "model/sequences.h"

namespace lacuna {

/// The numbers of rows that passes over micro-batches may have. On a device each number is another
/// set of GEMM shapes, for which a library chooses, and may time, algorithms; and how many tokens
/// are masked differs from micro-batch to micro-batch. So there rows are padded to one of at
/// most 32 numbers, equally far apart: on average by 1/64 of the most that a micro-batch may have.
class RowBuckets {
 public:
  /// For at most `most` rows. In main memory every number is a bucket of its own.
  RowBuckets(std::int64_t most, Place place);
  /// Buckets are the multiples of this below `most`, and `most`.
  std::int64_t unit() const { return unit_; }
  /// The smallest bucket of at least so many rows.
  std::int64_t padded(std::int64_t rows) const;
  std::int64_t most() const { return most_; }
  /// All of them, the largest first.
  std::vector<std::int64_t> sizes() const;
  /// What a Model needs so that any micro-batch within `limits` can be padded.
  ModelLimits with_padding(ModelLimits limits, std::int64_t max_length) const;

 private:
  std::int64_t most_, unit_;
};

/// A micro-batch as the model gets it: tokens padded by sequences of their own, which no other
/// sees, and logit rows by rows that are in no loss. Their weights are 0, so that what they add to
/// loss and gradients is 0.
struct PaddedBatch {
  Sequences sequences;
  std::vector<std::int32_t> tokens;   // of all rows
  std::vector<std::int32_t> targets;  // of all logit rows
  std::vector<float> weights;
  // Of row m of the batch [M], then of those of LossBatch::clean_rows: which logit row it is read
  // at. Several may be read at one, which has the sum of their weights.
  std::vector<std::int32_t> places;

  /// Of a batch for `model`. Keeps the memory it has. Error for more rows than the buckets allow.
  void fill(const LossBatch& batch, const RowBuckets& buckets, const ModelConfig& model);

 private:
  void add_padding(std::int64_t rows, std::int64_t max_length);
  void add_head_rows(const LossBatch& batch, const std::vector<std::int32_t>& rows,
                     const std::vector<std::int32_t>& losses, std::int64_t count);
};

}  // namespace lacuna
