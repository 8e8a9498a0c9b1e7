#include "core/philox.h"
#include "kernels/cuda/columns.cuh"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/dispatch.h"
#include "kernels/cuda/reduce.cuh"

// Each row is read in pieces of fixed size (so that a row's results do not depend on how many rows
// there are), a block per piece, whose threads hold it in registers; then a warp per row puts its
// pieces together. With noise, the pieces where the draw may lie are read once more, now that the
// row's maximum is known: noise is bounded, so most tokens need none, and nearly all no logarithm
// in f64.

namespace lacuna {
namespace {

constexpr int kThreads = 256, kRowThreads = 32;
constexpr int kPiece = 8192, kPerThread = kPiece / kThreads;
constexpr float kLowest = -3.402823466e38f;
constexpr std::int32_t kNone = 0x7fffffff;
// -log(-log u) for the largest u, 1 - 2^-53, and some more for rounding.
constexpr float kMostNoise = 36.75f;

// --- the softmax of a row ------------------------------------------------------------------------

/// What is known of some of a row's logits x: with d = x - max, the sums of exp(d) and of d exp(d),
/// the first place of the maximum, and the largest of the others.
struct Softmax {
  float max, second, sum, weighted;
  std::int32_t argmax;

  __device__ float probability(float x) const { return expf(x - max) / sum; }
};

__device__ __forceinline__ Softmax merged(const Softmax& a, const Softmax& b) {
  Softmax c;
  const bool first = a.max > b.max || (a.max == b.max && a.argmax < b.argmax);
  c.argmax = first ? a.argmax : b.argmax;
  c.max = fmaxf(a.max, b.max);
  // Where nothing was, the maximum is no logit.
  const float lower = fminf(a.sum > 0 ? a.max : -INFINITY, b.sum > 0 ? b.max : -INFINITY);
  c.second = fmaxf(lower, fmaxf(a.second, b.second));
  const float by_a = fmaxf(a.max - c.max, kLowest), by_b = fmaxf(b.max - c.max, kLowest);
  const float scale_a = expf(by_a), scale_b = expf(by_b);
  c.sum = a.sum * scale_a + b.sum * scale_b;
  c.weighted = (a.weighted + by_a * a.sum) * scale_a + (b.weighted + by_b * b.sum) * scale_b;
  return c;
}

/// That of a warp, in lane 0; pairs are joined in a fixed order.
__device__ __forceinline__ Softmax warp_merged(Softmax s) {
  for (unsigned by = 16; by; by /= 2) {
    Softmax other;
    other.max = __shfl_down_sync(~0u, s.max, by);
    other.second = __shfl_down_sync(~0u, s.second, by);
    other.sum = __shfl_down_sync(~0u, s.sum, by);
    other.weighted = __shfl_down_sync(~0u, s.weighted, by);
    other.argmax = __shfl_down_sync(~0u, s.argmax, by);
    if (threadIdx.x % kWarpSize < by) s = merged(s, other);
  }
  return s;
}

/// A thread's share of a piece: `count` packs of n columns, those of a block side by side.
template <int n>
struct Share {
  static constexpr int count = kPerThread / n;
  int begin, end;  // of the piece

  __device__ explicit Share(int cols)
      : begin(int(blockIdx.y) * kPiece), end(cols - begin < kPiece ? cols : begin + kPiece) {}
  __device__ int column(int pack) const { return begin + (pack * kThreads + int(threadIdx.x)) * n; }
};

/// Columns of a row, those of forbidden tokens as -inf.
template <class T, bool packed>
struct Row {
  static constexpr int n = kPackOf<T>;
  const T* x;
  int cols;
  ForbiddenTokens forbidden;

  __device__ Pack<float, n> load(int column, const Share<n>& share) const {
    Pack<float, n> pack = load_columns<n, packed>(x, column, cols);
    for (const std::int32_t id : forbidden) {
      if (id < share.begin || id >= share.end) continue;  // the same for the whole block
      for (int j = 0; j < n; ++j) pack.v[j] = column + j == id ? -INFINITY : pack.v[j];
    }
    return pack;
  }
  /// NaN for what is no token.
  __device__ float operator[](std::int32_t token) const {
    if (token < 0 || token >= cols) return NAN;
    for (const std::int32_t id : forbidden)
      if (token == id) return -INFINITY;
    return widen(x[token]);
  }
};

/// A matrix of logits.
template <class T, bool packed>
struct Logits {
  const T* x;
  std::int64_t stride;
  int cols;
  ForbiddenTokens forbidden;

