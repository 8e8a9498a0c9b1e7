#include "diffusion/validation.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <span>
#include <utility>

#include "core/philox.h"
#include "diffusion/block_noise.h"
#include "diffusion/separate_documents.h"

namespace lacuna {
namespace {

LossBatch noisy_batch(const NoiseOptions& options, Tensor clean, std::int64_t first,
                      std::int64_t sequences, std::span<const double> ratios) {
  if (options.objective == Objective::block_diffusion)
    return make_block_batch(options, clean, clean.cols(), first, sequences, ratios);
  std::vector<float> p;
  for (const double t : ratios) p.push_back(mask_probability(t, options.min_mask_probability));
  return make_noisy_batch(options, clean, clean.cols(), first, sequences, p);
}

}  // namespace

void ValidationDetail::add(const LossBatch& batch, std::span<const float> row_losses,
                           std::span<const std::int64_t> sequences) {
  const auto n = double(estimates_.size());
  std::size_t b = 0;  // the row's sequence
  for (std::size_t m = 0; m < batch.rows.size(); ++m) {
    const auto row = std::size_t(batch.rows[m]);
    if (batch.offsets.empty())
      b = row / std::size_t(batch.length);
    else
      while (std::int64_t(row) >= batch.offsets[b + 1]) ++b;
    const auto loss = double(row_losses[m]);
    estimates_[std::size_t(sequences[b])] += n * batch.weights[m] * loss;
    const double p = batch.p_mask.empty() ? batch.p[b] : batch.p_mask[row];
    const std::size_t range = std::min(std::size_t(p * kRanges), kRanges - 1);
    loss_[range] += loss;
    tokens_[range] += 1;
  }
}

void ValidationDetail::sum_over(Communicator& ranks) {
  std::vector<double> all = estimates_;
  all.insert(all.end(), loss_.begin(), loss_.end());
  all.insert(all.end(), tokens_.begin(), tokens_.end());
  ranks.all_reduce(Tensor(all.data(), Shape{std::int64_t(all.size())}), Reduce::sum);
  ranks.wait();
  const auto sums = all.begin() + std::ptrdiff_t(estimates_.size());
  std::copy(all.begin(), sums, estimates_.begin());
  std::copy(sums, sums + kRanges, loss_.begin());
  std::copy(sums + kRanges, all.end(), tokens_.begin());
}

double ValidationDetail::standard_error(std::span<const double> ratios) const {
  const std::size_t n = estimates_.size();
  std::vector<std::size_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  const std::size_t size = ratios.empty() ? n : 2;  // of a group, the last but one more
  if (!ratios.empty())
    std::sort(order.begin(), order.end(),
              [&](std::size_t a, std::size_t b) { return ratios[a] < ratios[b]; });
  double variance = 0;  // of the sum
  for (std::size_t begin = 0; begin + 1 < n;) {
    const std::size_t end = n - begin < 2 * size ? n : begin + size;
    const auto members = double(end - begin);
    double mean = 0, squares = 0;
    for (std::size_t i = begin; i < end; ++i) mean += estimates_[order[i]] / members;
    for (std::size_t i = begin; i < end; ++i)
      squares += (estimates_[order[i]] - mean) * (estimates_[order[i]] - mean);
    variance += members * squares / (members - 1);
    begin = end;
  }
  return std::sqrt(variance) / double(n);
}

std::array<double, ValidationDetail::kRanges> ValidationDetail::loss_by_mask_probability() const {
  std::array<double, kRanges> means{};
  for (std::size_t i = 0; i < kRanges; ++i)
    means[i] = tokens_[i] > 0 ? loss_[i] / tokens_[i] : std::numeric_limits<double>::quiet_NaN();
  return means;
}

std::vector<double> validation_ratios(std::int64_t n) {
  std::vector<std::int64_t> stratum(static_cast<std::size_t>(n));
  std::iota(stratum.begin(), stratum.end(), 0);
  const CounterRng rng{kValidationSeed, Purpose::mask_ratio, std::uint64_t(n)};
  // Fisher and Yates. Each number has a block of its own: 2i for the shuffle, 2i + 1 within.
  for (std::int64_t i = n - 1; i > 0; --i)
    std::swap(stratum[std::size_t(i)],
              stratum[std::size_t(rng.below(std::uint64_t(i) + 1, std::uint32_t(2 * i)))]);
  std::vector<double> ratios;
  ratios.reserve(stratum.size());
  for (std::int64_t i = 0; i < n; ++i)
    ratios.push_back((double(stratum[std::size_t(i)]) + rng.uniform53(std::uint32_t(2 * i + 1))) /
                     double(n));
  return ratios;
}

double validation_bound(ObjectiveRunner& runner, const NoiseOptions& options,
                        const ValidationSet& set, std::int64_t micro_batch) {
  return validation_share(runner, options, set, micro_batch, 0, set.sequences);
}

double validation_share(ObjectiveRunner& runner, const NoiseOptions& options,
                        const ValidationSet& set, std::int64_t micro_batch, std::int64_t first,
                        std::int64_t count, ValidationDetail* detail) {
  CHECK(set.sequences >= 1 && set.length >= 1, "validation on ", set.sequences, " sequences of ",
        set.length, " tokens");
  CHECK(first >= 0 && count >= 0 && first + count <= set.sequences, "sequences ", first, "+", count,
        " of a validation set of ", set.sequences);
  CHECK(micro_batch >= 1, "validation in micro-batches of ", micro_batch);
  NoiseOptions fixed = options;
  fixed.seed = kValidationSeed;
  const std::vector<double> ratios = validation_ratios(set.sequences);
  std::vector<std::int32_t> clean(std::size_t(std::min(micro_batch, count) * set.length));
  std::vector<std::int64_t> numbers;
  double sum = 0;
  for (std::int64_t at = first; at < first + count;) {
    const std::int64_t n = std::min(micro_batch, first + count - at);
    const Tensor tokens(clean.data(), {n, set.length});
    set.read(at, n, tokens);
    LossBatch batch = noisy_batch(fixed, tokens, at, set.sequences,
                                  std::span(ratios).subspan(std::size_t(at), std::size_t(n)));
    if (set.documents) {
      numbers = separate_documents(fixed, set.documents(at, n), at, batch);
    } else {
      numbers.resize(std::size_t(n));
      std::iota(numbers.begin(), numbers.end(), 0);
    }
    sum += runner.loss(batch);
    if (detail) {
      for (std::int64_t& number : numbers) number += at;
      detail->add(batch, runner.row_losses(), numbers);
    }
    at += n;
  }
  return sum;
}

}  // namespace lacuna
