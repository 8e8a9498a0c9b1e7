#include <cmath>
#include <type_traits>

#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/dispatch.h"

namespace lacuna {
namespace {

constexpr std::int64_t kMostColumns = 256;

void check_head_dim(const Checks& c, const AttentionShape& s) {
  CHECK(s.head_dim <= kMostColumns, c.op(), ": head_dim is ", s.head_dim, "; it must be 1 to ",
        kMostColumns);
}

template <class T>
AttentionArguments<T> arguments_of(const Tensor& q, const Tensor& k, const Tensor& v,
                                   const Tensor& out, const Tensor& lse, const AttentionShape& s) {
  AttentionArguments<T> a{};
  a.q = q.as<T>();
  a.k = k.as<T>();
  a.v = v.as<T>();
  a.out = out.as<T>();
  a.lse = lse.as<float>();
  a.q_stride = q.stride;
  a.k_stride = k.stride;
  a.v_stride = v.stride;
  a.out_stride = out.stride;
  a.query_offsets = s.query_offsets.as<std::int32_t>();
  a.key_offsets = s.key_offsets.as<std::int32_t>();
  a.query_keys = s.query_keys.as<std::int32_t>();
  a.segments = int(s.query_offsets.count() - 1);
  a.heads = int(s.heads);
  a.kv_heads = int(s.kv_heads);
  a.head_dim = int(s.head_dim);
  a.scale = float(1.0 / std::sqrt(double(s.head_dim)));
  return a;
}

/// Whether the tensor-core kernels can take it.
bool fits_tensor_cores(const AttentionShape& s, std::initializer_list<Tensor> tensors) {
  return tensors.begin()->dtype == DType::bf16 && (s.head_dim == 64 || s.head_dim == 128) &&
         packs_fit(s.head_dim, 8, tensors);
}

/// Where clusters gain less than the launches cost that find out whether masks let them pay, some
/// microseconds: none. They gain more from, say, 8 heads and a sequence of 4096 on.
std::optional<bool> clusters_where_they_may_pay(std::optional<bool> clusters,
                                                const AttentionShape& s, std::int64_t queries,
                                                std::int64_t keys) {
  constexpr std::int64_t kLeastScores = std::int64_t{1} << 27;
  const std::int64_t segments = s.query_offsets.count() - 1;
  if (!clusters && s.heads * queries * (keys / segments) < kLeastScores) return false;
  return clusters;
}

void check_shared(const Checks& c, const Device& device, const AttentionShape& s, bool backward) {
  const std::size_t needed = attention_simple_shared(int(s.head_dim), backward);
  CHECK(needed <= device.shared_memory(), c.op(), ": head_dim ", s.head_dim, " takes ", needed,
        " bytes of shared memory per block; this device has ", device.shared_memory());
}

/// A warp for each tile.
__global__ void hulls_kernel(AttentionMask a, int slots, int height) {
  const int slot = int((std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x) / kWarpSize);
  if (slot >= slots) return;
  const AttentionTile tile = tile_in_slot(a.query_offsets, a.segments, slot, height);
  if (tile.count == 0) return;
  const KeyIntervals hull = hull_of(a, tile.first, tile.count, a.key_offsets[tile.segment]);
  if (threadIdx.x % kWarpSize == 0) a.hulls[slot] = hull;
}

}  // namespace

void attention_hulls(const char* op, CUstream_st* stream, const AttentionMask& a,
                     std::int64_t queries, int height) {
  if (queries == 0) return;
  constexpr int kThreads = 128;
  const std::int64_t slots = tile_slots(queries, a.segments, height);
  launch({op, blocks_for_vector(slots * kWarpSize, kThreads, 1), kThreads, 0, stream}, hulls_kernel,
         a, int(slots), height);
}

void CudaOps::attention_forward(Tensor out, Tensor lse, Tensor q, Tensor k, Tensor v,
                                const AttentionShape& shape) {
  const Checks c = checks("attention_forward");
  check_attention_forward(c, out, lse, q, k, v, shape);
  check_head_dim(c, shape);
  if (fits_tensor_cores(shape, {q, k, v, out})) {
    const auto a = arguments_of<BFloat16>(q, k, v, out, lse, shape);
    if (attention_split_is_wanted(q.rows(), k.rows(), shape, device_.multiprocessors()))
      return attention_split_forward(
          c.op(), stream(), a, q.rows(), k.rows(),
          device_.workspace(c.op(), attention_split_workspace(q.rows(), k.rows(), shape)));
    if (hopper_attention_ && q.rows() > 0 && k.rows() > 0) {
      if (fused_hopper_)
        return attention_hopper_pingpong_forward(
            c.op(), stream(), a, q.rows(), k.rows(), device_.multiprocessors(),
            clusters_where_they_may_pay(attention_clusters_, shape, q.rows(), k.rows()),
            device_.workspace(c.op(), kPingpongWorkspace));
      return attention_hopper_forward(c.op(), stream(), a, q.rows(), k.rows());
    }
    return attention_mma_forward(c.op(), stream(), a, q.rows());
  }
  check_shared(c, device_, shape, false);
  visit_float(q.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    attention_simple_forward(c.op(), stream(), arguments_of<T>(q, k, v, out, lse, shape), q.rows());
  });
}