  __device__ Row<T, packed> row(unsigned i) const {
    return {x + std::int64_t{i} * stride, cols, forbidden};
  }
};

/// `wide`: with `second` and `weighted`.
template <class T, bool packed, bool wide>
__global__ void softmax_kernel(Softmax* pieces, Logits<T, packed> logits) {
  constexpr int n = kPackOf<T>;
  const Row<T, packed> row = logits.row(blockIdx.x);
  const Share<n> share(logits.cols);
  Pack<float, n> x[Share<n>::count];
#pragma unroll
  for (int i = 0; i < share.count; ++i) x[i] = row.load(share.column(i), share);
  float my_max = -INFINITY, my_second = -INFINITY;
#pragma unroll
  for (int i = 0; i < share.count; ++i)
    for (const float value : x[i].v) {
      if (wide) my_second = fmaxf(my_second, fminf(my_max, value));
      my_max = fmaxf(my_max, value);
    }
  const float max = block_max(fmaxf(my_max, kLowest));
  std::int32_t place = kNone;
  float sum = 0, weighted = 0;
#pragma unroll
  for (int i = share.count - 1; i >= 0; --i)
    for (int j = n - 1; j >= 0; --j) {
      if (x[i].v[j] == max) place = share.column(i) + j;
      const float d = x[i].v[j] - max, e = expf(d);
      sum += e;
      if (wide) weighted += fmaxf(d, kLowest) * e;
    }
  const std::int32_t argmax = -block_max(-place);
  sum = block_sum(sum);
  float second = -INFINITY;
  if constexpr (wide) {
    weighted = block_sum(weighted);
    // Every other thread's largest logit counts, and the second of the thread of the largest.
    second = block_max(place == argmax ? my_second : my_max);
  }
  if (threadIdx.x == 0)
    pieces[std::int64_t{blockIdx.x} * gridDim.y + blockIdx.y] = {max, second, sum, weighted,
                                                                 argmax};
}

/// Pointers of a RowStats, null where it is empty.
struct Results {
  std::int32_t *draw, *argmax;
  float *p_draw, *p_first, *p_second, *entropy, *p_current;
};

template <class T, class U>
__device__ __forceinline__ void set(T* result, U value) {
  if (result) result[blockIdx.x] = T(value);
}

// --- noise ---------------------------------------------------------------------------------------

/// Some token and its logit with noise, the best of those seen; of equal ones the first.
struct Best {
  double value;
  std::int32_t token;
};

__device__ __forceinline__ Best better(const Best& a, const Best& b) {
  return a.value > b.value || (a.value == b.value && a.token < b.token) ? a : b;
}

/// That of a warp, in lane 0.
__device__ __forceinline__ Best warp_best(Best best) {
  for (unsigned by = 16; by; by /= 2) {
    const Best other{__shfl_down_sync(~0u, best.value, by), __shfl_down_sync(~0u, best.token, by)};
    if (threadIdx.x % kWarpSize < by) best = better(best, other);
  }
  return best;
}

/// That of a block, in thread 0.
__device__ __forceinline__ Best block_best(Best best) {
  __shared__ Best warps[kThreads / kWarpSize];
  best = warp_best(best);
  if (threadIdx.x % kWarpSize == 0) warps[threadIdx.x / kWarpSize] = best;
  __syncthreads();
  if (threadIdx.x == 0)
    for (int i = 1; i < kThreads / kWarpSize; ++i) best = better(best, warps[i]);
  return best;
}

struct Noise {
  std::uint64_t seed, step;
  double temperature;
  float inverse;  // 1 / temperature, finite

  explicit Noise(const SamplingParameters& p)
      : seed(p.seed),
        step(p.step),
        temperature(p.temperature),
        inverse(float(1 / p.temperature < 3e38 ? 1 / p.temperature : 3e38)) {}
};

/// The noise of a row: token v has the number at the 64-bit position `key` V + v.
struct RowNoise : Noise {
  std::uint64_t position;
  float max;  // the row's largest logit

  __device__ RowNoise(const Noise& noise, std::int64_t key, int cols, float row_max)
      : Noise(noise), position(std::uint64_t(key) * std::uint64_t(cols)), max(row_max) {}

