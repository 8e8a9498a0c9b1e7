#include <algorithm>

#include "kernels/cuda/amax.cuh"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/dispatch.h"
#include "kernels/fp8_types.h"

namespace lacuna {
namespace {

constexpr int kThreads = 256;

__global__ void begin_amax_kernel(Amax amax) { *amax = 0; }

/// Rows blockIdx.y, blockIdx.y + gridDim.y, … of [rows, cols].
template <class T, int n>
__global__ void absolute_maximum_kernel(Amax amax, const T* x, std::int64_t stride,
                                        std::int64_t rows, std::int64_t cols) {
  std::uint32_t largest = 0;
  const std::int64_t first = (std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * n,
                     step = std::int64_t{gridDim.x} * blockDim.x * n;
  for (std::int64_t row = blockIdx.y; row < rows; row += gridDim.y)
    for (std::int64_t i = first; i < cols; i += step) {
      const T* from = x + row * stride + i;
      if (i + n <= cols) {
        note_magnitudes(largest, load_pack<n>(from));
      } else {
        for (int j = 0; i + j < cols; ++j) note_magnitudes(largest, load_pack<1>(from + j));
      }
    }
  store_amax(amax, largest);
}

// A block quantises kTileRows x kTileCols elements, four neighbours of a row at a time; its threads
// are kTileCols / 4 by kRowThreads. A warp reads 128 bytes of each of two rows of bf16, and writes
// 64 of codes. In shared memory the columns are kTilePitch packs apart, so that storing the codes
// of a row has two-way bank conflicts, and reading four rows of a column at a time has none.
constexpr int kTileRows = 128, kTileCols = 64, kPerThread = 4;
constexpr int kColThreads = kTileCols / kPerThread, kRowThreads = kThreads / kColThreads;
constexpr int kPacks = kTileRows / kPerThread, kTilePitch = kPacks + 1;

template <class Code, class T, int n>
__global__ void quantise_kernel(Code* codes, Code* transposed, float* factor, const T* x,
                                std::int64_t stride, const float* amax, std::int64_t rows, int cols,
                                std::int64_t padded_rows) {
  __shared__ Pack<Code, kPerThread> tile[kTileCols][kTilePitch];
  const float f = fp8_factor<Code>(*amax), inverse = 1.0f / f;
  if (blockIdx.x == 0 && blockIdx.y == 0 && threadIdx.x == 0 && threadIdx.y == 0) *factor = f;
  const std::int64_t first_row = std::int64_t{blockIdx.x} * kTileRows;
  const int first_col = int(blockIdx.y) * kTileCols, c = int(threadIdx.x) * kPerThread;
  for (int r = int(threadIdx.y); r < kTileRows; r += kRowThreads) {
    const std::int64_t row = first_row + r;
    float values[kPerThread] = {};
    const int left = row < rows ? cols - first_col - c : 0;
    const T* from = x + row * stride + first_col + c;
    if (n == kPerThread && left > 0) {
      const auto pack = load_pack<n>(from);
      for (int j = 0; j < n; ++j) values[j] = widen(pack.v[j]) * inverse;
    } else {
      for (int j = 0; j < kPerThread; ++j)
        if (j < left) values[j] = widen(from[j]) * inverse;
    }
    Pack<Code, kPerThread> pack;
    for (int j = 0; j < kPerThread; j += 2) {
      const std::uint16_t pair = fp8_pair<Code>(values[j], values[j + 1]);
      pack.v[j].bits = std::uint8_t(pair);
      pack.v[j + 1].bits = std::uint8_t(pair >> 8);
    }
    if (codes) {
      Code* to = codes + row * cols + first_col + c;
      if (n == kPerThread && left > 0) {
        store_pack<n>(to, *reinterpret_cast<const Pack<Code, n>*>(&pack));
      } else {
        for (int j = 0; j < kPerThread; ++j)
          if (j < left) to[j] = pack.v[j];
      }
    }
    if (transposed)
      for (int j = 0; j < kPerThread; ++j)
        tile[c + j][r / kPerThread].v[r % kPerThread] = pack.v[j];
  }
  if (!transposed) return;
  __syncthreads();
  const int thread = int(threadIdx.y) * kColThreads + int(threadIdx.x);
  for (int i = thread; i < kTileCols * kPacks; i += kThreads) {
    const int col = i / kPacks, r = i % kPacks * kPerThread;
    if (first_col + col < cols && first_row + r < padded_rows)
      store_pack<kPerThread>(transposed + (first_col + col) * padded_rows + first_row + r,
                             tile[col][i % kPacks]);
  }
}

}  // namespace

Amax begin_amax(const char* op, CUstream_st* stream, const Tensor& amax) {
  if (!amax.data) return nullptr;
  CHECK(amax.place == Place::device && amax.count() == 1, op, ": amax is ", amax,
        "; it must be [1] f32 on the device");
  auto* bits = reinterpret_cast<Amax>(amax.as<float>());
  launch({op, 1, 1, 0, stream}, begin_amax_kernel, bits);
  return bits;
}

void CudaOps::absolute_maximum(Tensor amax, Tensor x) {
  const Checks c = checks("absolute_maximum");
  check_absolute_maximum(c, amax, x);
  const Amax bits = begin_amax(c.op(), stream(), amax);
  const bool flat = x.contiguous();
  const std::int64_t rows = flat ? 1 : x.rows(), cols = flat ? x.count() : x.cols();
  if (rows * cols == 0) return;
  visit_float(x.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const bool fits = flat ? aligned_to_packs(kPackOf<T>, {x}) : packs_fit(cols, kPackOf<T>, {x});
    visit_width<kPackOf<T>>(fits, [&](auto width) {
      constexpr int n = decltype(width)::value;
      const std::int64_t most = 8 * device_.multiprocessors();
      const std::int64_t blocks = std::min(divided_up(cols, std::int64_t{kThreads} * n), most);
      const dim3 grid(unsigned(blocks), unsigned(std::clamp<std::int64_t>(most / blocks, 1, rows)));
      launch({c.op(), grid, kThreads, 0, stream()}, absolute_maximum_kernel<T, n>, bits, x.as<T>(),
             x.stride, rows, cols);
    });
  });
}

void CudaOps::quantise_fp8(Tensor codes, Tensor transposed, Tensor factor, Tensor x, Tensor amax) {
  const Checks c = checks("quantise_fp8");
  const auto [rows, cols] = check_quantise_fp8(c, codes, transposed, factor, x, amax);
  const std::int64_t padded = padded_for_fp8(rows);
  // At least a block, which writes the factor.
  const auto blocks = [](std::int64_t n, int tile) {
    return unsigned(std::max<std::int64_t>(1, divided_up(n, tile)));
  };
  const dim3 grid(blocks(padded, kTileRows), blocks(cols, kTileCols));
  visit_float(x.dtype, [&, rows = rows, cols = cols](auto x_type) {
    visit_fp8(codes.data ? codes.dtype : transposed.dtype, [&](auto code_type) {
      using T = typename decltype(x_type)::type;
      using Code = typename decltype(code_type)::type;
      const auto codes_of = [](const Tensor& t) { return t.data ? t.as<Code>() : nullptr; };
      const bool fits = packs_fit(cols, kPerThread, {x}) && packs_fit(cols, kPerThread, {codes});
      visit_width<kPerThread>(fits, [&](auto width) {
        constexpr int n = decltype(width)::value;
        launch({c.op(), grid, dim3(kColThreads, kRowThreads), 0, stream()},
               quantise_kernel<Code, T, n>, codes_of(codes), codes_of(transposed),
               factor.as<float>(), x.as<T>(), x.stride, amax.as<float>(), rows, int(cols), padded);
      });
    });
  });
}

void CudaOps::multiply_fp8(Tensor y, Fp8Matrix a, Fp8Matrix b, GradMode mode) {
  const Checks c = checks("multiply_fp8");
  check_multiply_fp8(c, y, a, b);
  Gemm p{};
  p.transpose_b = true;
  p.m = y.rows();
  p.n = y.cols();
  p.k = a.codes.cols();
  p.a = a.codes.data;
  p.lda = a.codes.stride;
  p.b = b.codes.data;
  p.ldb = b.codes.stride;
  p.c = y.data;
  p.ldc = y.stride;
  p.factors = a.codes.dtype;
  p.result = y.dtype;
  p.accumulate = mode == GradMode::accumulate;
  p.a_factor = a.factor.as<float>();
  p.b_factor = b.factor.as<float>();
  // As in linear.cu: a sum over nothing is one of gradients over no rows.
  if (p.k == 0 && mode == GradMode::overwrite) return fill(y, 0);
  if (p.m > 0 && p.n > 0 && p.k > 0) gemms_.multiply(c.op(), p);
}

}  // namespace lacuna
