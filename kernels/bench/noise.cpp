#include "kernels/bench/noise.h"

#include <algorithm>

#include "core/philox.h"

namespace lacuna {

Noise::Noise(Distribution distribution) {
  const CounterRng rng{1, Purpose::benchmark, 0};
  for (std::int64_t i = 0; i < kPeriod; ++i)
    drawn_.push_back(distribution == Distribution::normal
                         ? float(rng.normal_pair(std::uint32_t(i / 2))[std::size_t(i % 2)])
                         : 2 * rng.uniform(std::uint32_t(i)) - 1);
}

void Noise::fill(Ops& ops, Tensor x, float scale) {
  const Tensor flat = x.reshaped({x.count()});
  std::int64_t done = std::min(kPeriod, flat.count());
  const std::int64_t first = calls_++ * 7919 % kPeriod;
  std::vector<float> start;
  for (std::int64_t i = 0; i < done; ++i)
    start.push_back(scale * drawn_[std::size_t((first + i) % kPeriod)]);
  ops.copy(flat.row_range(0, done), Tensor(start.data(), {done}));
  while (done < flat.count()) {  // each copy doubles what there is
    const std::int64_t n = std::min(done, flat.count() - done);
    ops.copy(flat.row_range(done, n), flat.row_range(0, n));
    done += n;
  }
}

}  // namespace lacuna
