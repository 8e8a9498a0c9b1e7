#include <algorithm>

#include "kernels/cuda/amax.cuh"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/dispatch.h"
#include "kernels/cuda/reduce.cuh"

namespace lacuna {
namespace {

constexpr unsigned kMostThreads = 256;
/// Packs of a row that each thread keeps in registers between the two passes over it; what is left
/// of very long rows is read again, from a cache.
constexpr int kKept = 4;

unsigned threads_for_row(std::int64_t cols, int pack) {
  return threads_for(divided_up(cols, std::int64_t{pack} * kKept), kMostThreads);
}

/// One block per row. `adds`: what is normalised is x + delta, rounded and written to sum.
template <class T, class W, int n, bool adds>
__global__ void rmsnorm_forward_kernel(T* sum, T* y, float* rstd, const T* x, const T* delta,
                                       const W* w, int cols, float eps, Amax amax) {
  const std::int64_t row = std::int64_t{blockIdx.x} * cols;
  const int first = int(threadIdx.x) * n, step = int(blockDim.x) * n;
  const auto read = [&](int c) {
    Pack<T, n> pack = load_pack<n>(x + row + c);
    if constexpr (adds) {
      const auto more = load_pack<n>(delta + row + c);
      for (int j = 0; j < n; ++j) pack.v[j] = narrow<T>(widen(pack.v[j]) + widen(more.v[j]));
      store_pack<n>(sum + row + c, pack);
    }
    return pack;
  };
  Pack<T, n> kept[kKept];
  float squares = 0;
  const auto square = [&](const Pack<T, n>& pack) {
    for (int j = 0; j < n; ++j) squares += widen(pack.v[j]) * widen(pack.v[j]);
  };
#pragma unroll
  for (int i = 0; i < kKept; ++i) {
    if (first + i * step >= cols) break;
    kept[i] = read(first + i * step);
    square(kept[i]);
  }
  for (int c = first + kKept * step; c < cols; c += step) square(read(c));

  const float r = rsqrtf(block_sum(squares) / float(cols) + eps);
  if (threadIdx.x == 0) rstd[blockIdx.x] = r;
  std::uint32_t largest = 0;
  const auto write = [&](int c, Pack<T, n> pack) {
    const auto weight = load_pack<n>(w + c);
    for (int j = 0; j < n; ++j) pack.v[j] = narrow<T>(widen(pack.v[j]) * r * widen(weight.v[j]));
    if (amax) note_magnitudes(largest, pack);
    store_pack<n>(y + row + c, pack);
  };
#pragma unroll
  for (int i = 0; i < kKept; ++i) {
    if (first + i * step >= cols) break;
    write(first + i * step, kept[i]);
  }
  // A thread reads here what it has itself written, if sum is where x + delta went.
  const T* again = adds ? sum : x;
  for (int c = first + kKept * step; c < cols; c += step) write(c, load_pack<n>(again + row + c));
  store_amax(amax, largest);
}

/// Rows blockIdx.x, blockIdx.x + gridDim.x, …; each block's part of dw goes to row blockIdx.x of
/// parts [gridDim.x, cols]. It is summed in shared memory, where a column belongs to one thread: in
/// bf16 a lane's 32 bytes are read and written as two LDS.128 and STS.128, with two-way bank
/// conflicts.
template <class T, class W, int n>
__global__ void rmsnorm_backward_kernel(T* dx, float* parts, const T* dy, const T* x,
                                        const float* rstd, const W* w, std::int64_t rows, int cols,
                                        bool accumulate) {
  float* dw = dynamic_shared<float>();
  const int first = int(threadIdx.x) * n, step = int(blockDim.x) * n;
  for (int c = first; c < cols; c += step)
    for (int j = 0; j < n; ++j) dw[c + j] = 0;
  for (std::int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    const std::int64_t start = row * cols;
    const float r = rstd[row];
    Pack<T, n> kept_dy[kKept], kept_x[kKept];
    float dot = 0;
    const auto read = [&](int c, Pack<T, n>& out, Pack<T, n>& in) {
      out = load_pack<n>(dy + start + c);
      in = load_pack<n>(x + start + c);
      const auto weight = load_pack<n>(w + c);
      for (int j = 0; j < n; ++j) {
        const float by_xhat = widen(out.v[j]) * (widen(in.v[j]) * r);
        dw[c + j] += by_xhat;
        dot += by_xhat * widen(weight.v[j]);
      }
    };
#pragma unroll
    for (int i = 0; i < kKept; ++i) {
      if (first + i * step >= cols) break;
      read(first + i * step, kept_dy[i], kept_x[i]);
    }
    for (int c = first + kKept * step; c < cols; c += step) {
      Pack<T, n> out, in;
      read(c, out, in);
    }
    const float mean = block_sum(dot) / float(cols);
    const auto write = [&](int c, const Pack<T, n>& out, const Pack<T, n>& in) {
      const auto weight = load_pack<n>(w + c);
      Pack<T, n> gradient;
      if (accumulate) gradient = load_pack<n>(dx + start + c);
      for (int j = 0; j < n; ++j) {
        const float g = widen(out.v[j]) * widen(weight.v[j]);
        const float d = r * (g - widen(in.v[j]) * r * mean);
        gradient.v[j] = narrow<T>(accumulate ? widen(gradient.v[j]) + d : d);
      }
      store_pack<n>(dx + start + c, gradient);
    };
#pragma unroll
    for (int i = 0; i < kKept; ++i) {
      if (first + i * step >= cols) break;
      write(first + i * step, kept_dy[i], kept_x[i]);
    }
    for (int c = first + kKept * step; c < cols; c += step)
      write(c, load_pack<n>(dy + start + c), load_pack<n>(x + start + c));
  }
  for (int c = first; c < cols; c += step)
    for (int j = 0; j < n; ++j) parts[std::int64_t{blockIdx.x} * cols + c + j] = dw[c + j];
}

constexpr int kSumColumns = 32, kSumRows = 8;

/// dw[c] (+)= the sum of column c of parts [count, cols]: eight interleaved sums, then theirs.
template <class DW>
__global__ void add_column_sums_kernel(DW* dw, const float* parts, int count, int cols,
                                       bool accumulate) {
  __shared__ float sums[kSumRows][kSumColumns];
  const int c = int(blockIdx.x) * kSumColumns + int(threadIdx.x);
  float sum = 0;
  if (c < cols)
    for (int i = int(threadIdx.y); i < count; i += kSumRows)
      sum += parts[std::int64_t{i} * cols + c];
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || c >= cols) return;
  for (int i = 1; i < kSumRows; ++i) sum += sums[i][threadIdx.x];
  dw[c] = narrow<DW>(accumulate ? widen(dw[c]) + sum : sum);
}

template <bool adds>
void forward(const Checks& c, CUstream_st* stream, RowsCols n, const Tensor& sum, const Tensor& y,
             const Tensor& rstd, const Tensor& x, const Tensor& delta, const Tensor& w, float eps,
             const Tensor& amax) {
  const Amax largest = begin_amax(c.op(), stream, amax);
  if (n.cols == 0) return;
  visit_float(x.dtype, [&](auto x_type) {
    visit_float(w.dtype, [&](auto w_type) {
      using T = typename decltype(x_type)::type;
      using W = typename decltype(w_type)::type;
      constexpr int wide = kPackOf<T>;
      visit_width<wide>(packs_fit(n.cols, wide, {sum, y, x, delta, w}), [&](auto width) {
        constexpr int pack = decltype(width)::value;
        launch({c.op(), dim3(unsigned(n.rows)), threads_for_row(n.cols, pack), 0, stream},
               rmsnorm_forward_kernel<T, W, pack, adds>, sum.as<T>(), y.as<T>(), rstd.as<float>(),
               x.as<T>(), delta.as<T>(), w.as<W>(), int(n.cols), eps, largest);
      });
    });
  });
}

}  // namespace