  __device__ CounterRng stream(std::uint64_t at) const {
    return {seed, Purpose::gumbel, step | at >> 32 << 32};
  }
  /// x - temperature log(-log u).
  __device__ double value(float x, std::int64_t v) const {
    const std::uint64_t at = position + std::uint64_t(v);
    return double(x) - temperature * log(-log(stream(at).uniform53(std::uint32_t(at))));
  }
  // Bounds are compared in f32, in units of the temperature above the row's maximum.
  __device__ float scaled(float x) const { return (x - max) * inverse; }
  /// No less than value(): with q = 1 - u rounded down to 32 bits, -log u >= 1 - u >= q, so the
  /// noise is at most -log q. Its last term is more than all rounding.
  __device__ float at_most(float scaled_x, std::int64_t v) const {
    const std::uint64_t at = position + std::uint64_t(v);
    const float q = float(~stream(at).block(std::uint32_t(at))[0]) * 0x1p-32f;
    return scaled_x - 0.693147181f * fast_log2(q) + 1e-4f;
  }
  /// No more than what has a value of `best` or is rounded to it.
  __device__ float at_least(double best) const {
    const double rounding = 0x1p-51 * (fabs(best) + fabs(double(max)));
    return float((best - double(max) - rounding) / temperature) - 1e-5f;
  }
};

/// What of a thread's share may win: the largest upper bound, where it is, and the next one.
struct Hope {
  float most, next;
  std::int32_t token;
};

/// The piece's best token with noise; one that has less than the row's start counts for nothing.
template <class T, bool packed>
__global__ void draw_kernel(Best* draws, const Best* starts, const Softmax* rows,
                            const Softmax* pieces, Logits<T, packed> logits,
                            const std::int64_t* row_keys, Noise noise) {
  constexpr int n = kPackOf<T>;
  const std::int64_t piece = std::int64_t{blockIdx.x} * gridDim.y + blockIdx.y;
  const Best start = starts[blockIdx.x];
  const RowNoise with(noise, row_keys[blockIdx.x], logits.cols, rows[blockIdx.x].max);
  float least = with.at_least(start.value);
  if (with.scaled(pieces[piece].max) + kMostNoise < least) {
    if (threadIdx.x == 0) draws[piece] = {-INFINITY, kNone};
    return;
  }
  const Row<T, packed> row = logits.row(blockIdx.x);
  const Share<n> share(logits.cols);
  // f(upper bound, token) for the share's tokens that may have more than `least`.
  const auto for_hopes = [&](auto&& f) {
#pragma unroll 1
    for (int i = 0; i < share.count; ++i) {
      const int column = share.column(i);
      const auto pack = row.load(column, share);
      for (int j = 0; j < n; ++j) {
        const float x = with.scaled(pack.v[j]);
        if (x + kMostNoise >= least) f(with.at_most(x, column + j), column + j);
      }
    }
  };
  Hope hope{-INFINITY, -INFINITY, kNone};
  for_hopes([&](float bound, std::int32_t token) {
    if (bound > hope.most) {
      hope.token = token;
      hope.next = hope.most;
      hope.most = bound;
    } else {
      hope.next = fmaxf(hope.next, bound);
    }
  });
  // The token of the largest bound is drawn first; hardly another bound exceeds its value.
  Best best{-INFINITY, kNone};
  const float most = block_max(hope.most);
  const bool first = hope.token != kNone && hope.most == most;
  if (first) best = {with.value(row[hope.token], hope.token), hope.token};
  least = fmaxf(least, block_max(first ? with.at_least(best.value) : -INFINITY));
  if (hope.next >= least) {
    for_hopes([&](float bound, std::int32_t token) {
      if (bound >= least) best = better(best, {with.value(row[token], token), token});
    });
  } else if (!first && hope.most >= least && hope.token != kNone) {
    best = {with.value(row[hope.token], hope.token), hope.token};
  }
  best = block_best(best);
  if (threadIdx.x == 0) draws[piece] = best;
}

template <class T, bool packed>
__global__ void draws_kernel(Results results, const Best* draws, const Best* starts,
                             const Softmax* rows, Logits<T, packed> logits, int count) {
  Best best = starts[blockIdx.x];
  for (int i = int(threadIdx.x); i < count; i += kRowThreads)
    best = better(best, draws[std::int64_t{blockIdx.x} * count + i]);
  best = warp_best(best);
  if (threadIdx.x != 0) return;
  set(results.draw, best.token);
  set(results.p_draw, rows[blockIdx.x].probability(logits.row(blockIdx.x)[best.token]));
}

// --- the results of a row ------------------------------------------------------------------------

/// Also the row's softmax and, from its most probable token, where the search for the draw starts;
/// without noise that is the draw.
template <class T, bool packed>
__global__ void rows_kernel(Results results, Best* starts, Softmax* rows, const Softmax* pieces,
                            Logits<T, packed> logits, const std::int64_t* row_keys,
                            const std::int32_t* current, Noise noise, int count) {
  Softmax s{kLowest, -INFINITY, 0, 0, kNone};
  for (int i = int(threadIdx.x); i < count; i += kRowThreads)
    s = merged(s, pieces[std::int64_t{blockIdx.x} * count + i]);
  s = warp_merged(s);
  if (threadIdx.x != 0) return;
  if (s.argmax == kNone) s.argmax = 0;
  const Row<T, packed> row = logits.row(blockIdx.x);
  const float x = row[s.argmax], p_first = s.probability(x);
  set(results.argmax, s.argmax);
  set(results.p_first, p_first);
  set(results.p_second, s.probability(s.second));
  set(results.entropy, logf(s.sum) - s.weighted / s.sum);
  if (results.p_current) set(results.p_current, s.probability(row[current[blockIdx.x]]));
  if (!row_keys) return;
  if (noise.temperature == 0) {
    set(results.draw, s.argmax);
    set(results.p_draw, p_first);
  } else {
    const double value =
        RowNoise(noise, row_keys[blockIdx.x], logits.cols, s.max).value(x, s.argmax);
    rows[blockIdx.x] = s;
    starts[blockIdx.x] = {value > -INFINITY ? value : -INFINITY, s.argmax};
  }
}

template <class T>
T* pointer(const Tensor& t) {
  return is_given(t) ? t.as<T>() : nullptr;
}

Results results_of(const RowStats& s) {
  return {pointer<std::int32_t>(s.draw), pointer<std::int32_t>(s.argmax), pointer<float>(s.p_draw),
          pointer<float>(s.p_first),     pointer<float>(s.p_second),      pointer<float>(s.entropy),
          pointer<float>(s.p_current)};
}

/// Room for intermediate results, in this order: both by piece, then both by row.
struct Room {
  Softmax* pieces;
  Best* draws;
  Softmax* rows;
  Best* starts;

