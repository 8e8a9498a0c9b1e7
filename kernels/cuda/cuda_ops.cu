#include <cstdlib>
#include <optional>
#include <string_view>

#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/dispatch.h"

namespace lacuna {

namespace {

constexpr int kThreads = 256;

template <class T, int n>
__global__ void fill_kernel(T* x, float value, std::int64_t count) {
  for_my_pack<n>(count, [&](auto width, std::int64_t i) {
    constexpr int kWidth = decltype(width)::value;
    Pack<T, kWidth> pack;
    for (int j = 0; j < kWidth; ++j) pack.v[j] = narrow<T>(value);
    store_pack<kWidth>(x + i, pack);
  });
}

template <class T, class U, int n>
__global__ void add_kernel(T* y, const U* x, std::int64_t count) {
  for_my_pack<n>(count, [&](auto width, std::int64_t i) {
    constexpr int kWidth = decltype(width)::value;
    auto sum = load_pack<kWidth>(y + i);
    const auto more = load_pack<kWidth>(x + i);
    for (int j = 0; j < kWidth; ++j) sum.v[j] = narrow<T>(widen(sum.v[j]) + widen(more.v[j]));
    store_pack<kWidth>(y + i, sum);
  });
}

template <class T, class U, int n>
__global__ void axpby_kernel(T* y, float alpha, const U* x, float beta, const float* factor,
                             std::int64_t count) {
  const float a = factor ? alpha * *factor : alpha;
  for_my_pack<n>(count, [&](auto width, std::int64_t i) {
    constexpr int kWidth = decltype(width)::value;
    const auto added = load_pack<kWidth>(x + i);
    Pack<T, kWidth> sum;
    if (beta != 0) sum = load_pack<kWidth>(y + i);
    for (int j = 0; j < kWidth; ++j) {
      const float kept = beta != 0 ? beta * widen(sum.v[j]) : 0.0f;
      sum.v[j] = narrow<T>(kept + a * widen(added.v[j]));
    }
    store_pack<kWidth>(y + i, sum);
  });
}

/// LACUNA_CLUSTERS in the environment, to compare the attention kernels with and without.
std::optional<bool> chosen_clusters(std::optional<bool> option) {
  const char* value = std::getenv("LACUNA_CLUSTERS");
  if (!value || !*value) return option;
  const std::string_view word = value;
  CHECK(word == "on" || word == "off", "LACUNA_CLUSTERS is \"", word,
        "\"; it must be on or off, or not be set");
  return word == "on";
}

}  // namespace

CudaOps::CudaOps(const DeviceOptions& options)
    : device_(options.index),
      gemms_(device_, options.tune_gemms),
      hopper_attention_(options.hopper_attention.value_or(true) && device_.has_wgmma() &&
                        has_hopper_code(device_)),
      fused_hopper_(options.fused_hopper_attention),
      attention_clusters_(chosen_clusters(options.attention_clusters)) {
  CHECK(hopper_attention_ || !options.hopper_attention.value_or(false) || !device_.has_wgmma(),
        "cuda: attention_kernels \"hopper\" needs code of sm_90a, which this program has not: ",
        device_.architecture_advice(), ", or choose attention_kernels \"portable\"");
}

CudaOps::~CudaOps() = default;

std::string CudaOps::description() const {
  return device_.description() + (!hopper_attention_ ? ""
                                  : fused_hopper_    ? ", attention by wgmma, fused backward"
                                                     : ", attention by wgmma");
}

void CudaOps::fill(Tensor x, float value) {
  const Checks c = checks("fill");
  c.is_float("x", x);
  c.is_contiguous("x", x);
  visit_float(x.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    visit_width<kPackOf<T>>(aligned_to_packs(kPackOf<T>, {x}), [&](auto width) {
      constexpr int n = decltype(width)::value;
      launch({c.op(), blocks_for_vector(x.count(), kThreads, n), kThreads, 0, stream()},
             fill_kernel<T, n>, x.as<T>(), value, x.count());
    });
  });
}

void CudaOps::add(Tensor y, Tensor x) {
  const Checks c = checks("add");
  c.is_float("y", y);
  c.is_float("x", x);
  c.is_contiguous("y", y);
  c.is_contiguous("x", x);
  c.is_same_shape("y", y, "x", x);
  visit_float(y.dtype, [&](auto y_type) {
    visit_float(x.dtype, [&](auto x_type) {
      using T = typename decltype(y_type)::type;
      using U = typename decltype(x_type)::type;
      constexpr int wide = kPackOf<T> < kPackOf<U> ? kPackOf<T> : kPackOf<U>;
      visit_width<wide>(aligned_to_packs(wide, {y, x}), [&](auto width) {
        constexpr int n = decltype(width)::value;
        launch({c.op(), blocks_for_vector(y.count(), kThreads, n), kThreads, 0, stream()},
               add_kernel<T, U, n>, y.as<T>(), x.as<U>(), y.count());
      });
    });
  });
}

void CudaOps::axpby(Tensor y, float alpha, Tensor x, float beta, Tensor factor) {
  const Checks c = checks("axpby");
  check_axpby(c, y, x, factor);
  const float* by = factor.data ? factor.as<float>() : nullptr;
  visit_float(y.dtype, [&](auto y_type) {
    visit_float(x.dtype, [&](auto x_type) {
      using T = typename decltype(y_type)::type;
      using U = typename decltype(x_type)::type;
      constexpr int wide = kPackOf<T> < kPackOf<U> ? kPackOf<T> : kPackOf<U>;
      visit_width<wide>(aligned_to_packs(wide, {y, x}), [&](auto width) {
        constexpr int n = decltype(width)::value;
        launch({c.op(), blocks_for_vector(y.count(), kThreads, n), kThreads, 0, stream()},
               axpby_kernel<T, U, n>, y.as<T>(), alpha, x.as<U>(), beta, by, y.count());
      });
    });
  });
}

}  // namespace lacuna
