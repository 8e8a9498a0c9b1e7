#include "model/attention.h"

#include <type_traits>

#include "model/adapted_linear.h"
#include "model/sequence_parallel.h"

namespace lacuna {
namespace {

/// A packed [N,(H+2K)D] tensor by its parts. Of the queries only the first M rows are used.
struct Packed {
  Tensor q;        // [M,H D]
  Tensor k, v;     // [N,K D]
  Tensor kv;       // [N,2K D]
  Tensor q_and_k;  // [N,(H+K)D]

  Packed(Tensor packed, const AttentionShape& s, std::int64_t queries) {
    const std::int64_t q_cols = s.heads * s.head_dim, kv_cols = s.kv_heads * s.head_dim;
    q = packed.row_range(0, queries).column_range(0, q_cols);
    k = packed.column_range(q_cols, kv_cols);
    v = packed.column_range(q_cols + kv_cols, kv_cols);
    kv = packed.column_range(q_cols, 2 * kv_cols);
    q_and_k = packed.column_range(0, q_cols + kv_cols);
  }
};

/// The rows of the packed projection that make queries, and those that make keys and values; or of
/// its bias, adapter or gradients, if any.
template <class T>  // PackedMatrix; Adapter; Tensor for biases and gradients
struct PackedRows {
  T q;   // [H D,C]; of a bias [H D]
  T kv;  // [2K D,C]; of a bias [2K D]