void CudaOps::attention_backward(Tensor dq, Tensor dk, Tensor dv, Tensor dout, Tensor out,
                                 Tensor lse, Tensor q, Tensor k, Tensor v,
                                 const AttentionShape& shape) {
  const Checks c = checks("attention_backward");
  check_attention_backward(c, dq, dk, dv, dout, out, lse, q, k, v, shape);
  check_head_dim(c, shape);
  const bool tensor_cores = fits_tensor_cores(shape, {q, k, v, out, dq, dk, dv, dout});
  if (!tensor_cores) check_shared(c, device_, shape, true);
  const bool hopper = tensor_cores && hopper_attention_ && q.rows() > 0 && k.rows() > 0;
  const std::int64_t segments = shape.query_offsets.count() - 1;
  const bool fused = hopper && fused_hopper_;
  const std::int64_t hopper_bytes =
      fused ? attention_hopper_fused_workspace(q.rows(), segments, shape.heads, shape.head_dim) : 0;
  const std::int64_t hull_bytes =
      tile_slots(q.rows(), segments, kLeastHullHeight) * std::int64_t{sizeof(KeyIntervals)};
  auto* hopper_workspace = static_cast<unsigned char*>(device_.workspace(
      c.op(), hopper_bytes + hull_bytes + lse.count() * std::int64_t{sizeof(float)}));
  unsigned char* workspace = hopper_workspace + hopper_bytes;
  visit_float(q.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    auto a = arguments_of<T>(q, k, v, out, lse, shape);
    a.hulls = reinterpret_cast<KeyIntervals*>(workspace);
    a.delta = reinterpret_cast<float*>(workspace + hull_bytes);
    a.dq = dq.as<T>();
    a.dk = dk.as<T>();
    a.dv = dv.as<T>();
    a.dout = dout.as<T>();
    a.dq_stride = dq.stride;
    a.dk_stride = dk.stride;
    a.dv_stride = dv.stride;
    a.dout_stride = dout.stride;
    if constexpr (std::is_same_v<T, BFloat16>) {
      if (fused)
        return attention_hopper_fused_backward(c.op(), stream(), a, q.rows(), k.rows(),
                                               hopper_workspace);
    }
    constexpr int kThreads = 256;
    launch({c.op(), blocks_for_vector(lse.count() * kWarpSize, kThreads, 1), kThreads, 0, stream()},
           attention_delta_kernel<T>, a, lse.count());
    if constexpr (std::is_same_v<T, BFloat16>) {
      if (hopper) return attention_hopper_backward(c.op(), stream(), a, q.rows(), k.rows());
      if (tensor_cores) return attention_mma_backward(c.op(), stream(), a, q.rows(), k.rows());
    }
    attention_simple_backward(c.op(), stream(), a, q.rows(), k.rows());
  });
}

}  // namespace lacuna
