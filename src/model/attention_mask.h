#pragma once
#include <cstdint>

#include "config/config.h"
#include "kernels/key_intervals.h"

namespace lacuna {

/// Which keys a token attends to in a model: its attention, as training, scoring and decoding apply
/// it. Blocks of a block-causal model are divided from position 0 of a sequence.
class AttentionMask {
 public:
  explicit AttentionMask(const ModelConfig& config)
      : attention_(config.attention),
        block_size_(config.block_size),
        causal_context_(config.causal_context) {}

  /// Of the token at `position` of a sequence whose keys are the rows [begin, end), one per
  /// position. Of a block-causal model the last block of the sequence is the one that is generated,
  /// and may hold masks; earlier ones are finished.
  KeyIntervals keys(std::int64_t begin, std::int64_t end, std::int64_t position) const {
    if (attention_ == Attention::bidirectional) return bidirectional_keys(begin, end);
    const bool generated = position / std::max<std::int64_t>(1, block_size_) ==
                           (end - begin - 1) / std::max<std::int64_t>(1, block_size_);
    return attention_ == Attention::block_causal && generated
               ? block_causal_keys(begin, end, position, block_size_)
               : context_keys(begin, end, position);
  }

  /// The same, of a token in a finished block: what keys and values are cached with. Differs from
  /// keys() where model.causal_context is set. Not of a bidirectional model, which has none.
  KeyIntervals context_keys(std::int64_t begin, std::int64_t end, std::int64_t position) const {
    return attention_ == Attention::causal || causal_context_
               ? causal_keys(begin, position)
               : block_causal_keys(begin, end, position, block_size_);
  }

 private:
  Attention attention_;
  std::int64_t block_size_;
  bool causal_context_;
};

}  // namespace lacuna
