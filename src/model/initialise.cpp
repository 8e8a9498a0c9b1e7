#include <algorithm>
#include <cmath>

#include "core/parallel.h"
#include "core/philox.h"
#include "model/weights.h"

namespace lacuna {
namespace {

constexpr double kCut = 3;  // in sigmas

/// Element `element` of tensor number `tensor`: drawn, and drawn again until within the cut. Draw k
/// is from stream (tensor, k), so that no element's number depends on another's luck.
double truncated_normal(std::uint64_t seed, std::uint64_t tensor, std::uint64_t element,
                        double first) {
  double x = first;
  for (std::uint64_t draw = 1; std::abs(x) > kCut; ++draw) {
    const CounterRng rng{seed, Purpose::initial_weights, draw << 32 | tensor};
    x = rng.normal_pair(std::uint32_t(element / 2))[element % 2];
  }
  return x;
}

/// out[i] = sigma times the truncated normal of element begin + i; `begin` is even.
void draw(float* out, std::uint64_t begin, std::uint64_t n, double sigma, std::uint64_t seed,
          std::uint64_t tensor) {
  const CounterRng rng{seed, Purpose::initial_weights, tensor};
  for (std::uint64_t i = 0; i < n; i += 2) {
    const auto pair = rng.normal_pair(std::uint32_t((begin + i) / 2));
    for (std::uint64_t j = 0; j < std::min<std::uint64_t>(2, n - i); ++j)
      out[i + j] =
          float(sigma * truncated_normal(seed, tensor, begin + i + j, pair[std::size_t(j)]));
  }
}

double sigma_of(const NamedWeight& w, const ModelConfig& m) {
  // attn_out and a block's ff_out write to the residual stream: the deeper, the smaller.
  const bool writes =
      w.block >= 0 && (w.name.ends_with(".attn_out.weight") || w.name.ends_with(".ff_out.weight"));
  if (!writes) return 1 / std::sqrt(double(m.width));
  return 1 / std::sqrt(2.0 * (w.block + 1) * double(w.tensor.cols()));
}

}  // namespace

void initialise(const ModelTensors& weights, const ModelConfig& config, std::uint64_t seed,
                Ops& ops) {
  constexpr std::int64_t kPiece = std::int64_t{1} << 22;  // elements, even; 16 MiB of f32
  ThreadPool pool;
  std::vector<float> staging;
  for (std::size_t number = 0; number < weights.named().size(); ++number) {
    const NamedWeight& w = weights.named()[number];
    if (w.kind == WeightKind::norm) {
      ops.fill(w.tensor, 1.0f);
      continue;
    }
    const double sigma = sigma_of(w, config);
    const Tensor flat = w.tensor.reshaped({w.tensor.count()});
    for (std::int64_t from = 0; from < flat.count(); from += kPiece) {
      const std::int64_t n = std::min(kPiece, flat.count() - from);
      staging.resize(std::size_t(n));
      pool.for_ranges(n, 2, [&](std::int64_t begin, std::int64_t end) {
        draw(staging.data() + begin, std::uint64_t(from + begin), std::uint64_t(end - begin), sigma,
             seed, number);
      });
      ops.copy(flat.row_range(from, n), Tensor(staging.data(), {n}));
      ops.synchronize();  // the staging buffer is written again
    }
  }
}

}  // namespace lacuna
