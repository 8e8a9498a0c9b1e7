#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/dispatch.h"

// embedding_forward is a gather: gather_rows.cu.
//
// The backward pass adds the rows of dy that share an id, in their order, without atomics. Half of
// all ids may be one, the mask token's, so work is cut by rows, not by ids:
//   1. rank: where each row comes when rows are sorted by id, then by number;
//   2. sums: each block takes kRun neighbours in that order. Ids that begin and end inside it are
//      added to dw at once; the sums of its first and last id, which it may share with its
//      neighbours, go to `edges` [blocks][2][C];
//   3. edges: the block at which an id's edges begin walks over them, in order.

namespace lacuna {
namespace {

constexpr int kRankThreads = 256, kRun = 64, kThreads = 128;

/// Rows before row i in the order = rows with a smaller id, and those before i with the same:
/// counted by comparing with every row. For N = 16384 that is 2.7e8 comparisons, a few dozen per
/// lane.
__global__ void rank_kernel(std::int32_t* sorted, const std::int32_t* ids, int rows) {
  __shared__ std::int32_t others[kRankThreads];
  const int i = int(blockIdx.x * kRankThreads + threadIdx.x);
  const std::int32_t mine = i < rows ? ids[i] : 0;
  int rank = 0;
  for (int first = 0; first < rows; first += kRankThreads) {
    const int other = first + int(threadIdx.x);
    if (other < rows) others[threadIdx.x] = ids[other];
    __syncthreads();
    const int count = rows - first < kRankThreads ? rows - first : kRankThreads;
    for (int j = 0; j < count; ++j)
      rank += others[j] < mine || (others[j] == mine && first + j < i);
    __syncthreads();
  }
  if (i < rows) sorted[rank] = i;
}

/// n columns of one id's sum, added to its row of dw.
template <class W, int n>
__device__ __forceinline__ void add_to_row(W* dw, std::int64_t at, const float (&sum)[n]) {
  auto row = load_pack<n>(dw + at);
  for (int j = 0; j < n; ++j) row.v[j] = narrow<W>(widen(row.v[j]) + sum[j]);
  store_pack<n>(dw + at, row);
}

template <class W, class T, int n>
__global__ void sums_kernel(W* dw, float* edges, const T* dy, const std::int32_t* ids,
                            const std::int32_t* sorted, int rows, std::int64_t limit, int cols) {
  __shared__ std::int32_t run_rows[kRun], run_ids[kRun];
  const int begin = int(blockIdx.x) * kRun, count = begin + kRun < rows ? kRun : rows - begin;
  if (int(threadIdx.x) < count) {
    run_rows[threadIdx.x] = sorted[begin + int(threadIdx.x)];
    run_ids[threadIdx.x] = ids[run_rows[threadIdx.x]];
  }
  __syncthreads();
  const int c = int(blockIdx.y * kThreads + threadIdx.x) * n;
  if (c >= cols) return;
  const std::int32_t first = run_ids[0], last = run_ids[count - 1];
  float* edge = edges + std::int64_t{blockIdx.x} * 2 * cols + c;
  for (int i = 0; i < count;) {
    const std::int32_t id = run_ids[i];
    float sum[n] = {};
    for (; i < count && run_ids[i] == id; ++i) {
      const auto row = load_pack<n>(dy + std::int64_t{run_rows[i]} * cols + c);
      for (int j = 0; j < n; ++j) sum[j] += widen(row.v[j]);
    }
    if (id == first || id == last) {
      for (int j = 0; j < n; ++j) edge[(id == first ? 0 : cols) + j] = sum[j];
    } else if (id >= 0 && id < limit) {
      add_to_row<W, n>(dw, std::int64_t{id} * cols + c, sum);
    }
  }
}

/// Block b finishes its last id, and its first, if the block before did not end with it. An id's
/// later edges are the first ids of the blocks that follow.
template <class W, int n>
__global__ void edges_kernel(W* dw, const float* edges, const std::int32_t* ids,
                             const std::int32_t* sorted, int rows, std::int64_t limit, int cols) {
  const int c = int(blockIdx.y * kThreads + threadIdx.x) * n;
  if (c >= cols) return;
  const int block = int(blockIdx.x), blocks = int(gridDim.x);
  const auto id_at = [&](int i) { return ids[sorted[i < rows ? i : rows - 1]]; };
  const auto first_of = [&](int b) { return id_at(b * kRun); };
  const auto last_of = [&](int b) { return id_at(b * kRun + kRun - 1); };
  const auto finish = [&](std::int32_t id, int side) {
    if (id < 0 || id >= limit) return;
    float sum[n] = {};
    const auto take = [&](int b, int which) {
      const float* edge = edges + (std::int64_t{b} * 2 + which) * cols + c;
      for (int j = 0; j < n; ++j) sum[j] += edge[j];
    };
    take(block, side);
    if (last_of(block) == id)
      for (int b = block + 1; b < blocks && first_of(b) == id; ++b) take(b, 0);
    add_to_row<W, n>(dw, std::int64_t{id} * cols + c, sum);
  };
  const std::int32_t first = first_of(block), last = last_of(block);
  if (block == 0 || last_of(block - 1) != first) finish(first, 0);
  if (last != first) finish(last, 1);
}

}  // namespace

void CudaOps::embedding_backward(Tensor dw, Tensor dy, Tensor ids, GradMode mode) {
  const Checks c = checks("embedding_backward");
  const auto [rows, cols] = check_embedding(c, "dy", dy, ids, "dw", dw);
  if (mode == GradMode::overwrite) fill(dw, 0);
  if (rows == 0 || cols == 0) return;
  const std::int64_t blocks = divided_up(rows, kRun);
  const std::int64_t sorted_bytes = divided_up(rows * 4, 256) * 256;
  auto* workspace =
      static_cast<char*>(device_.workspace(c.op(), sorted_bytes + blocks * 2 * cols * 4));
  auto* sorted = reinterpret_cast<std::int32_t*>(workspace);
  auto* edges = reinterpret_cast<float*>(workspace + sorted_bytes);
  const auto* id = ids.as<std::int32_t>();
  launch({c.op(), blocks_for_vector(rows, kRankThreads, 1), kRankThreads, 0, stream()}, rank_kernel,
         sorted, id, int(rows));
  visit_float(dw.dtype, [&, rows = rows, cols = cols](auto w_type) {
    visit_float(dy.dtype, [&](auto y_type) {
      using W = typename decltype(w_type)::type;
      using T = typename decltype(y_type)::type;
      constexpr int wide = kPackOf<T> < kPackOf<W> ? kPackOf<T> : kPackOf<W>;
      visit_width<wide>(packs_fit(cols, wide, {dw, dy}), [&](auto width) {
        constexpr int n = decltype(width)::value;
        const dim3 grid(unsigned(blocks), unsigned(divided_up(cols, std::int64_t{kThreads} * n)));
        launch({c.op(), grid, kThreads, 0, stream()}, sums_kernel<W, T, n>, dw.as<W>(), edges,
               dy.as<T>(), id, sorted, int(rows), dw.rows(), int(cols));
        launch({c.op(), grid, kThreads, 0, stream()}, edges_kernel<W, n>, dw.as<W>(), edges, id,
               sorted, int(rows), dw.rows(), int(cols));
      });
    });
  });
}

}  // namespace lacuna