  static std::int64_t bytes(std::int64_t rows, std::int64_t count) {
    return rows * (count + 1) * std::int64_t(sizeof(Best) + sizeof(Softmax));
  }
  Room(void* memory, std::int64_t row_count, std::int64_t count)
      : draws(static_cast<Best*>(memory)) {
    starts = draws + row_count * count;
    pieces = reinterpret_cast<Softmax*>(starts + row_count);
    rows = pieces + row_count * count;
  }
};

}  // namespace

void CudaOps::row_stats(const RowStats& stats, Tensor logits, Tensor row_keys, Tensor current,
                        const SamplingParameters& p) {
  const Checks c = checks("row_stats");
  const auto [rows, cols] = check_row_stats(c, stats, logits, row_keys, current, p);
  const std::int64_t count = divided_up(cols, kPiece);
  const Room room(device_.workspace(c.op(), Room::bytes(rows, count)), rows, count);
  const bool draws = is_given(stats.draw) || is_given(stats.p_draw);
  const bool wide = is_given(stats.p_second) || is_given(stats.entropy);
  const std::int64_t* keys = draws ? row_keys.as<std::int64_t>() : nullptr;
  const Results results = results_of(stats);
  const Noise noise(p);
  const dim3 all_pieces{unsigned(rows), unsigned(count)}, all_rows{unsigned(rows)};
  visit_float(logits.dtype, [&, cols = cols](auto type) {
    using T = typename decltype(type)::type;
    const auto run = [&](auto is_packed) {
      constexpr bool packed = decltype(is_packed)::value != 0;
      const Logits<T, packed> x{logits.as<T>(), logits.stride, int(cols), p.forbidden};
      launch({c.op(), all_pieces, kThreads, 0, stream()},
             wide ? softmax_kernel<T, packed, true> : softmax_kernel<T, packed, false>, room.pieces,
             x);
      launch({c.op(), all_rows, kRowThreads, 0, stream()}, rows_kernel<T, packed>, results,
             room.starts, room.rows, room.pieces, x, keys, pointer<std::int32_t>(current), noise,
             int(count));
      if (!draws || p.temperature == 0) return;
      launch({c.op(), all_pieces, kThreads, 0, stream()}, draw_kernel<T, packed>, room.draws,
             room.starts, room.rows, room.pieces, x, keys, noise);
      launch({c.op(), all_rows, kRowThreads, 0, stream()}, draws_kernel<T, packed>, results,
             room.draws, room.starts, room.rows, x, int(count));
    };
    // The row's own alignment: its end need not be a whole pack.
    if (rows_aligned_to_packs(kPackOf<T>, logits))
      run(Width<1>{});
    else
      run(Width<0>{});
  });
}

}  // namespace lacuna
