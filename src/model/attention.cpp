#include "model/attention.h"

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

/// The rows of the packed projection that make queries, and those that make keys and values.
template <class T>  // PackedMatrix; Tensor for its gradient
struct PackedRows {
  T q;   // [H D,C]
  T kv;  // [2K D,C]

  PackedRows(const T& qkv, const AttentionShape& s)
      : q(qkv.row_range(0, s.heads * s.head_dim)),
        kv(qkv.row_range(s.heads * s.head_dim, 2 * s.kv_heads * s.head_dim)) {}
};

/// Queries, keys and values of the normalised stream, rotated. One product where all rows are
/// queries; else one of the keys and values, and one of the queries' rows, which s.h then holds.
void project(const Pass& pass, const QueryRows& queries, const Packed& x, Tensor qkv,
             const PackedMatrix& w, const Scratch& keys, const Scratch& s) {
  Ops& ops = pass.ops;
  if (queries.are_all()) {
    linear_forward(ops, qkv, keys.h, w);
    ops.rope(x.q_and_k, queries.positions, pass.rope_table, Rotation::forward);
    return;
  }
  const PackedRows part(w, queries.attention);
  linear_forward(ops, x.kv, keys.h, part.kv);
  ops.rope(x.k, pass.all.positions, pass.rope_table, Rotation::forward);
  ops.gather_rows(s.h, keys.h, queries.rows);
  linear_forward(ops, x.q, s.h, part.q);
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
void project_backward(const Pass& pass, const QueryRows& queries, const Packed& d, Tensor d_qkv,
                      const PackedMatrix& w, Tensor dw, const Scratch& keys, const Scratch& s) {
  Ops& ops = pass.ops;
  if (queries.are_all()) {
    ops.linear_backward_weight(dw, d_qkv, keys.h);
    linear_backward_input(ops, keys.h, d_qkv, w);
    return;
  }
  const PackedRows part(w, queries.attention);
  const PackedRows d_part(dw, queries.attention);
  ops.gather_rows(s.h, keys.h, queries.rows);
  ops.linear_backward_weight(d_part.q, d.q, s.h);
  ops.linear_backward_weight(d_part.kv, d.kv, keys.h);
  linear_backward_input(ops, s.h, d.q, part.q);
  linear_backward_input(ops, keys.h, d.kv, part.kv);
  ops.scatter_add_rows(keys.h, s.h, queries.rows);
}

}  // namespace

void attention_forward(const Pass& pass, const QueryRows& queries, const BlockWeights& w,
                       const BlockActivations& a, const Scratch& keys, const Scratch& s) {
  const Packed x(a.qkv, queries.attention, s.h.rows());
  project(pass, queries, x, a.qkv, w.qkv, keys, s);
  Tensor k = x.k, v = x.v;
  if (a.kv_cache.data) {  // written before attention reads them: a row sees itself as it is now
    pass.ops.scatter_rows(a.kv_cache, x.kv, pass.cache_rows);
    k = a.kv_cache.column_range(0, x.k.cols());
    v = a.kv_cache.column_range(x.k.cols(), x.v.cols());
  }
  pass.ops.attention_forward(a.attn_out, a.lse, x.q, k, v, queries.attention);
  pass.ops.linear_forward(s.h, a.attn_out, w.attention_out);
  sum_h(pass, s);
}

void attention_backward(const Pass& pass, const QueryRows& queries, const BlockWeights& w,
                        BlockTensors& dw, const BlockActivations& a, const Scratch& keys,
                        const Scratch& s) {
  Ops& ops = pass.ops;
  const Packed x(a.qkv, queries.attention, s.h.rows());
  const Packed d(keys.d_qkv, queries.attention, s.h.rows());
  gather_rows_of(pass, s, s.d_x_parts);
  ops.linear_backward_weight(dw.attention_out, s.d_x, a.attn_out);
  ops.linear_backward_input(s.d_attended, s.d_x, w.attention_out, GradMode::overwrite);
  ops.attention_backward(d.q, d.k, d.v, s.d_attended, a.attn_out, a.lse, x.q, x.k, x.v,
                         queries.attention);
  rotate_back(pass, queries, d);

  const Tensor h = own_rows(keys, keys.h);
  ops.rmsnorm_forward(h, a.attention_rstd, a.x, w.attention_norm, pass.norm_eps);
  gather_rows_of(pass, keys, keys.h_parts);
  project_backward(pass, queries, d, keys.d_qkv, w.qkv, dw.qkv, keys, s);
  sum_h(pass, keys);
  ops.rmsnorm_backward(own_rows(keys, keys.d_x), dw.attention_norm, h, a.x, a.attention_rstd,
                       w.attention_norm,
                       queries.are_all() ? GradMode::accumulate : GradMode::overwrite);
  if (!queries.are_all()) ops.scatter_add_rows(keys.d_x, s.d_x, queries.rows);
}

}  // namespace lacuna