void CudaOps::rmsnorm_forward(Tensor y, Tensor rstd, Tensor x, Tensor w, float eps, Tensor amax) {
  const Checks c = checks("rmsnorm_forward");
  const RowsCols n = check_rmsnorm_forward(c, y, rstd, x, w);
  forward<false>(c, stream(), n, x, y, rstd, x, x, w, eps, amax);
}

void CudaOps::add_rmsnorm_forward(Tensor sum, Tensor y, Tensor rstd, Tensor x, Tensor delta,
                                  Tensor w, float eps, Tensor amax) {
  const Checks c = checks("add_rmsnorm_forward");
  const RowsCols n = check_add_rmsnorm_forward(c, sum, y, rstd, x, delta, w);
  forward<true>(c, stream(), n, sum, y, rstd, x, delta, w, eps, amax);
}

void CudaOps::rmsnorm_backward(Tensor dx, Tensor dw, Tensor dy, Tensor x, Tensor rstd, Tensor w,
                               GradMode mode, GradMode weight_mode) {
  const Checks c = checks("rmsnorm_backward");
  const auto [rows, cols] = check_rmsnorm_backward(c, dx, dw, dy, x, rstd, w);
  if (rows == 0 || cols == 0) {
    if (dw.data && weight_mode == GradMode::overwrite) fill(dw, 0);
    return;
  }
  const std::size_t shared = std::size_t(cols) * sizeof(float);
  CHECK(shared <= device_.shared_memory(), c.op(), ": x is ", x, "; this device has room for ",
        device_.shared_memory() / sizeof(float), " columns");
  const auto blocks = std::min<std::int64_t>(rows, 4 * device_.multiprocessors());
  auto* parts =
      static_cast<float*>(device_.workspace(c.op(), blocks * cols * std::int64_t{sizeof(float)}));
  visit_float(x.dtype, [&, rows = rows, cols = cols](auto x_type) {
    visit_float(w.dtype, [&](auto w_type) {
      using T = typename decltype(x_type)::type;
      using W = typename decltype(w_type)::type;
      constexpr int wide = kPackOf<T>;
      visit_width<wide>(packs_fit(cols, wide, {dx, dy, x, w}), [&](auto width) {
        constexpr int n = decltype(width)::value;
        launch({c.op(), dim3(unsigned(blocks)), threads_for_row(cols, n), shared, stream()},
               rmsnorm_backward_kernel<T, W, n>, dx.as<T>(), parts, dy.as<T>(), x.as<T>(),
               rstd.as<float>(), w.as<W>(), rows, int(cols), mode == GradMode::accumulate);
      });
    });
  });
  if (!dw.data) return;
  visit_float(dw.dtype, [&, cols = cols](auto type) {
    using DW = typename decltype(type)::type;
    launch({c.op(), dim3(unsigned(divided_up(cols, kSumColumns))), dim3(kSumColumns, kSumRows), 0,
            stream()},
           add_column_sums_kernel<DW>, dw.as<DW>(), parts, int(blocks), int(cols),
           weight_mode == GradMode::accumulate);
  });
}

}  // namespace lacuna
