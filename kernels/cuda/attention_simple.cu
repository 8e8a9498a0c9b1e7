#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/dispatch.h"

// Attention in tiles with an online softmax (arXiv:2205.14135), in f32 arithmetic on ordinary
// cores. A block holds a tile of its own rows, kRows for each of its four warps, and walks over
// tiles of 32 other rows, one for each lane. Two loops do the work: `dots`, own rows times other
// rows, and `accumulate`, weights times other rows. The backward pass takes the scores' products
// twice, once by keys and once by queries, so that every sum belongs to one warp and has a fixed
// order.

namespace lacuna {
namespace {

constexpr int kWarps = 4, kThreads = kWarps * kWarpSize;

/// Elements of a row in shared memory: whole packs of four, and one more so that the packs of
/// neighbouring rows lie in different banks.
__host__ __device__ constexpr int padded(int head_dim) { return (head_dim + 3) / 4 * 4 + 4; }

/// The columns of one thread's part of a [kRows, D] sum: lane, lane + 32, …
template <int columns>
struct Tuning {
  static constexpr int kRows = columns <= 4 ? 8 : 4;  // a warp's own
  static constexpr int kTile = kWarps * kRows;        // a block's own
};

/// `rows` rows to shared memory as f32, zeros beyond `valid` rows and head_dim columns.
template <class T>
__device__ void load_rows(float* shared, const T* global, std::int64_t stride, int rows, int valid,
                          int head_dim) {
  const int width = padded(head_dim);
  for (int i = int(threadIdx.x); i < rows * width; i += kThreads) {
    const int row = i / width, d = i % width;
    shared[i] = row < valid && d < head_dim ? widen(global[row * stride + d]) : 0.0f;
  }
}

/// s[r] = own[r,:] . other[lane,:]
template <int rows>
__device__ void dots(float (&s)[rows], const float* own, const float* other, int head_dim) {
  const int width = padded(head_dim);
  const float* mine = other + int(threadIdx.x) % kWarpSize * width;
  for (int r = 0; r < rows; ++r) s[r] = 0;
#pragma unroll 1
  for (int d = 0; d < head_dim; d += 4) {
    const auto b = load_pack<4>(mine + d);
#pragma unroll
    for (int r = 0; r < rows; ++r) {
      const auto a = load_pack<4>(own + r * width + d);
      for (int j = 0; j < 4; ++j) s[r] += a.v[j] * b.v[j];
    }
  }
}

/// sum[r][c] += sum_j weight(r, j) other[j, lane + 32 c], weight(r, j) being lane j's weights[r].
template <int rows, int columns>
__device__ void accumulate(float (&sum)[rows][columns], const float (&weights)[rows],
                           float* exchange, const float* other, int head_dim) {
  const int width = padded(head_dim), lane = int(threadIdx.x) % kWarpSize;
  __syncwarp();
  for (int r = 0; r < rows; ++r) exchange[r * kWarpSize + lane] = weights[r];
  __syncwarp();
#pragma unroll 1
  for (int j = 0; j < kWarpSize; j += 4) {
    float x[4][columns];
#pragma unroll
    for (int c = 0; c < columns; ++c)
      for (int i = 0; i < 4; ++i) {
        const int d = lane + c * kWarpSize;
        x[i][c] = d < head_dim ? other[(j + i) * width + d] : 0.0f;
      }
#pragma unroll
    for (int r = 0; r < rows; ++r) {
      const auto weight = load_pack<4>(exchange + r * kWarpSize + j);
      for (int i = 0; i < 4; ++i)
        for (int c = 0; c < columns; ++c) sum[r][c] += weight.v[i] * x[i][c];
    }
  }
}

/// Row r of a sum, times a factor, to global memory.
template <class T, int columns>
__device__ void store_row(T* row, const float (&sum)[columns], float factor, int head_dim) {
  for (int c = 0; c < columns; ++c) {
    const int d = int(threadIdx.x) % kWarpSize + c * kWarpSize;
    if (d < head_dim) row[d] = narrow<T>(sum[c] * factor);
  }
}

/// Own rows are queries; the others are keys, then, in the same memory, values.
template <class T, int columns>
__global__ void __launch_bounds__(kThreads, 3) forward_kernel(AttentionArguments<T> a) {
  constexpr int kRows = Tuning<columns>::kRows, kTile = Tuning<columns>::kTile;
  const AttentionTile tile = tile_in_slot(a.query_offsets, a.segments, int(blockIdx.x), kTile);
  if (tile.count == 0) return;
  const int width = padded(a.head_dim), lane = int(threadIdx.x) % kWarpSize;
  const int warp = int(threadIdx.x) / kWarpSize, head = int(blockIdx.y);
  float* own = dynamic_shared<float>();
  float* other = own + kTile * width;
  float* exchange = other + kWarpSize * width + warp * kRows * kWarpSize;
  const std::int64_t column = std::int64_t{head} * a.head_dim;
  const std::int64_t kv_column = std::int64_t{head / (a.heads / a.kv_heads)} * a.head_dim;
  const int first_key = a.key_offsets[tile.segment];
  const int keys = a.key_offsets[tile.segment + 1] - first_key;
  const KeyTiles tiles(hull_of(a, tile.first, tile.count, first_key), kWarpSize);

  load_rows(own, a.q + tile.first * a.q_stride + column, a.q_stride, kTile, tile.count, a.head_dim);
  own += warp * kRows * width;
  KeyIntervals visible[kRows];
  float max[kRows], total[kRows], sum[kRows][columns] = {};
  for (int r = 0; r < kRows; ++r) {
    const int row = warp * kRows + r;
    visible[r] = row < tile.count ? keys_of(a, tile.first + row, first_key) : all_keys(keys);
    max[r] = -INFINITY;
    total[r] = 0;
  }
  for (int t = 0; t < tiles.count; ++t) {
    const int begin = tiles[t] * kWarpSize;
    const std::int64_t key = first_key + begin;
    __syncthreads();
    load_rows(other, a.k + key * a.k_stride + kv_column, a.k_stride, kWarpSize, keys - begin,
              a.head_dim);
    __syncthreads();
    float s[kRows];
    dots(s, own, other, a.head_dim);
    for (int r = 0; r < kRows; ++r) {
      s[r] = sees(visible[r], begin + lane) ? s[r] * (a.scale * kLog2E) : -INFINITY;
      const float new_max = fmaxf(max[r], warp_max(s[r]));
      const float base = new_max == -INFINITY ? 0.0f : new_max;  // nothing seen yet
      const float old = exp2f(max[r] - base);
      s[r] = exp2f(s[r] - base);
      total[r] = total[r] * old + warp_sum(s[r]);
      max[r] = new_max;
      for (int c = 0; c < columns; ++c) sum[r][c] *= old;
    }
    __syncthreads();
    load_rows(other, a.v + key * a.v_stride + kv_column, a.v_stride, kWarpSize, keys - begin,
              a.head_dim);
    __syncthreads();
    accumulate(sum, s, exchange, other, a.head_dim);
  }
  for (int r = 0; r < kRows; ++r) {
    const int row = warp * kRows + r;
    if (row >= tile.count) break;
    const std::int64_t query = tile.first + row;
    store_row(a.out + query * a.out_stride + column, sum[r], 1 / total[r], a.head_dim);
    if (lane == 0) a.lse[query * a.heads + head] = (max[r] + log2f(total[r])) * kLn2;
  }
}

/// Own rows are keys (and their values), of key head blockIdx.y; the others are queries of each of
/// the query heads that share it.
template <class T, int columns>
__global__ void __launch_bounds__(kThreads, 3) backward_keys_kernel(AttentionArguments<T> a) {
  constexpr int kRows = Tuning<columns>::kRows, kTile = Tuning<columns>::kTile;
  const AttentionTile tile = tile_in_slot(a.key_offsets, a.segments, int(blockIdx.x), kTile);
  if (tile.count == 0) return;
  const int width = padded(a.head_dim), lane = int(threadIdx.x) % kWarpSize;
  const int warp = int(threadIdx.x) / kWarpSize;
  float* own_k = dynamic_shared<float>();
  float* own_v = own_k + kTile * width;
  float* queries = own_v + kTile * width;
  float* douts = queries + kWarpSize * width;
  float* exchange = douts + kWarpSize * width + warp * kRows * kWarpSize;
  const std::int64_t kv_column = std::int64_t{blockIdx.y} * a.head_dim;
  const int first_key = a.key_offsets[tile.segment], own_key = tile.first - first_key;
  const QuerySteps steps(a, tile.segment, kWarpSize, int(blockIdx.y), own_key,
                         own_key + tile.count);

  load_rows(own_k, a.k + tile.first * a.k_stride + kv_column, a.k_stride, kTile, tile.count,
            a.head_dim);
  load_rows(own_v, a.v + tile.first * a.v_stride + kv_column, a.v_stride, kTile, tile.count,
            a.head_dim);
  own_k += warp * kRows * width;
  own_v += warp * kRows * width;
  float dk[kRows][columns] = {}, dv[kRows][columns] = {};
  for (QuerySteps::Step step = steps.first(); steps.exists(step); steps.advance(step)) {
    const std::int64_t column = std::int64_t{step.head} * a.head_dim;
    const int begin = steps.begin(step), left = steps.queries - begin;
    const std::int64_t query = steps.first_query + begin;
    __syncthreads();
    load_rows(queries, a.q + query * a.q_stride + column, a.q_stride, kWarpSize, left, a.head_dim);
    load_rows(douts, a.dout + query * a.dout_stride + column, a.dout_stride, kWarpSize, left,
              a.head_dim);
    __syncthreads();
    const bool exists = lane < left;
    const std::int64_t at = (query + lane) * a.heads + step.head;
    const float lse = exists ? a.lse[at] : 0.0f, delta = exists ? a.delta[at] : 0.0f;
    // Queries that do not exist have rows of zeros, which make them harmless.
    const KeyIntervals visible = exists ? keys_of(a, int(query) + lane, first_key) : KeyIntervals{};
    float p[kRows], ds[kRows];
    dots(p, own_k, queries, a.head_dim);
    for (int r = 0; r < kRows; ++r)
      p[r] =
          sees(visible, own_key + warp * kRows + r) ? exp2f((p[r] * a.scale - lse) * kLog2E) : 0.0f;
    accumulate(dv, p, exchange, douts, a.head_dim);
    dots(ds, own_v, douts, a.head_dim);
    for (int r = 0; r < kRows; ++r) ds[r] = p[r] * (ds[r] - delta);
    accumulate(dk, ds, exchange, queries, a.head_dim);
  }
  for (int r = 0; r < kRows; ++r) {
    const int row = warp * kRows + r;
    if (row >= tile.count) break;
    const std::int64_t key = tile.first + row;
    store_row(a.dk + key * a.dk_stride + kv_column, dk[r], a.scale, a.head_dim);
    store_row(a.dv + key * a.dv_stride + kv_column, dv[r], 1, a.head_dim);
  }
}

/// Own rows are queries; the others are keys and values.
template <class T, int columns>
__global__ void __launch_bounds__(kThreads, 3) backward_queries_kernel(AttentionArguments<T> a) {
  constexpr int kRows = Tuning<columns>::kRows, kTile = Tuning<columns>::kTile;
  const AttentionTile tile = tile_in_slot(a.query_offsets, a.segments, int(blockIdx.x), kTile);
  if (tile.count == 0) return;
  const int width = padded(a.head_dim), lane = int(threadIdx.x) % kWarpSize;
  const int warp = int(threadIdx.x) / kWarpSize, head = int(blockIdx.y);
  float* own_q = dynamic_shared<float>();
  float* own_dout = own_q + kTile * width;
  float* key_rows = own_dout + kTile * width;
  float* value_rows = key_rows + kWarpSize * width;
  float* exchange = value_rows + kWarpSize * width + warp * kRows * kWarpSize;
  const std::int64_t column = std::int64_t{head} * a.head_dim;
  const std::int64_t kv_column = std::int64_t{head / (a.heads / a.kv_heads)} * a.head_dim;
  const int first_key = a.key_offsets[tile.segment];
  const int keys = a.key_offsets[tile.segment + 1] - first_key;
  const KeyTiles tiles(hull_of(a, tile.first, tile.count, first_key), kWarpSize);

  load_rows(own_q, a.q + tile.first * a.q_stride + column, a.q_stride, kTile, tile.count,
            a.head_dim);
  load_rows(own_dout, a.dout + tile.first * a.dout_stride + column, a.dout_stride, kTile,
            tile.count, a.head_dim);
  own_q += warp * kRows * width;
  own_dout += warp * kRows * width;
  KeyIntervals visible[kRows];
  float lse[kRows], delta[kRows], dq[kRows][columns] = {};
  for (int r = 0; r < kRows; ++r) {
    const int row = warp * kRows + r;
    const bool exists = row < tile.count;
    const std::int64_t at = std::int64_t{tile.first + row} * a.heads + head;
    visible[r] = exists ? keys_of(a, tile.first + row, first_key) : all_keys(keys);
    lse[r] = exists ? a.lse[at] : 0.0f;
    delta[r] = exists ? a.delta[at] : 0.0f;
  }
  for (int t = 0; t < tiles.count; ++t) {
    const int begin = tiles[t] * kWarpSize;
    const std::int64_t key = first_key + begin;
    __syncthreads();
    load_rows(key_rows, a.k + key * a.k_stride + kv_column, a.k_stride, kWarpSize, keys - begin,
              a.head_dim);
    load_rows(value_rows, a.v + key * a.v_stride + kv_column, a.v_stride, kWarpSize, keys - begin,
              a.head_dim);
    __syncthreads();
    float s[kRows], ds[kRows];
    dots(s, own_q, key_rows, a.head_dim);
    dots(ds, own_dout, value_rows, a.head_dim);
    for (int r = 0; r < kRows; ++r) {
      const float p =
          sees(visible[r], begin + lane) ? exp2f((s[r] * a.scale - lse[r]) * kLog2E) : 0.0f;
      ds[r] = p * (ds[r] - delta[r]);
    }
    accumulate(dq, ds, exchange, key_rows, a.head_dim);
  }
  for (int r = 0; r < kRows; ++r) {
    const int row = warp * kRows + r;
    if (row >= tile.count) break;
    store_row(a.dq + (tile.first + row) * a.dq_stride + column, dq[r], a.scale, a.head_dim);
  }
}

/// f(Width<columns>{}) for the least multiple of 32 that is wide enough.
template <class F>
void visit_columns(int head_dim, F&& f) {
  if (head_dim <= 64)
    f(Width<2>{});
  else if (head_dim <= 128)
    f(Width<4>{});
  else
    f(Width<8>{});
}

dim3 grid_of(std::int64_t rows, int segments, int tile, int heads) {
  return dim3(unsigned(rows ? tile_slots(rows, segments, tile) : 0), unsigned(heads));
}

}  // namespace

std::size_t attention_simple_shared(int head_dim, bool backward) {
  std::size_t floats = 0;
  visit_columns(head_dim, [&](auto columns) {
    using Tuned = Tuning<decltype(columns)::value>;
    const int rows = (Tuned::kTile + kWarpSize) * (backward ? 2 : 1);
    // kv in the forward pass share their memory
    floats = std::size_t(rows) * std::size_t(padded(head_dim)) + Tuned::kTile * kWarpSize;
  });
  return floats * sizeof(float);
}

template <class T>
void attention_simple_forward(const char* op, CUstream_st* stream, const AttentionArguments<T>& a,
                              std::int64_t queries) {
  visit_columns(a.head_dim, [&](auto columns) {
    constexpr int n = decltype(columns)::value;
    launch({op, grid_of(queries, a.segments, Tuning<n>::kTile, a.heads), kThreads,
            attention_simple_shared(a.head_dim, false), stream},
           forward_kernel<T, n>, a);
  });
}

template <class T>
void attention_simple_backward(const char* op, CUstream_st* stream, const AttentionArguments<T>& a,
                               std::int64_t queries, std::int64_t keys) {
  const std::size_t shared = attention_simple_shared(a.head_dim, true);
  visit_columns(a.head_dim, [&](auto columns) {
    constexpr int n = decltype(columns)::value;
    attention_hulls(op, stream, a, queries, kWarpSize);
    launch({op, grid_of(keys, a.segments, Tuning<n>::kTile, a.kv_heads), kThreads, shared, stream},
           backward_keys_kernel<T, n>, a);
    launch({op, grid_of(queries, a.segments, Tuning<n>::kTile, a.heads), kThreads, shared, stream},
           backward_queries_kernel<T, n>, a);
  });
}

template void attention_simple_forward(const char*, CUstream_st*, const AttentionArguments<float>&,
                                       std::int64_t);
template void attention_simple_forward(const char*, CUstream_st*,
                                       const AttentionArguments<BFloat16>&, std::int64_t);
template void attention_simple_backward(const char*, CUstream_st*, const AttentionArguments<float>&,
                                        std::int64_t, std::int64_t);
template void attention_simple_backward(const char*, CUstream_st*,
                                        const AttentionArguments<BFloat16>&, std::int64_t,
                                        std::int64_t);

}  // namespace lacuna
