#include "model/attention.h"

#include "model/split_rows.h"

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
struct PackedWeights {
  Tensor q;   // [H D,C]
  Tensor kv;  // [2K D,C]

  PackedWeights(Tensor qkv, const AttentionShape& s)
      : q(qkv.row_range(0, s.heads * s.head_dim)),
        kv(qkv.row_range(s.heads * s.head_dim, 2 * s.kv_heads * s.head_dim)) {}
};

}  // namespace

void attention_forward(const Pass& pass, const BlockTensors& w, const BlockActivations& a,
                       const Scratch& s) {
  Ops& ops = pass.ops;
  const Packed x(a.qkv, pass.attention, a.qkv.rows());
  ops.linear_forward(a.qkv, s.h, w.qkv);
  ops.rope(x.q_and_k, pass.sequences.positions, pass.rope_table, Rotation::forward);
  ops.attention_forward(a.attended, a.lse, x.q, x.k, x.v, pass.attention);
  ops.linear_forward(s.h, a.attended, w.attention_out);
  sum_h(pass, s);
}

void attention_backward(const Pass& pass, const BlockTensors& w, BlockTensors& dw,
                        const BlockActivations& a, const Scratch& s) {
  Ops& ops = pass.ops;
  const Packed x(a.qkv, pass.attention, a.qkv.rows());
  const Packed d(s.d_qkv, pass.attention, a.qkv.rows());
  gather_rows_of(pass, s, s.d_x_parts);
  ops.linear_backward_weight(dw.attention_out, s.d_x, a.attended);
  ops.linear_backward_input(s.d_attended, s.d_x, w.attention_out, GradMode::overwrite);
  ops.attention_backward(d.q, d.k, d.v, s.d_attended, a.attended, a.lse, x.q, x.k, x.v,
                         pass.attention);
  ops.rope(d.q_and_k, pass.sequences.positions, pass.rope_table, Rotation::inverse);
  const Tensor h = own_rows(s, s.h);
  ops.rmsnorm_forward(h, a.attention_rstd, a.x, w.attention_norm, pass.norm_eps);
  gather_rows_of(pass, s, s.h_parts);
  ops.linear_backward_weight(dw.qkv, s.d_qkv, s.h);
  ops.linear_backward_input(s.h, s.d_qkv, w.qkv, GradMode::overwrite);
  sum_h(pass, s);
  ops.rmsnorm_backward(own_rows(s, s.d_x), dw.attention_norm, h, a.x, a.attention_rstd,
                       w.attention_norm, GradMode::accumulate);
}

void wanted_attention_forward(const Pass& pass, const BlockTensors& w, const BlockActivations& a,
                              const Scratch& all, const Scratch& wanted) {
  Ops& ops = pass.ops;
  const SequenceTensors& rows = pass.sequences;
  const Packed x(a.qkv, pass.wanted_attention, wanted.h.rows());
  const PackedWeights project(w.qkv, pass.wanted_attention);
  ops.linear_forward(x.kv, all.h, project.kv);
  ops.rope(x.k, rows.positions, pass.rope_table, Rotation::forward);
  ops.gather_rows(wanted.h, all.h, rows.wanted_rows);
  ops.linear_forward(x.q, wanted.h, project.q);
  ops.rope(x.q, rows.wanted_positions, pass.rope_table, Rotation::forward);
  ops.attention_forward(a.attended, a.lse, x.q, x.k, x.v, pass.wanted_attention);
  ops.linear_forward(wanted.h, a.attended, w.attention_out);
  sum_over_shares(pass.shares, wanted.h);
}

void wanted_attention_backward(const Pass& pass, const BlockTensors& w, BlockTensors& dw,
                               const BlockActivations& a, const Scratch& all,
                               const Scratch& wanted) {
  Ops& ops = pass.ops;
  const SequenceTensors& rows = pass.sequences;
  const Packed x(a.qkv, pass.wanted_attention, wanted.h.rows());
  const Packed d(all.d_qkv, pass.wanted_attention, wanted.h.rows());
  const PackedWeights project(w.qkv, pass.wanted_attention);
  const PackedWeights d_project(dw.qkv, pass.wanted_attention);
  ops.linear_backward_weight(dw.attention_out, wanted.d_x, a.attended);
  ops.linear_backward_input(wanted.d_attended, wanted.d_x, w.attention_out, GradMode::overwrite);
  ops.attention_backward(d.q, d.k, d.v, wanted.d_attended, a.attended, a.lse, x.q, x.k, x.v,
                         pass.wanted_attention);
  ops.rope(d.q, rows.wanted_positions, pass.rope_table, Rotation::inverse);
  ops.rope(d.k, rows.positions, pass.rope_table, Rotation::inverse);

  ops.rmsnorm_forward(all.h, a.attention_rstd, a.x, w.attention_norm, pass.norm_eps);
  ops.gather_rows(wanted.h, all.h, rows.wanted_rows);
  ops.linear_backward_weight(d_project.q, d.q, wanted.h);
  ops.linear_backward_weight(d_project.kv, d.kv, all.h);
  ops.linear_backward_input(wanted.h, d.q, project.q, GradMode::overwrite);
  ops.linear_backward_input(all.h, d.kv, project.kv, GradMode::overwrite);
  ops.scatter_add_rows(all.h, wanted.h, rows.wanted_rows);
  sum_over_shares(pass.shares, all.h);
  ops.rmsnorm_backward(all.d_x, dw.attention_norm, all.h, a.x, a.attention_rstd, w.attention_norm,
                       GradMode::overwrite);
  ops.scatter_add_rows(all.d_x, wanted.d_x, rows.wanted_rows);
}

}  // namespace lacuna
