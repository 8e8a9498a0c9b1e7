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

}  // namespace

Loader::Loader(const TokenFile& file, std::int64_t sequence_length, std::uint64_t seed,
               std::int64_t memory_bytes)
    : file_(file), length_(sequence_length), seed_(seed) {
  CHECK(length_ > 0, "data.sequence_length is ", length_, "; it must be at least 1");
  const std::int64_t n = file_.tokens();
  CHECK(n >= length_, file_.path(), ": holds ", counted(n, "token"),
        ", fewer than one sequence of ", length_,
        " (data.sequence_length); prepare more text or shorten the sequence");
  windows_ = n / length_;
  if (n <= memory_bytes / std::int64_t(sizeof(std::int32_t))) {
    std::vector<std::int32_t> all(static_cast<std::size_t>(n));
    file_.read(0, all);
    memory_ = std::move(all);
  }
}

std::int64_t Loader::start(std::int64_t index) const {
  CHECK(index >= 0, "sample ", index, " of ", file_.path());
  const CounterRng rng{seed_, Purpose::data_order, std::uint64_t(epoch(index))};
  const std::int64_t window = Permutation(windows_, rng)(index % windows_);
  const auto phase = std::int64_t(rng.below(std::uint64_t(length_), kPhaseBlock));
  return (phase + window * length_) % file_.tokens();
}

void Loader::read(std::int64_t start, std::int32_t* out) const {
  const std::int64_t n = file_.tokens();
  // A window that reaches the end goes on at the beginning.
  const std::int64_t before_end = std::min(length_, n - start);
  const std::int64_t from[2] = {start, 0}, count[2] = {before_end, length_ - before_end};
  for (int part = 0; part < 2; ++part) {
    if (count[part] == 0) continue;
    if (memory_.empty())
      file_.read(from[part], std::span(out, std::size_t(count[part])));
    else
      std::copy_n(memory_.data() + from[part], count[part], out);
    out += count[part];
  }
}

std::int32_t* Loader::rows(Tensor tokens, std::int64_t count) const {
  const Shape wanted{count, length_};
  CHECK(tokens.shape == wanted && tokens.contiguous() && tokens.place == Place::host, "a batch of ",
        wanted, " does not fit a tensor ", tokens);
  return tokens.as<std::int32_t>();
}

void Loader::batch(std::int64_t first_sample, std::int64_t count, Tensor tokens) const {
  std::int32_t* out = rows(tokens, count);
  for (std::int64_t i = 0; i < count; ++i) read(start(first_sample + i), out + i * length_);
}

std::int64_t Loader::validation_windows(std::int64_t wanted) const {
  return std::clamp<std::int64_t>(wanted, 0, windows_);
}

void Loader::validation_batch(std::int64_t first, std::int64_t count, std::int64_t wanted,
                              Tensor tokens) const {
  const std::int64_t n = validation_windows(wanted);
  CHECK(first >= 0 && count >= 0 && first + count <= n, "rows ", first, "+", count,
        " of a validation set of ", n);
  std::int32_t* out = rows(tokens, count);
  for (std::int64_t i = 0; i < count; ++i) {
    // i / n of the way through the windows; 128 bits, as the product of two counts may need them.
    const auto window =
        std::int64_t(static_cast<uint128>(first + i) * uint128(windows_) / uint128(n));
    read(window * length_, out + i * length_);
  }
}

}  // namespace lacuna
