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

/// out[i] = sigma times the truncated normal of element begin + i.
void draw(float* out, std::uint64_t begin, std::uint64_t n, double sigma, std::uint64_t seed,
          std::uint64_t tensor) {
  const CounterRng rng{seed, Purpose::initial_weights, tensor};
  for (std::uint64_t e = begin; e < begin + n;) {
    const auto pair = rng.normal_pair(std::uint32_t(e / 2));
    for (std::uint64_t last = std::min(begin + n, (e / 2 + 1) * 2); e < last; ++e)
      out[e - begin] = float(sigma * truncated_normal(seed, tensor, e, pair[e % 2]));
  }
}

/// Calls work(i, element, n) for the runs of [begin, end) of what a rank holds of a weight that are
/// also runs of the whole weight: from i on, n elements; the first is the whole's `element`.
void for_runs(const NamedWeight& w, std::int64_t begin, std::int64_t end, auto&& work) {
  const std::int64_t cols = w.tensor.cols(), whole_cols = Tensor(nullptr, w.whole).cols();
  for (std::int64_t i = begin; i < end;) {
    const std::int64_t row = i / cols, col = i % cols,
                       n = cols == whole_cols ? end - i : std::min(cols - col, end - i);
    work(i, (w.row + row) * whole_cols + w.col + col, n);
    i += n;
  }
}

/// out[i] = uniform in +-bound, of element begin + i.
void draw_uniform(float* out, std::uint64_t begin, std::uint64_t n, double bound,
                  std::uint64_t seed, std::uint64_t tensor) {
  // Of an adapter: not the stream of the weight of the same number.
  const CounterRng rng{seed, Purpose::initial_weights, std::uint64_t{1} << 63 | tensor};
  for (std::uint64_t i = 0; i < n; ++i)
    out[i] = float(bound * (2 * rng.uniform53(std::uint32_t(begin + i)) - 1));
}

double sigma_of(const NamedWeight& w, const ModelConfig& m) {
  if (w.spec->scale == InitialScale::reads_residual) return 1 / std::sqrt(double(m.hidden_size));
  return 1 / std::sqrt(2.0 * (w.block + 1) * double(Tensor(nullptr, w.whole).cols()));
}

}  // namespace

void initialise(const std::vector<WeightPiece>& pieces, const ModelTensors& weights,
                const ModelConfig& config, std::uint64_t seed, Ops& ops) {
  constexpr std::int64_t kStaged = std::int64_t{1} << 22;  // elements; 16 MiB of f32
  ThreadPool pool;
  std::vector<float> staging;
  for (const WeightPiece& piece : pieces) {
    const NamedWeight& w = weights.named()[piece.weight];
    if (w.spec->scale == InitialScale::ones || w.spec->scale == InitialScale::zeros) {
      ops.fill(piece.values, w.spec->scale == InitialScale::ones ? 1.0f : 0.0f);
      continue;
    }
    const bool uniform = w.spec->scale == InitialScale::uniform;
    const double size =
        uniform ? 1 / std::sqrt(double(w.whole[w.whole.rank - 1])) : sigma_of(w, config);
    for (std::int64_t from = 0; from < piece.values.count(); from += kStaged) {
      const std::int64_t n = std::min(kStaged, piece.values.count() - from);
      staging.resize(std::size_t(n));
      const std::int64_t first = piece.first + from;
      pool.for_ranges(n, 2, [&](std::int64_t begin, std::int64_t end) {
        for_runs(w, first + begin, first + end,
                 [&](std::int64_t i, std::int64_t element, std::int64_t count) {
                   (uniform ? draw_uniform : draw)(staging.data() + i - first,
                                                   std::uint64_t(element), std::uint64_t(count),
                                                   size, seed, piece.weight);
                 });
      });
      ops.copy(piece.values.row_range(from, n), Tensor(staging.data(), {n}));
      ops.synchronize();  // the staging buffer is written again
    }
  }
}

void initialise(const ModelTensors& weights, const ModelConfig& config, std::uint64_t seed,
                Ops& ops) {
  initialise(pieces_within(weights, {{0, weights.flat().count()}}), weights, config, seed, ops);
}

}  // namespace lacuna
