#pragma once
#include <cstdint>
#include <vector>

#include "core/tensor.h"
#include "data/token_file.h"

namespace lacuna {

/// Corpora up to this size are kept in memory (per rank); of larger ones each window is read from
/// the file when it is asked for.
inline constexpr std::int64_t kLoaderMemory = std::int64_t{1} << 30;

/// Cuts a token file into sequences of T tokens and deals them out in a random order that depends
/// on nothing but the seed and a sample's global index. So the batch of a step is the same for any
/// number of ranks or micro-batches, and resuming needs one number: the index of the next sample.
///
/// The documents are laid end to end in a ring (the last, which ends with its end token, is
/// followed by the first). An epoch cuts the ring into windows() = floor(M / T) windows, from a
/// random phase in [0, T) so that epochs cut the text in different places, and deals each window
/// exactly once, permuted; fewer than T tokens are left out, others each epoch.
class Loader {
 public:
  /// Throws Error when the file holds fewer than `sequence_length` tokens, naming both lengths.
  /// `file` must outlive the loader.
  Loader(const TokenFile& file, std::int64_t sequence_length, std::uint64_t seed,
         std::int64_t memory_bytes = kLoaderMemory);

  /// Sequences per epoch.
  std::int64_t windows() const { return windows_; }
  std::int64_t sequence_length() const { return length_; }
  /// The epoch sample `index` belongs to.
  std::int64_t epoch(std::int64_t index) const { return index / windows_; }
  /// Where in the file the window of sample `index` begins, in tokens.
  std::int64_t start(std::int64_t index) const;

  /// Samples [first_sample, first_sample + count) into `tokens`, host i32 [count, T]. May be called
  /// from several threads when the corpus is in memory (HDF5 itself takes one at a time).
  void batch(std::int64_t first_sample, std::int64_t count, Tensor tokens) const;

  /// How many windows a validation that asks for `wanted` gets: min(wanted, windows()).
  std::int64_t validation_windows(std::int64_t wanted) const;
  /// Rows [first, first + count) of the validation set that has validation_windows(wanted) rows:
  /// windows of the file from its beginning, evenly spaced, never shuffled, the same for any seed.
  void validation_batch(std::int64_t first, std::int64_t count, std::int64_t wanted,
                        Tensor tokens) const;

 private:
  void read(std::int64_t start, std::int32_t* out) const;
  std::int32_t* rows(Tensor tokens, std::int64_t count) const;

  const TokenFile& file_;
  std::int64_t length_;
  std::uint64_t seed_;
  std::int64_t windows_;
  std::vector<std::int32_t> memory_;  // all tokens, or empty
};

}  // namespace lacuna
