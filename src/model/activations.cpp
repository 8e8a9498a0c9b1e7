#include "model/activations.h"

#include <algorithm>
#include <limits>

namespace lacuna {
namespace {

constexpr std::int64_t kFp8Cells = 6;  // of Fp8Scratch

}  // namespace

Plan Activations::make_plan(const ModelConfig& m, const ModelLimits& limits, DType dtype,
                            TensorParallelShard share, Slots& slots) {
  CHECK(limits.rows > 0 && limits.sequences > 0 && limits.logit_rows >= 0 &&
            limits.logit_rows <= limits.rows,
        "model limits: ", limits.rows, " rows, ", limits.sequences, " sequences, ",
        limits.logit_rows, " logit rows; there must be rows, and no more logit rows than rows");
  const ShardDims own(m, share);
  const std::int64_t N = limits.rows, M = limits.logit_rows, G = limits.segments(),
                     R = limits.cache_rows, C = m.hidden_size, F = own.ffn_width, H = own.heads,
                     D = own.head_dim;
  const std::int64_t packed = (H + 2 * own.key_heads) * D;
  // Of N rows: those of one rank where they are split, and room for equal parts.
  const bool split = share.is_sequence_parallel(m.num_layers);
  const std::int64_t each = split ? RowPart(N, share).each : N,
                     padded = split ? share.count * each : N;
  Plan plan;

  // Hidden states that get logits need M rows of h and, backward, of d_x; the last block's keys
  // and values at the same time need all N.
  const std::int64_t widest = limits.training ? std::max(C, H * D) : C;
  const Slot h = plan.add("scratch/h", {padded, widest}, dtype),
             logit_h = plan.add("scratch/logit_h", {M, widest}, dtype);
  slots.h = plan.alias(h, "scratch/h", {padded, C}, dtype);
  slots.logit_h = plan.alias(logit_h, "scratch/logit_h", {M, C}, dtype);
  const Slot wide = plan.add(
      "scratch/wide", {N, limits.training ? std::max(F, packed) : std::max(F, H * D)}, dtype);
  slots.hidden = plan.alias(wide, "scratch/hidden", {N, F}, dtype);
  if (limits.training) {
    slots.d_x = plan.add("scratch/d_x", {padded, C}, dtype);
    slots.logit_d_x = plan.add("scratch/logit_d_x", {M, C}, dtype);
    slots.d_qkv = plan.alias(wide, "scratch/d_qkv", {N, packed}, dtype);
    slots.d_attended = plan.alias(h, "scratch/d_attended", {N, H * D}, dtype);
    slots.logit_d_attended = plan.alias(logit_h, "scratch/logit_d_attended", {M, H * D}, dtype);
  }
  if (m.qk_norm) {
    slots.heads = plan.add("scratch/heads", {N * H, D}, dtype);
    if (limits.training) slots.d_heads = plan.add("scratch/d_heads", {N * H, D}, dtype);
  }
  if (m.has_experts()) {
    const std::int64_t E = m.num_experts, k = m.num_experts_per_tok;
    CHECK(N * k <= std::numeric_limits<std::int32_t>::max(), "model limits: ", N, " rows, each of ",
          k, " experts; they are numbered in 32 bits");
    slots.router_logits = plan.add("scratch/router_logits", {N, E}, dtype);
    slots.expert_offsets = plan.add("scratch/expert_offsets", {E + 1}, DType::i32);
    slots.expert_rows = plan.add("scratch/expert_rows", {N * k}, DType::i32);
    slots.expert_weights = plan.add("scratch/expert_weights", {N * k}, DType::f32);
    slots.expert_x = plan.add("scratch/expert_x", {N, C}, dtype);
    slots.expert_sum = plan.add("scratch/expert_sum", {N, C}, DType::f32);
  }
  if (limits.weights.low_rank > 0) {
    slots.low_rank = plan.add("scratch/low_rank", {N * limits.weights.low_rank}, dtype);
    if (limits.training)
      slots.d_low_rank = plan.add("scratch/d_low_rank", {N * limits.weights.low_rank}, dtype);
  }
  if (limits.weights.dequantised > 0)
    slots.dequantised = plan.add("scratch/dequantised", {limits.weights.dequantised}, dtype);
  if (limits.fp8_linears) {
    Fp8Sizes sizes;
    for (const auto& [outputs, inputs] :
         {std::pair(packed, C), std::pair(C, H * D), std::pair(2 * F, C), std::pair(C, F)})
      sizes.add(N, outputs, inputs, limits.training);
    slots.fp8_first = plan.add("scratch/fp8_first", {sizes.first}, DType::u8);
    if (limits.training)
      slots.fp8_first_transposed =
          plan.add("scratch/fp8_first_transposed", {sizes.first_transposed}, DType::u8);
    slots.fp8_second = plan.add("scratch/fp8_second", {sizes.second}, DType::u8);
    slots.fp8_cells = plan.add("scratch/fp8_cells", {kFp8Cells}, DType::f32);
  }
  if (m.qkv_bias) slots.ones = plan.add("scratch/ones", {N}, dtype);

  // Blocks that keep what they compute, the last of them with M rows behind its queries; or one
  // block's room for all. What is recomputed has one tensor of the most rows that a block needs.
  struct BlockRows {
    std::int64_t x, normed, queries, stream;
  };
  const bool all_again = limits.recompute.block, qkv_again = all_again || limits.recompute.qkv,
             gate_up_again = all_again || limits.recompute.gate_up;
  const auto add_block = [&](BlockSlots& b, const std::string& of, const BlockRows& rows,
                             bool recomputed) {
    const auto add = [&](Slot BlockSlots::*slot, const char* name, bool again, Shape shape,
                         DType type) {
      if (again == recomputed) b.*slot = plan.add(str("activations/", of, ".", name), shape, type);
    };
    const std::int64_t K = own.key_heads;
    add(&BlockSlots::x, "x", false, {rows.x, C}, dtype);
    add(&BlockSlots::attention_rstd, "attention_rstd", all_again, {rows.normed}, DType::f32);
    add(&BlockSlots::qkv, "qkv", qkv_again, {N, packed}, dtype);
    add(&BlockSlots::attn_out, "attn_out", all_again, {rows.queries, H * D}, dtype);
    add(&BlockSlots::lse, "lse", all_again, {rows.queries, H}, DType::f32);
    add(&BlockSlots::residual_mid, "residual_mid", all_again, {rows.stream, C}, dtype);
    add(&BlockSlots::ffn_rstd, "ffn_rstd", all_again, {rows.stream}, DType::f32);
    add(&BlockSlots::gate_up, "gate_up", gate_up_again, {rows.queries, 2 * F}, dtype);
    if (!m.qk_norm) return;
    add(&BlockSlots::query_x, "query_x", qkv_again, {rows.queries * H, D}, dtype);
    add(&BlockSlots::query_rstd, "query_rstd", qkv_again, {rows.queries * H}, DType::f32);
    add(&BlockSlots::key_x, "key_x", qkv_again, {N * K, D}, dtype);
    add(&BlockSlots::key_rstd, "key_rstd", qkv_again, {N * K}, DType::f32);
  };
  const auto add_kept_blocks = [&] {
    const bool one = m.num_layers == 1;
    BlockSlots shared;
    add_block(shared, "recomputed", {padded, N, one ? M : N, one ? M : std::max(each, M)}, true);
    for (std::int64_t l = 0; l < m.num_layers; ++l) {
      const bool last = l + 1 == m.num_layers;
      // All rows of x where embeddings are put together, and where rows come together again.
      const BlockRows rows = {l == 0 || last ? padded : each, last ? N : each, last ? M : N,
                              last ? M : each};
      add_block(slots.blocks.emplace_back(shared), str("blocks.", l), rows, false);
    }
  };
  const auto passing = [&] {
    const Slot heads_rstd =
        m.qk_norm ? plan.add("activations/heads_rstd", {N * H}, DType::f32) : Slot();
    const Slot x = plan.add("activations/x", {padded, C}, dtype),
               rstd = plan.add("activations/rstd", {N}, DType::f32),
               qkv_or_gate_up =
                   plan.add("activations/qkv_or_gate_up", {N, std::max(packed, 2 * F)}, dtype);
    return BlockSlots{
        .x = x,
        .attention_rstd = rstd,
        .qkv = plan.alias(qkv_or_gate_up, "activations/qkv", {N, packed}, dtype),
        .attn_out = plan.alias(wide, "activations/attn_out", {N, H * D}, dtype),
        .lse = plan.add("activations/lse", {N, H}, DType::f32),
        .residual_mid = x,
        .ffn_rstd = rstd,
        .gate_up = plan.alias(qkv_or_gate_up, "activations/gate_up", {N, 2 * F}, dtype),
        .query_x = slots.heads,
        .query_rstd = heads_rstd,
        .key_x = slots.heads,
        .key_rstd = heads_rstd};
  };
  if (limits.training) {
    add_kept_blocks();
    slots.final_x = plan.add("activations/final_x", {M, C}, dtype);
    slots.final_rstd = plan.add("activations/final_rstd", {M}, DType::f32);
  } else {
    slots.blocks.assign(std::size_t(m.num_layers), passing());
    slots.final_x = slots.blocks.back().residual_mid =
        plan.add("activations/logit_x", {M, C}, dtype);
    slots.final_rstd = slots.blocks.back().ffn_rstd;
  }

  slots.tokens = plan.add("sequences/tokens", {N}, DType::i32);
  const auto queries = [&](const std::string& name, std::int64_t rows) {
    return QuerySlots{.rows = {},
                      .positions = plan.add(name + "_positions", {rows}, DType::i32),
                      .offsets = plan.add(name + "_offsets", {G + 1}, DType::i32),
                      .keys = plan.add(name + "_keys", {rows, 4}, DType::i32)};
  };
  slots.all = queries("sequences/all", N);
  slots.logit = queries("sequences/logit", M);
  slots.logit.rows = plan.add("sequences/logit_rows", {M}, DType::i32);
  const std::int64_t positions = std::min(m.max_seq_length, std::max(N, R));
  slots.rope_table = plan.add("sequences/rope_table", {positions, D}, DType::f32);
  if (R > 0) {
    CHECK(!limits.training, "a KV cache in training");
    slots.key_offsets = plan.add("sequences/key_offsets", {G + 1}, DType::i32);
    slots.cache_rows = plan.add("sequences/cache_rows", {N}, DType::i32);
    for (std::int64_t l = 0; l < m.num_layers; ++l)
      slots.kv_cache.push_back(
          plan.add(str("kv_cache/blocks.", l), {R, 2 * own.key_heads * D}, dtype));
  }
  if (share.count > 1) {
    slots.own_ids = plan.add("sequences/own_ids", {N}, DType::i32);
    slots.own_rows = plan.add("sequences/own_rows", {N}, DType::i32);
  }
  return plan;
}

Activations::Activations(Memory& memory, const ModelConfig& config, const ModelLimits& limits,
                         DType dtype, TensorParallelShard share)
    : share_(share),
      heads_(ShardDims(config, share)),
      experts_per_row_(config.num_experts_per_tok),
      keeping_(limits.training),
      arena_(memory, make_plan(config, limits, dtype, share, slots_)) {}

Plan Activations::plan(const ModelConfig& config, const ModelLimits& limits, DType dtype,
                       TensorParallelShard share) {
  Slots slots;
  return make_plan(config, limits, dtype, share, slots);
}

void Activations::resize(std::int64_t rows, std::int64_t logit_rows, std::int64_t segments) {
  rows_ = rows;
  logit_rows_ = logit_rows;
  segments_ = segments;
}

BlockActivations Activations::block(std::size_t l) const {
  const BlockSlots& b = slots_.blocks[l];
  const bool last = l + 1 == slots_.blocks.size();
  const std::int64_t n = rows_, m = last ? logit_rows_ : rows_;
  BlockActivations a;
  std::int64_t entering = n, stream = m;
  if (split() && !last) {
    const RowPart own(n, share_);
    entering = stream = own.count;
    // Memory for all rows has this rank's at their place.
    const auto rows_of = [&](Slot slot, bool whole) {
      return whole ? first(slot, n).row_range(own.first, own.count) : first(slot, own.count);
    };
    a.x = rows_of(b.x, !keeping_ || l == 0);
    a.residual_mid = rows_of(b.residual_mid, !keeping_);
  } else {
    a.x = first(b.x, n);
    a.residual_mid = first(b.residual_mid, m);
  }
  a.qkv = first(b.qkv, n);
  a.attn_out = first(b.attn_out, m);
  a.lse = first(b.lse, m);
  a.gate_up = first(b.gate_up, m);
  a.query_norm = {first(b.query_x, m * heads_.heads), first(b.query_rstd, m * heads_.heads)};
  a.key_norm = {first(b.key_x, n * heads_.key_heads), first(b.key_rstd, n * heads_.key_heads)};
  if (!slots_.kv_cache.empty()) a.kv_cache = arena_[slots_.kv_cache[l]];
  a.attention_rstd = first(b.attention_rstd, entering);
  a.ffn_rstd = first(b.ffn_rstd, stream);
  return a;
}

FinalActivations Activations::final() const {
  return {.x = first(slots_.final_x, logit_rows_), .rstd = first(slots_.final_rstd, logit_rows_)};
}

Scratch Activations::scratch_of(std::int64_t rows, Slot h, Slot d_x, Slot d_attended) const {
  return {.h = first(h, rows),
          .d_x = first(d_x, rows),
          .hidden = first(slots_.hidden, rows),
          .d_qkv = first(slots_.d_qkv, rows_),
          .d_attended = first(d_attended, rows),
          .heads = whole(slots_.heads),
          .d_heads = whole(slots_.d_heads),
          .ones = whole(slots_.ones),
          .adapters = {whole(slots_.low_rank), whole(slots_.d_low_rank)},
          .dequantised = whole(slots_.dequantised),
          .fp8 = fp8(),
          .experts = experts(rows),
          .h_parts = {},
          .d_x_parts = {},
          .own = {}};
}

Scratch Activations::scratch() const {
  Scratch s = scratch_of(rows_, slots_.h, slots_.d_x, slots_.d_attended);
  if (split()) {
    s.h_parts = first(slots_.h, padded(rows_));
    s.d_x_parts = first(slots_.d_x, padded(rows_));
    s.own = RowPart(rows_, share_);
  }
  return s;
}

Scratch Activations::whole_scratch() const {
  Scratch s = scratch();
  s.h_parts = s.d_x_parts = {};
  s.own = {};
  return s;
}

Scratch Activations::logit_scratch() const {
  return scratch_of(logit_rows_, slots_.logit_h, slots_.logit_d_x, slots_.logit_d_attended);
}

ExpertScratch Activations::experts(std::int64_t rows) const {
  if (!slots_.router_logits) return {};
  return {.logits = first(slots_.router_logits, rows),
          .routed = {.offsets = whole(slots_.expert_offsets),
                     .rows = first(slots_.expert_rows, rows * experts_per_row_),
                     .weights = first(slots_.expert_weights, rows * experts_per_row_)},
          .x = first(slots_.expert_x, rows),
          .sum = first(slots_.expert_sum, rows)};
}

Fp8Scratch Activations::fp8() const {
  if (!slots_.fp8_first) return {};
  const auto cell = [&](std::int64_t i) { return arena_[slots_.fp8_cells].row_range(i, 1); };
  return {.first = whole(slots_.fp8_first),
          .first_transposed = whole(slots_.fp8_first_transposed),
          .second = whole(slots_.fp8_second),
          .first_factor = cell(0),
          .second_factor = cell(1),
          .amax = cell(2),
          .h_amax = split() ? Tensor() : cell(3),  // each rank's norms see its own rows
          .hidden_amax = cell(4),
          .d_gate_up_amax = cell(5)};
}

QueryTensors Activations::queries(const QuerySlots& slots, std::int64_t rows) const {
  return {.rows = first(slots.rows, rows),
          .positions = first(slots.positions, rows),
          .keys = first(slots.keys, rows),
          .offsets = first(slots.offsets, segments_ + 1)};
}

SequenceTensors Activations::sequences() const {
  const QueryTensors all = queries(slots_.all, rows_);
  const Tensor cached = first(slots_.key_offsets, segments_ + 1);
  return {.tokens = first(slots_.tokens, rows_),
          .all = all,
          .logit = queries(slots_.logit, logit_rows_),
          .key_offsets = cached.data ? cached : all.offsets,
          .cache_rows = first(slots_.cache_rows, rows_)};
}

Tensor Activations::first(Slot slot, std::int64_t rows) const {
  return slot ? arena_[slot].row_range(0, rows) : Tensor();
}

}  // namespace lacuna
