#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/dispatch.h"

namespace lacuna {
namespace {

/// y[m,:] = x[rows[m],:], one block per row m. embedding_forward is the same with ids.
template <class T, class U, int n>
__global__ void gather_rows_kernel(T* y, const U* x, std::int64_t stride, const std::int32_t* rows,
                                   std::int64_t limit, int cols) {
  const std::int64_t from = rows[blockIdx.x];
  const bool known = from >= 0 && from < limit;
  for (int c = int(threadIdx.x) * n; c < cols; c += int(blockDim.x) * n) {
    Pack<T, n> out;
    if (known) {
      const auto in = load_pack<n>(x + from * stride + c);
      for (int j = 0; j < n; ++j) out.v[j] = narrow<T>(widen(in.v[j]));
    } else {
      for (int j = 0; j < n; ++j) out.v[j] = narrow<T>(NAN);
    }
    store_pack<n>(y + std::int64_t{blockIdx.x} * cols + c, out);
  }
}

/// x[rows[m],:] = or += y[m,:], one block per row m.
template <class T, int n, bool add>
__global__ void scatter_rows_kernel(T* x, std::int64_t stride, const T* y, std::int64_t y_stride,
                                    const std::int32_t* rows, std::int64_t limit, int cols) {
  const std::int64_t to = rows[blockIdx.x];
  if (to < 0 || to >= limit) return;
  for (int c = int(threadIdx.x) * n; c < cols; c += int(blockDim.x) * n) {
    auto row = load_pack<n>(y + std::int64_t{blockIdx.x} * y_stride + c);
    if constexpr (add) {
      const auto before = load_pack<n>(x + to * stride + c);
      for (int j = 0; j < n; ++j) row.v[j] = narrow<T>(widen(before.v[j]) + widen(row.v[j]));
    }
    store_pack<n>(x + to * stride + c, row);
  }
}

template <bool add>
void scatter(const Checks& c, CUstream_st* stream, const Tensor& x, const Tensor& y,
             const Tensor& rows) {
  if (add)
    check_gather_rows(c, "y", y, "x", x, rows);
  else
    check_scatter_rows(c, x, y, rows);
  visit_float(x.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    visit_width<kPackOf<T>>(packs_fit(x.cols(), kPackOf<T>, {x, y}), [&](auto width) {
      constexpr int n = decltype(width)::value;
      launch({c.op(), dim3(unsigned(rows.count())), threads_for(x.cols() / n, 256), 0, stream},
             scatter_rows_kernel<T, n, add>, x.as<T>(), x.stride, y.as<T>(), y.stride,
             rows.as<std::int32_t>(), x.rows(), int(x.cols()));
    });
  });
}

void gather(const Checks& c, CUstream_st* stream, const Tensor& y, const Tensor& x,
            const Tensor& rows) {
  visit_float(y.dtype, [&](auto y_type) {
    visit_float(x.dtype, [&](auto x_type) {
      using T = typename decltype(y_type)::type;
      using U = typename decltype(x_type)::type;
      constexpr int wide = kPackOf<T> < kPackOf<U> ? kPackOf<T> : kPackOf<U>;
      visit_width<wide>(packs_fit(y.cols(), wide, {y, x}), [&](auto width) {
        constexpr int n = decltype(width)::value;
        launch({c.op(), dim3(unsigned(rows.count())), threads_for(y.cols() / n, 256), 0, stream},
               gather_rows_kernel<T, U, n>, y.as<T>(), x.as<U>(), x.stride, rows.as<std::int32_t>(),
               x.rows(), int(y.cols()));
      });
    });
  });
}

}  // namespace

void CudaOps::gather_rows(Tensor y, Tensor x, Tensor rows) {
  const Checks c = checks("gather_rows");
  check_gather_rows(c, "y", y, "x", x, rows);
  gather(c, stream(), y, x, rows);
}

void CudaOps::embedding_forward(Tensor y, Tensor ids, Matrix w) {
  const Checks c = checks("embedding_forward");
  check_embedding(c, "y", y, ids, "w", w);
  gather(c, stream(), y, w.as_tensor(), ids);
}

void CudaOps::scatter_add_rows(Tensor x, Tensor y, Tensor rows) {
  scatter<true>(checks("scatter_add_rows"), stream(), x, y, rows);
}

void CudaOps::scatter_rows(Tensor x, Tensor y, Tensor rows) {
  scatter<false>(checks("scatter_rows"), stream(), x, y, rows);
}

}  // namespace lacuna
