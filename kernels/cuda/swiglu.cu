#include "kernels/cuda/amax.cuh"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/dispatch.h"

namespace lacuna {
namespace {

constexpr int kThreads = 256;

__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

/// Row blockIdx.x; each thread n of its columns.
template <class T, int n>
__global__ void swiglu_forward_kernel(T* y, const T* gate_up, int cols, Amax amax) {
  const int c = (int(blockIdx.y) * kThreads + int(threadIdx.x)) * n;
  std::uint32_t largest = 0;
  if (c < cols) {
    const std::int64_t row = blockIdx.x;
    auto gate = load_pack<n>(gate_up + 2 * row * cols + c);
    const auto up = load_pack<n>(gate_up + (2 * row + 1) * cols + c);
    for (int j = 0; j < n; ++j) {
      const float g = widen(gate.v[j]);
      gate.v[j] = narrow<T>(g * sigmoid(g) * widen(up.v[j]));
    }
    if (amax) note_magnitudes(largest, gate);
    store_pack<n>(y + row * cols + c, gate);
  }
  store_amax(amax, largest);
}

/// A thread has read what it overwrites: d_gate_up may be gate_up, and y may be dy.
template <class T, int n>
__global__ void swiglu_backward_kernel(T* d_gate_up, T* y, const T* dy, const T* gate_up, int cols,
                                       Amax d_amax, Amax y_amax) {
  const int c = (int(blockIdx.y) * kThreads + int(threadIdx.x)) * n;
  std::uint32_t largest_d = 0, largest_y = 0;
  if (c < cols) {
    const std::int64_t row = blockIdx.x;
    auto gate = load_pack<n>(gate_up + 2 * row * cols + c);
    auto up = load_pack<n>(gate_up + (2 * row + 1) * cols + c);
    auto out = load_pack<n>(dy + row * cols + c);
    for (int j = 0; j < n; ++j) {
      const float g = widen(gate.v[j]), u = widen(up.v[j]), d = widen(out.v[j]);
      const float s = sigmoid(g), silu = g * s;
      out.v[j] = narrow<T>(silu * u);
      gate.v[j] = narrow<T>(d * u * s * (1.0f + g * (1.0f - s)));
      up.v[j] = narrow<T>(d * silu);
    }
    if (d_amax) {
      note_magnitudes(largest_d, gate);
      note_magnitudes(largest_d, up);
      note_magnitudes(largest_y, out);
    }
    store_pack<n>(y + row * cols + c, out);
    store_pack<n>(d_gate_up + 2 * row * cols + c, gate);
    store_pack<n>(d_gate_up + (2 * row + 1) * cols + c, up);
  }
  store_amax(d_amax, largest_d);
  store_amax(y_amax, largest_y);
}

dim3 grid_for(RowsCols n, int pack) {
  return dim3(unsigned(n.rows), unsigned(divided_up(n.cols, std::int64_t{kThreads} * pack)));
}

}  // namespace

void CudaOps::swiglu_forward(Tensor y, Tensor gate_up, Tensor amax) {
  const Checks c = checks("swiglu_forward");
  const RowsCols n = check_swiglu_forward(c, y, gate_up);
  const Amax largest = begin_amax(c.op(), stream(), amax);
  visit_float(y.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    visit_width<kPackOf<T>>(packs_fit(n.cols, kPackOf<T>, {y, gate_up}), [&](auto width) {
      constexpr int pack = decltype(width)::value;
      launch({c.op(), grid_for(n, pack), kThreads, 0, stream()}, swiglu_forward_kernel<T, pack>,
             y.as<T>(), gate_up.as<T>(), int(n.cols), largest);
    });
  });
}

void CudaOps::swiglu_backward(Tensor d_gate_up, Tensor y, Tensor dy, Tensor gate_up, Tensor d_amax,
                              Tensor y_amax) {
  const Checks c = checks("swiglu_backward");
  const RowsCols n = check_swiglu_backward(c, d_gate_up, y, dy, gate_up);
  const Amax largest_d = begin_amax(c.op(), stream(), d_amax),
             largest_y = begin_amax(c.op(), stream(), y_amax);
  visit_float(y.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const bool fits = packs_fit(n.cols, kPackOf<T>, {d_gate_up, y, dy, gate_up});
    visit_width<kPackOf<T>>(fits, [&](auto width) {
      constexpr int pack = decltype(width)::value;
      launch({c.op(), grid_for(n, pack), kThreads, 0, stream()}, swiglu_backward_kernel<T, pack>,
             d_gate_up.as<T>(), y.as<T>(), dy.as<T>(), gate_up.as<T>(), int(n.cols), largest_d,
             largest_y);
    });
  });
}

}  // namespace lacuna
