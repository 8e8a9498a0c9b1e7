#include <algorithm>

#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/dispatch.h"

namespace lacuna {
namespace {

constexpr int kThreads = 256;

/// Row blockIdx.y of [rows, cols] (and those gridDim.y further on), from one float type to another.
template <class To, class From, int n>
__global__ void convert_kernel(To* to, std::int64_t to_stride, const From* from,
                               std::int64_t from_stride, std::int64_t rows, std::int64_t cols) {
  for (std::int64_t row = blockIdx.y; row < rows; row += gridDim.y) {
    To* y = to + row * to_stride;
    const From* x = from + row * from_stride;
    for_my_pack<n>(cols, [&](auto width, std::int64_t i) {
      constexpr int kWidth = decltype(width)::value;
      const auto in = load_pack<kWidth>(x + i);
      Pack<To, kWidth> out;
      for (int j = 0; j < kWidth; ++j) out.v[j] = narrow<To>(widen(in.v[j]));
      store_pack<kWidth>(y + i, out);
    });
  }
}

template <class F>
void visit_convertible(DType dtype, F&& f) {
  if (dtype == DType::f16)
    f(Type<Float16>{});
  else
    visit_float(dtype, f);
}
bool converts(DType t) { return t == DType::f32 || t == DType::bf16 || t == DType::f16; }

/// On the device, between different float types.
void convert(CUstream_st* stream, const Tensor& to, const Tensor& from) {
  const bool flat = to.contiguous() && from.contiguous();
  const std::int64_t rows = flat ? 1 : to.rows(), cols = flat ? to.count() : to.cols();
  visit_convertible(to.dtype, [&](auto to_type) {
    visit_convertible(from.dtype, [&](auto from_type) {
      using To = typename decltype(to_type)::type;
      using From = typename decltype(from_type)::type;
      constexpr int wide = 4;
      const bool fits =
          flat ? aligned_to_packs(wide, {to, from}) : packs_fit(cols, wide, {to, from});
      visit_width<wide>(fits, [&](auto width) {
        constexpr int n = decltype(width)::value;
        dim3 grid = blocks_for_vector(cols, kThreads, n);
        grid.y = unsigned(std::min<std::int64_t>(rows, 65535));
        launch({"copy", grid, kThreads, 0, stream}, convert_kernel<To, From, n>, to.as<To>(),
               to.stride, from.as<From>(), from.stride, rows, cols);
      });
    });
  });
}

void move(Device& device, const Tensor& to, const Tensor& from) {
  const std::int64_t size = size_of(to.dtype);
  const bool flat = to.contiguous() && from.contiguous();
  const std::int64_t rows = flat ? 1 : to.rows(), width = (flat ? to.count() : to.cols()) * size;
  if (rows * width == 0) return;
  device.copy("copy", to.data, to.place, flat ? width : to.stride * size, from.data, from.place,
              flat ? width : from.stride * size, width, rows);
}

/// Rows [from, from + n) of the matrix view.
Tensor rows_of(const Tensor& t, std::int64_t from, std::int64_t n) {
  Tensor part = t;
  part.shape = {n, t.cols()};
  part.data = static_cast<char*>(t.data) + from * t.stride * size_of(t.dtype);
  return part;
}

}  // namespace

void CudaOps::copy(Tensor dst, Tensor src) {
  const char* op = "copy";
  CHECK(dst.data || dst.count() == 0, op, ": dst ", dst, " has no memory");
  CHECK(src.data || src.count() == 0, op, ": src ", src, " has no memory");
  CHECK(dst.shape == src.shape, op, ": dst is ", dst, " but src is ", src,
        "; their shapes must be the same");
  CHECK(dst.dtype == src.dtype || (converts(dst.dtype) && converts(src.dtype)), op, ": dst is ",
        dst, " but src is ", src, "; their dtypes must be the same, or f32, bf16 or f16");
  CHECK(dst.place == Place::device || src.place == Place::device, op,
        ": dst and src are both in main memory");
  if (dst.dtype == src.dtype) return move(device_, dst, src);
  if (dst.place == src.place) return convert(stream(), dst, src);
  // Moved as it is and converted on the device, a part at a time.
  constexpr std::int64_t kPartBytes = std::int64_t{32} << 20;
  const Tensor& host = dst.place == Place::host ? dst : src;
  const std::int64_t row_bytes = std::max<std::int64_t>(1, host.cols() * size_of(host.dtype));
  const std::int64_t rows =
      std::clamp<std::int64_t>(kPartBytes / row_bytes, 1, std::max<std::int64_t>(1, host.rows()));
  void* scratch = device_.workspace(op, rows * row_bytes);
  for (std::int64_t row = 0; row < host.rows(); row += rows) {
    const std::int64_t n = std::min(rows, host.rows() - row);
    const Tensor staged(scratch, {n, host.cols()}, host.dtype, Place::device);
    if (dst.place == Place::host) {
      convert(stream(), staged, rows_of(src, row, n));
      move(device_, rows_of(dst, row, n), staged);
    } else {
      move(device_, staged, rows_of(src, row, n));
      convert(stream(), rows_of(dst, row, n), staged);
    }
  }
}

}  // namespace lacuna
