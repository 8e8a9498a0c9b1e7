#include "data/mixture.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/check.h"
#include "core/philox.h"
#include "data/permutation.h"

namespace lacuna {
namespace {

constexpr std::int64_t kShortestPeriod = std::int64_t{1} << 12,
                       kLongestPeriod = std::int64_t{1} << 20;
// How far a source's share may be from its weight, relative to it.
constexpr double kRounding = 0.01;
// The streams of the data order from here to those of prepare's split; epochs never count this far.
constexpr std::uint64_t kMixtureStream = std::uint64_t{1} << 62;

/// Whole numbers in proportion to `weights` that sum to `period`: the remainders are given to those
/// with the largest.
std::vector<std::int64_t> quantised(const std::vector<double>& weights, std::int64_t period) {
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  std::vector<std::int64_t> counts;
  std::vector<double> remainders;
  std::int64_t left = period;
  for (const double weight : weights) {
    const double exact = weight / sum * double(period);
    counts.push_back(std::int64_t(exact));
    remainders.push_back(exact - std::floor(exact));
    left -= counts.back();
  }
  std::vector<std::size_t> order(weights.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return remainders[a] > remainders[b]; });
  for (std::size_t i = 0; left > 0; --left) ++counts[order[i++ % order.size()]];
  return counts;
}

bool close_enough(const std::vector<std::int64_t>& counts, const std::vector<double>& weights) {
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  const auto period = double(std::accumulate(counts.begin(), counts.end(), std::int64_t{0}));
  for (std::size_t j = 0; j < weights.size(); ++j) {
    const double exact = weights[j] / sum * period;
    if (std::fabs(double(counts[j]) - exact) > kRounding * exact) return false;
  }
  return true;
}

std::vector<std::int64_t> counts_of(const std::vector<double>& weights) {
  for (std::int64_t period = kShortestPeriod; period <= kLongestPeriod; period *= 2)
    if (std::vector<std::int64_t> counts = quantised(weights, period);
        close_enough(counts, weights))
      return counts;
  fail(str("the weights of data.sources differ too much: none may be less than about ",
           50.0 / double(kLongestPeriod), " of their sum"));
}

}  // namespace

Mixture::Mixture(const std::vector<Stage>& stages, std::uint64_t seed) {
  CHECK(!stages.empty() && stages.front().first_sample == 0, "a mixture begins at sample 0");
  const std::size_t sources = stages.front().weights.size();
  for (const Stage& stage : stages) {
    CHECK(stage.weights.size() == sources, "a mixture of ", sources, " sources has ",
          stage.weights.size(), " weights");
    const double sum = std::accumulate(stage.weights.begin(), stage.weights.end(), 0.0);
    CHECK(std::isfinite(sum) && sum > 0, "the weights of a mixture sum to ", sum);
    Part part{stage.first_sample, {}, counts_of(stage.weights), std::vector<std::int64_t>(sources)};
    if (!parts_.empty()) {
      const Part& last = parts_.back();
      CHECK(part.first > last.first, "stages of a mixture begin at samples ", last.first, " and ",
            part.first);
      for (std::size_t j = 0; j < sources; ++j)
        part.before[j] = last.before[j] + drawn(last, j, part.first - last.first);
    }
    const CounterRng rng{seed, Purpose::data_order, kMixtureStream + parts_.size()};
    std::vector<std::int64_t> ends(sources);  // of the permuted slots of each source
    std::partial_sum(part.counts.begin(), part.counts.end(), ends.begin());
    std::vector<std::uint32_t> next(sources);
    const Permutation permuted(ends.back(), rng);
    for (std::int64_t i = 0; i < ends.back(); ++i) {
      const auto source =
          std::size_t(std::upper_bound(ends.begin(), ends.end(), permuted(i)) - ends.begin());
      part.slots.push_back({std::uint32_t(source), next[source]++});
    }
    parts_.push_back(std::move(part));
  }
}

const Mixture::Part& Mixture::part_of(std::int64_t sample) const {
  CHECK(sample >= 0, "sample ", sample, " of a mixture");
  const auto after =
      std::upper_bound(parts_.begin(), parts_.end(), sample,
                       [](std::int64_t at, const Part& part) { return at < part.first; });
  return *(after - 1);
}

Mixture::Place Mixture::operator()(std::int64_t sample) const {
  const Part& part = part_of(sample);
  const std::int64_t index = sample - part.first, period = std::int64_t(part.slots.size());
  const Slot& slot = part.slots[std::size_t(index % period)];
  return {slot.source,
          part.before[slot.source] + index / period * part.counts[slot.source] + slot.number};
}

/// Of the first `samples` samples of a stage.
std::int64_t Mixture::drawn(const Part& part, std::size_t source, std::int64_t samples) {
  const auto period = std::int64_t(part.slots.size());
  const auto begin = part.slots.begin();
  return samples / period * part.counts[source] +
         std::count_if(begin, begin + samples % period,
                       [&](const Slot& slot) { return slot.source == source; });
}

std::int64_t Mixture::drawn(std::size_t source, std::int64_t samples) const {
  if (samples <= 0) return 0;
  const Part& part = part_of(samples - 1);
  return part.before[source] + drawn(part, source, samples - part.first);
}

double Mixture::share(std::size_t source, std::int64_t sample) const {
  const Part& part = part_of(sample);
  return double(part.counts[source]) / double(part.slots.size());
}

}  // namespace lacuna