  PackedRows(const T& qkv, const AttentionShape& s) {
    if constexpr (std::is_same_v<T, Tensor>)
      if (!qkv.data) return;
    q = qkv.row_range(0, s.heads * s.head_dim);
    kv = qkv.row_range(s.heads * s.head_dim, 2 * s.kv_heads * s.head_dim);
  }
};

/// y[n,:] += bias: a product with a column of ones.
void add_bias(Ops& ops, Tensor y, Tensor bias, const Scratch& s) {
  if (!bias.data) return;
  const Tensor ones = s.ones.row_range(0, y.rows());
  ops.linear_forward(y, ones.reshaped({y.rows(), 1}), bias.reshaped({bias.count(), 1}),
                     GradMode::accumulate);
}

/// d_bias (+)= sum_n dy[n,:].
void bias_backward(const Pass& pass, Tensor d_bias, Tensor dy, const Scratch& s) {
  if (!d_bias.data) return;
  const Tensor ones = s.ones.row_range(0, dy.rows());
  pass.ops.linear_backward_weight(d_bias.reshaped({d_bias.count(), 1}), dy,
                                  ones.reshaped({dy.rows(), 1}), pass.gradient_mode);
}

/// Normalises each head of x [n, heads D] in place (Qwen3; Henry et al., arXiv:2010.04245, with
/// RMSNorm). `kept` is of these rows.
void normalise_heads(const Pass& pass, Tensor x, Tensor w, const HeadNorm& kept, const Scratch& s) {
  if (!w.data) return;
  const Tensor y = s.heads.row_range(0, kept.x.rows());
  pass.ops.copy(kept.x.reshaped({x.rows(), x.cols()}), x);
  pass.ops.rmsnorm_forward(y, kept.rstd, kept.x, w, pass.norm_eps);
  pass.ops.copy(x, y.reshaped({x.rows(), x.cols()}));
}

/// d [n, heads D]: in, the gradient of the normalised heads; out, that of the heads before.
void normalise_heads_backward(const Pass& pass, Tensor d, Tensor w, Tensor dw, const HeadNorm& kept,
                              const Scratch& s) {
  if (!w.data) return;
  const std::int64_t heads = kept.x.rows();
  const Tensor dy = s.heads.row_range(0, heads), dx = s.d_heads.row_range(0, heads);
  pass.ops.copy(dy.reshaped({d.rows(), d.cols()}), d);
  pass.ops.rmsnorm_backward(dx, dw, dy, kept.x, kept.rstd, w, GradMode::overwrite,
                            pass.gradient_mode);
  pass.ops.copy(d, dx.reshaped({d.rows(), d.cols()}));
}

/// Queries, keys and values of the normalised stream, rotated. One product where all rows are
/// queries; else one of the keys and values, and one of the queries' rows, which s.h then holds.
void project(const Pass& pass, const QueryRows& queries, const Packed& x, const BlockWeights& w,
             const BlockActivations& a, const Scratch& keys, const Scratch& s) {
  Ops& ops = pass.ops;
  if (queries.are_all()) {
    adapted_linear_forward(ops, a.qkv, keys.h, w.qkv, w.adapters.qkv, keys, keys.fp8.h_amax);
    add_bias(ops, a.qkv, w.qkv_bias, keys);
    normalise_heads(pass, x.q, w.query_norm, a.query_norm, keys);
    normalise_heads(pass, x.k, w.key_norm, a.key_norm, keys);
    ops.rope(x.q_and_k, queries.positions, pass.rope_table, Rotation::forward);
    return;
  }
  const PackedRows part(w.qkv, queries.attention);
  const PackedRows adapter(w.adapters.qkv, queries.attention);
  const PackedRows bias(w.qkv_bias, queries.attention);
  adapted_linear_forward(ops, x.kv, keys.h, part.kv, adapter.kv, keys, keys.fp8.h_amax);
  add_bias(ops, x.kv, bias.kv, keys);
  normalise_heads(pass, x.k, w.key_norm, a.key_norm, keys);
  ops.rope(x.k, pass.all.positions, pass.rope_table, Rotation::forward);
  ops.gather_rows(s.h, keys.h, queries.rows);
  adapted_linear_forward(ops, x.q, s.h, part.q, adapter.q, s);
  add_bias(ops, x.q, bias.q, s);
  normalise_heads(pass, x.q, w.query_norm, a.query_norm, s);
  ops.rope(x.q, queries.positions, pass.rope_table, Rotation::forward);
}

/// Takes the rotation off the gradients again.
void rotate_back(const Pass& pass, const QueryRows& queries, const Packed& d) {
  if (queries.are_all())
    return pass.ops.rope(d.q_and_k, queries.positions, pass.rope_table, Rotation::inverse);
  pass.ops.rope(d.q, queries.positions, pass.rope_table, Rotation::inverse);
  pass.ops.rope(d.k, pass.all.positions, pass.rope_table, Rotation::inverse);
}

/// keys.h: in, the normalised stream; out, its gradient, given that of the projection.
void project_backward(const Pass& pass, const QueryRows& queries, const Packed& d,
                      const BlockWeights& w, BlockTensors& dw, const Scratch& keys,
                      const Scratch& s) {
  Ops& ops = pass.ops;
  if (queries.are_all()) {
    bias_backward(pass, dw.qkv_bias, keys.d_qkv, keys);
    adapted_linear_backward(ops, keys.h, dw.qkv, dw.adapters.qkv, keys.d_qkv, keys.h, w.qkv,
                            w.adapters.qkv, keys, pass.gradient_mode, {.x = keys.fp8.h_amax});
    return;
  }
  const PackedRows part(w.qkv, queries.attention);
  const PackedRows d_part(dw.qkv, queries.attention), d_bias(dw.qkv_bias, queries.attention);
  const PackedRows adapter(w.adapters.qkv, queries.attention),
      d_adapter(dw.adapters.qkv, queries.attention);
  bias_backward(pass, d_bias.q, d.q, s);
  bias_backward(pass, d_bias.kv, d.kv, keys);
  ops.gather_rows(s.h, keys.h, queries.rows);
  adapted_linear_backward(ops, s.h, d_part.q, d_adapter.q, d.q, s.h, part.q, adapter.q, s,
                          pass.gradient_mode);
  adapted_linear_backward(ops, keys.h, d_part.kv, d_adapter.kv, d.kv, keys.h, part.kv, adapter.kv,
                          keys, pass.gradient_mode, {.x = keys.fp8.h_amax});
  ops.scatter_add_rows(keys.h, s.h, queries.rows);
}

}  // namespace

void norm_attention_input(const Pass& pass, const BlockWeights& w, const BlockActivations& a,
                          const Scratch& keys) {
  pass.ops.rmsnorm_forward(own_rows(keys, keys.h), a.attention_rstd, a.x, w.attention_norm,
                           pass.norm_eps, keys.fp8.h_amax);
  gather_rows_of(pass, keys, keys.h_parts);
}

void recompute_qkv(const Pass& pass, const QueryRows& queries, const BlockWeights& w,
                   const BlockActivations& a, const Scratch& keys) {
  CHECK(queries.are_all(), "queries of some rows are computed again");
  norm_attention_input(pass, w, a, keys);
  project(pass, queries, Packed(a.qkv, queries.attention, a.qkv.rows()), w, a, keys, keys);
}

void attention_forward(const Pass& pass, const QueryRows& queries, const BlockWeights& w,
                       const BlockActivations& a, const Scratch& keys, const Scratch& s) {
  const Packed x(a.qkv, queries.attention, s.h.rows());
  project(pass, queries, x, w, a, keys, s);
  Tensor k = x.k, v = x.v;
  if (a.kv_cache.data) {  // written before attention reads them: a row sees itself as it is now
    pass.ops.scatter_rows(a.kv_cache, x.kv, pass.cache_rows);
    k = a.kv_cache.column_range(0, x.k.cols());
    v = a.kv_cache.column_range(x.k.cols(), x.v.cols());
  }
  pass.ops.attention_forward(a.attn_out, a.lse, x.q, k, v, queries.attention);
  adapted_linear_forward(pass.ops, s.h, a.attn_out, w.attention_out, w.adapters.attention_out, s);
  sum_h(pass, s);
}

void attention_backward(const Pass& pass, const QueryRows& queries, const BlockWeights& w,
                        BlockTensors& dw, const BlockActivations& a, const Scratch& keys,
                        const Scratch& s) {
  Ops& ops = pass.ops;
  const Packed x(a.qkv, queries.attention, s.h.rows());
  const Packed d(keys.d_qkv, queries.attention, s.h.rows());
  gather_rows_of(pass, s, s.d_x_parts);
  adapted_linear_backward(ops, s.d_attended, dw.attention_out, dw.adapters.attention_out, s.d_x,
                          a.attn_out, w.attention_out, w.adapters.attention_out, s,
                          pass.gradient_mode);
  ops.attention_backward(d.q, d.k, d.v, s.d_attended, a.attn_out, a.lse, x.q, x.k, x.v,
                         queries.attention);
  rotate_back(pass, queries, d);
  normalise_heads_backward(pass, d.q, w.query_norm, dw.query_norm, a.query_norm, s);
  normalise_heads_backward(pass, d.k, w.key_norm, dw.key_norm, a.key_norm, keys);

  const Tensor h = own_rows(keys, keys.h);
  norm_attention_input(pass, w, a, keys);
  project_backward(pass, queries, d, w, dw, keys, s);
  sum_h(pass, keys);
  ops.rmsnorm_backward(
      own_rows(keys, keys.d_x), dw.attention_norm, h, a.x, a.attention_rstd, w.attention_norm,
      queries.are_all() ? GradMode::accumulate : GradMode::overwrite, pass.gradient_mode);
  if (!queries.are_all()) ops.scatter_add_rows(keys.d_x, s.d_x, queries.rows);
}

}  // namespace lacuna
