#include "data/loader.h"

#include <algorithm>
#include <span>

#include "core/check.h"
#include "core/philox.h"
#include "core/text.h"
#include "data/permutation.h"

namespace lacuna {
namespace {

// The permutation uses blocks below 2^31 of the epoch's stream; the phase takes the last one.
constexpr std::uint32_t kPhaseBlock = 0xffffffff;
// Epochs never count this far.
constexpr int kStreamBits = 40;

}  // namespace

Loader::Loader(const TokenFile& file, std::int64_t sequence_length, std::uint64_t seed,
               Documents documents, std::uint64_t stream)
    : file_(file),
      length_(sequence_length),
      seed_(seed),
      stream_(stream << kStreamBits),
      separate_(documents == Documents::separate),
      rows_(separate_ && file.row_length() > 0) {
  CHECK(length_ > 0, "data.sequence_length is ", length_, "; it must be at least 1");
  if (rows_ && file_.row_length() != length_)
    fail_usage(str("data.sequence_length = ", length_, ", but ", file_.path(),
                   " was prepared with --row-length ", file_.row_length(),
                   "; set it to that, or prepare the file again"));
  const std::int64_t n = file_.tokens();
  CHECK(rows_ || n >= length_, file_.path(), ": holds ", counted(n, "token"),
        ", fewer than one sequence of ", length_,
        " (data.sequence_length); prepare more text or shorten the sequence");
  windows_ = rows_ ? file_.rows() : n / length_;
}

Loader::Window Loader::window(std::int64_t number, std::int64_t phase) const {
  if (!rows_) return {(phase + number * length_) % file_.tokens(), length_};
  const std::int64_t start = file_.row(number), length = file_.row(number + 1) - start;
  CHECK(length > 0 && length <= length_, file_.path(), ": row ", number, " has ", length,
        " tokens, of at most ", length_);
  return {start, length};
}

Loader::Window Loader::window_of(std::int64_t index) const {
  CHECK(index >= 0, "sample ", index, " of ", file_.path());
  const CounterRng rng{seed_, Purpose::data_order, stream_ + std::uint64_t(epoch(index))};
  const std::int64_t number = Permutation(windows_, rng)(index % windows_);
  return window(number, std::int64_t(rng.below(std::uint64_t(length_), kPhaseBlock)));
}

std::int64_t Loader::start(std::int64_t index) const { return window_of(index).start; }

void Loader::read(const Window& window, std::int32_t* out) const {
  // A window that reaches the end goes on at the beginning.
  const std::int64_t before_end = std::min(window.length, file_.tokens() - window.start);
  file_.read(window.start, std::span(out, std::size_t(before_end)));
  file_.read(0, std::span(out + before_end, std::size_t(window.length - before_end)));
  std::fill(out + window.length, out + length_, 0);
}

RowDocuments Loader::documents_of(const Window& window) const {
  RowDocuments documents{{}, std::int32_t(window.length)};
  std::int64_t before = 0;  // tokens of the window before the part of the ring that is looked at
  for (std::int64_t at = window.start; before < window.length; at = 0) {
    const std::int64_t end = std::min(window.length, before + file_.tokens() - at);
    if (before > 0) documents.starts.push_back(std::int32_t(before));
    for (std::int64_t i = file_.document_of(at) + 1; i < file_.documents(); ++i) {
      const std::int64_t start = before + file_.offset(i) - at;
      if (start >= end) break;
      if (start > (documents.starts.empty() ? 0 : documents.starts.back()))
        documents.starts.push_back(std::int32_t(start));
    }
    before = end;
  }
  return documents;
}

std::int32_t* Loader::rows(Tensor tokens, std::int64_t count) const {
  const Shape wanted{count, length_};
  CHECK(tokens.shape == wanted && tokens.contiguous() && tokens.place == Place::host, "a batch of ",
        wanted, " does not fit a tensor ", tokens);
  return tokens.as<std::int32_t>();
}

void Loader::sample(std::int64_t index, std::int32_t* out, RowDocuments& documents) const {
  const Window window = window_of(index);
  read(window, out);
  if (separate_) documents = documents_of(window);
}

void Loader::batch(std::int64_t first_sample, std::int64_t count, Tensor tokens) const {
  std::int32_t* out = rows(tokens, count);
  for (std::int64_t i = 0; i < count; ++i) read(window_of(first_sample + i), out + i * length_);
}

std::int64_t Loader::validation_windows(std::int64_t wanted) const {
  return std::clamp<std::int64_t>(wanted, 0, windows_);
}

Loader::Window Loader::validation_window(std::int64_t row, std::int64_t wanted) const {
  const std::int64_t n = validation_windows(wanted);
  CHECK(row >= 0 && row < n, "row ", row, " of a validation set of ", n);
  // row / n of the way through the windows; 128 bits, as the product of two counts may need them.
  return window(std::int64_t(static_cast<uint128>(row) * uint128(windows_) / uint128(n)), 0);
}

void Loader::validation_batch(std::int64_t first, std::int64_t count, std::int64_t wanted,
                              Tensor tokens) const {
  std::int32_t* out = rows(tokens, count);
  for (std::int64_t i = 0; i < count; ++i)
    read(validation_window(first + i, wanted), out + i * length_);
}

std::vector<RowDocuments> Loader::validation_documents(std::int64_t first, std::int64_t count,
                                                       std::int64_t wanted) const {
  std::vector<RowDocuments> documents;
  for (std::int64_t i = 0; i < count; ++i)
    documents.push_back(documents_of(validation_window(first + i, wanted)));
  return documents;
}

}  // namespace lacuna
