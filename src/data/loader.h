#pragma once
#include <cstdint>
#include <vector>

#include "config/config.h"
#include "core/row_documents.h"
#include "core/tensor.h"
#include "data/token_file.h"

namespace lacuna {

/// Cuts a token file into sequences of T tokens and deals them out in a random order that depends
/// on nothing but the seed and a sample's index. So the batch of a step is the same for any number
/// of ranks or micro-batches, and resuming needs one number: the index of the next sample. May be
/// used by several threads.
///
/// The documents are laid end to end in a ring (the last, which ends with its end token, is
/// followed by the first). An epoch cuts the ring into windows() = floor(M / T) windows, from a
/// random phase in [0, T) so that epochs cut the text in different places, and deals each window
/// exactly once, permuted; fewer than T tokens are left out, others each epoch. With separate
/// documents and a file that has rows (lacuna prepare --row-length), those are the windows.
class Loader {
 public:
  /// `stream`: of the orders of several loaders with one seed. Throws Error when the file holds
  /// fewer than `sequence_length` tokens, naming both lengths, or has rows of another length that
  /// would be used. `file` must outlive the loader.
  Loader(const TokenFile& file, std::int64_t sequence_length, std::uint64_t seed,
         Documents documents = Documents::joined, std::uint64_t stream = 0);

  /// Sequences per epoch.
  std::int64_t windows() const { return windows_; }
  std::int64_t sequence_length() const { return length_; }
  /// The epoch sample `index` belongs to.
  std::int64_t epoch(std::int64_t index) const { return index / windows_; }
  /// Where in the file the window of sample `index` begins, in tokens.
  std::int64_t start(std::int64_t index) const;

  /// Sample `index` into out [T]; of a row, what it lacks of T tokens is 0. Where documents are
  /// separate, also into `documents`.
  void sample(std::int64_t index, std::int32_t* out, RowDocuments& documents) const;
  /// Samples [first_sample, first_sample + count) into `tokens`, host i32 [count, T].
  void batch(std::int64_t first_sample, std::int64_t count, Tensor tokens) const;

  /// How many windows a validation that asks for `wanted` gets: min(wanted, windows()).
  std::int64_t validation_windows(std::int64_t wanted) const;
  /// Rows [first, first + count) of the validation set that has validation_windows(wanted) rows:
  /// windows of the file from its beginning, evenly spaced, never shuffled, the same for any seed.
  void validation_batch(std::int64_t first, std::int64_t count, std::int64_t wanted,
                        Tensor tokens) const;
  /// The documents of those rows.
  std::vector<RowDocuments> validation_documents(std::int64_t first, std::int64_t count,
                                                 std::int64_t wanted) const;

 private:
  struct Window {
    std::int64_t start, length;
  };
  Window window(std::int64_t number, std::int64_t phase) const;
  Window window_of(std::int64_t index) const;
  Window validation_window(std::int64_t row, std::int64_t wanted) const;
  void read(const Window& window, std::int32_t* out) const;
  RowDocuments documents_of(const Window& window) const;
  std::int32_t* rows(Tensor tokens, std::int64_t count) const;

  const TokenFile& file_;
  std::int64_t length_;
  std::uint64_t seed_, stream_;
  bool separate_, rows_;
  std::int64_t windows_;
};

}  // namespace lacuna
