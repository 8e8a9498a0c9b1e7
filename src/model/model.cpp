#include "model/model.h"

#include <algorithm>
#include <cmath>

#include "model/activations.h"
#include "model/block.h"
#include "model/pass.h"
#include "model/sequence_parallel.h"
#include "model/vocab_parallel_embedding.h"

namespace lacuna {
namespace {

/// Cosines, then sines, of position * theta^(-2j/D) for every position and j < D/2, in f64 before
/// they are rounded.
std::vector<float> rope_angles(std::int64_t positions, std::int64_t head_dim, double theta) {
  std::vector<float> table;
  table.reserve(std::size_t(positions * head_dim));
  const std::int64_t half = head_dim / 2;
  for (std::int64_t p = 0; p < positions; ++p) {
    const auto angle = [&](std::int64_t j) {
      return double(p) * std::pow(theta, -double(2 * j) / double(head_dim));
    };
    for (std::int64_t j = 0; j < half; ++j) table.push_back(float(std::cos(angle(j))));
    for (std::int64_t j = 0; j < half; ++j) table.push_back(float(std::sin(angle(j))));
  }
  return table;
}

AttentionShape attention_shape(const ModelConfig& config, TensorParallelShard share) {
  const ShardDims own(config, share);
  AttentionShape shape;
  shape.heads = own.heads;
  shape.kv_heads = own.key_heads;
  shape.head_dim = own.head_dim;
  return shape;
}

/// Throws Error when the products with these weights cannot be in FP8.
void check_fp8(const ModelWeights& weights, const Ops& ops) {
  check_fp8_device(ops);
  CHECK(weights.dtype == DType::bf16, "products in FP8 need bf16 activations, not ", weights.dtype);
  for (const BlockWeights& block : weights.blocks) {
    CHECK(block.experts.empty(), "products in FP8 are not there for a mixture of experts");
    for (const PackedMatrix* packed : {&block.qkv, &block.gate_up})
      for (const Matrix& part : packed->parts)
        CHECK(part.format == MatrixFormat::bf16, "a matrix for products in FP8 is ", part,
              "; it must be bf16");
  }
}

ModelLimits with_scratch(const Ops& ops, const ModelWeights& weights, ModelLimits limits) {
  limits.weights = weight_scratch(weights, ops, limits.training);
  return limits;
}

}  // namespace

struct Model::State {
  Ops& ops;
  const ModelConfig config;
  const ModelWeights weights;
  const ModelLimits limits;
  SelfCommunicator alone{"tensor"};
  Communicator& tp_group;
  const AttentionShape attention;
  Activations activations;
  SequencePlacer placer;
  VocabParallelEmbedding embedding;
  bool kept = false;  // the activations of a forward pass, not yet used up by a backward pass

  State(Ops& o, const ModelConfig& c, const ModelWeights& w, const ModelLimits& l,
        Communicator* sharing)
      : ops(o),
        config(c),
        weights(w),
        limits(with_scratch(o, w, l)),
        tp_group(sharing ? *sharing : alone),
        attention(attention_shape(c, w.share)),
        activations(o.memory(), c, limits, w.dtype, w.share),
        placer(l, AttentionMask(c)),
        embedding(o, tp_group, ShardDims(c, w.share), activations) {
    const Tensor table = activations.rope_table();
    std::vector<float> angles = rope_angles(table.rows(), table.cols(), c.rope_theta);
    ops.copy(table, Tensor(angles.data(), table.shape));
    if (activations.ones().data) ops.fill(activations.ones(), 1);
    ops.synchronize();
  }

  // Units of the weights, as UnitGatherer numbers them.
  std::size_t block_unit(std::size_t l) const { return 1 + l; }
  std::size_t last_unit() const { return 1 + weights.blocks.size(); }
  /// Before a unit's weights are first used.
  void gather(std::size_t unit, PassDirection direction) const {
    if (weights.gatherer) weights.gatherer->gather(unit, direction);
  }

  /// Gradients of weights that every rank holds: of norms each rank has those of its rows, where
  /// rows are split (not in the last block); of norms of heads, those of its heads; of adapters,
  /// those of its outputs or inputs.
  void add_up_replicated(const ModelTensors& gradients, std::size_t l) {
    const BlockTensors& block = gradients.blocks[l];
    if (gradients.are_adapters()) {
      const BlockAdapters& adapters = block.adapters;
      for (const Adapter* of_outputs : {&adapters.qkv, &adapters.gate_up})
        if (of_outputs->exists()) sum_over_shares(tp_group, of_outputs->a);
      for (const Adapter* of_inputs : {&adapters.attention_out, &adapters.ffn_out})
        if (of_inputs->exists()) sum_over_shares(tp_group, of_inputs->parts.front().b);
      return;
    }
    if (activations.split() && l + 1 < gradients.blocks.size()) {
      sum_over_shares(tp_group, block.attention_norm);
      sum_over_shares(tp_group, block.ffn_norm);
    }
    if (config.qk_norm) {
      sum_over_shares(tp_group, block.query_norm);
      sum_over_shares(tp_group, block.key_norm);
    }
  }

  QueryRows query_rows(const QueryTensors& queries, Tensor key_offsets) const {
    QueryRows q{queries.rows, queries.positions, attention};
    q.attention.key_offsets = key_offsets;
    q.attention.query_offsets = queries.offsets;
    q.attention.query_keys = queries.keys;
    return q;
  }

  Pass pass() const {
    const SequenceTensors s = activations.sequences();
    return {ops,
            tp_group,
            float(config.rms_norm_eps),
            activations.rope_table(),
            s.tokens,
            query_rows(s.all, s.key_offsets),
            query_rows(s.logit, s.key_offsets),
            s.cache_rows,
            config.norm_topk_prob};
  }
};

Model::Model(Ops& ops, const ModelConfig& config, const ModelWeights& weights,
             const ModelLimits& limits, Communicator* tp_group) {
  CHECK(config.head_width() % 2 == 0, "heads are ", config.head_width(),
        " wide; rotary positions need an even head width");
  const TensorParallelShard share = weights.share;
  const Shape embedding{ShardDims(config, share).ids, config.hidden_size};
  CHECK(std::int64_t(weights.blocks.size()) == config.num_layers &&
            weights.embedding.shape == embedding,
        "the weights are of another model: ", weights.blocks.size(), " blocks, embedding ",
        weights.embedding, "; the config says ", config.num_layers, " blocks and ", embedding);
  if (limits.training) check_trainable(config);
  CHECK(share.count == (tp_group ? tp_group->size() : 1) &&
            share.index == (tp_group ? tp_group->rank() : 0),
        "the weights are part ", share.index, " of ", share.count,
        ", and this rank is another one of the tensor parallel group");
  const auto has_its_experts = [&](const BlockWeights& b) {
    return std::int64_t(b.experts.size()) == config.num_experts;
  };
  CHECK(std::all_of(weights.blocks.begin(), weights.blocks.end(), has_its_experts),
        "the weights are of another model than one with ", config.num_experts, " experts a block");
  check_formats(weights, ops);
  if (limits.fp8_linears) check_fp8(weights, ops);
  state_ = std::make_unique<State>(ops, config, weights, limits, tp_group);
}

Model::~Model() = default;
const ModelConfig& Model::config() const { return state_->config; }
const ModelLimits& Model::limits() const { return state_->limits; }
const Plan& Model::plan() const { return state_->activations.plan(); }
Ops& Model::ops() const { return state_->ops; }

Tensor Model::forward(Tensor tokens, const Sequences& sequences) {
  place(tokens, sequences);
  return run();
}

void Model::copy_cache_rows(CacheRows to, CacheRows from) {
  CHECK(to.end - to.begin == from.end - from.begin, "cache rows [", from.begin, ", ", from.end,
        ") cannot be copied to rows [", to.begin, ", ", to.end, "); they are not as many");
  for (std::int64_t l = 0; l < state_->config.num_layers; ++l) {
    const Tensor kv = state_->activations.block(std::size_t(l)).kv_cache;
    const auto rows = [&](CacheRows r) { return kv.row_range(r.begin, r.end - r.begin); };
    state_->ops.copy(rows(to), rows(from));
  }
}

bool Model::waits_for_device() const {
  return state_->config.has_experts() || (gatherer() && gatherer()->gathers_in_every_pass());
}

UnitGatherer* Model::gatherer() const { return state_->weights.gatherer; }

Tensor Model::placed_tokens() const { return state_->activations.sequences().tokens; }

void Model::place(Tensor tokens, const Sequences& sequences) {
  State& s = *state_;
  check(sequences, s.limits, s.config.max_seq_length);
  CHECK(tokens.count() == sequences.rows() && tokens.dtype == DType::i32, "tokens is ", tokens,
        "; the sequences have ", sequences.rows(), " i32 tokens");
  s.kept = false;
  s.activations.resize(sequences.rows(), std::int64_t(sequences.logit_rows.size()),
                       s.placer.segments(sequences));
  s.placer.place(s.ops, s.activations.sequences(), tokens, sequences);
  // Decoding changes the placed tokens on the device.
  if (s.limits.training && tokens.place == Place::host) s.embedding.place(tokens);
}

Tensor Model::run() {
  State& s = *state_;
  const ModelWeights& w = s.weights;
  const Pass pass = s.pass();
  const Scratch all = s.activations.scratch(), logit = s.activations.logit_scratch();
  BlockActivations a = s.activations.block(0);
  if (w.gatherer) w.gatherer->begin_pass();
  s.gather(0, PassDirection::forward);
  s.embedding.forward(s.activations.first_x(), pass.tokens, w.embedding);
  const Tensor h = own_rows(all, all.h);
  s.gather(s.block_unit(0), PassDirection::forward);
  s.ops.rmsnorm_forward(h, a.attention_rstd, a.x, w.blocks[0].attention_norm, pass.norm_eps,
                        all.fp8.h_amax);
  gather_rows_of(pass, all, all.h_parts);
  for (std::size_t l = 0; l + 1 < w.blocks.size(); ++l) {
    block_forward(pass, pass.all, w.blocks[l], a, all, all);
    s.gather(s.block_unit(l + 1), PassDirection::forward);
    const BlockActivations next = s.activations.block(l + 1);
    const bool last = l + 2 == w.blocks.size();  // whose tensors are of all rows
    s.ops.add_rmsnorm_forward(last ? own_rows(all, next.x) : next.x, h,
                              last ? own_rows(all, next.attention_rstd) : next.attention_rstd,
                              a.residual_mid, h, w.blocks[l + 1].attention_norm, pass.norm_eps,
                              all.fp8.h_amax);
    gather_rows_of(pass, all, all.h_parts);
    if (last) gather_rows_of(pass, all, s.activations.last_x_parts());
    a = next;
  }
  block_forward(pass, pass.logit, w.blocks.back(), a, s.activations.whole_scratch(), logit);
  s.gather(s.last_unit(), PassDirection::forward);
  const FinalActivations last = s.activations.final();
  s.ops.add_rmsnorm_forward(last.x, logit.h, last.rstd, a.residual_mid, logit.h, w.final_norm,
                            pass.norm_eps);
  s.kept = s.limits.training;
  return logit.h;
}

void Model::complete(ModelTensors& gradients) {
  for (std::size_t l = state_->weights.blocks.size(); l-- > 0;)
    state_->add_up_replicated(gradients, l);
}

void Model::backward(ModelTensors& gradients, Tensor d_hidden, const GradientObserver& observer,
                     GradMode mode) {
  State& s = *state_;
  const ModelWeights& w = s.weights;
  CHECK(s.limits.training, "backward of a model that was made without training");
  CHECK(s.kept, "backward without a forward pass before it; each allows one");
  s.kept = false;

  const auto complete = [&](const FlatRange& unit) {
    if (observer) observer(unit.begin);
  };
  Pass pass = s.pass();
  pass.gradient_mode = mode;
  const Scratch all = s.activations.scratch(), whole = s.activations.whole_scratch(),
                logit = s.activations.logit_scratch();
  const FinalActivations last = s.activations.final();
  s.gather(s.last_unit(), PassDirection::backward);
  s.ops.rmsnorm_backward(logit.d_x, gradients.final_norm, d_hidden, last.x, last.rstd, w.final_norm,
                         GradMode::overwrite, mode);
  if (gradients.final_norm.data) complete(gradients.units().back());
  s.gather(s.block_unit(w.blocks.size() - 1), PassDirection::backward);
  block_backward(pass, pass.logit, w.blocks.back(), gradients.blocks.back(),
                 s.activations.block(w.blocks.size() - 1), whole, logit);
  if (observer) s.add_up_replicated(gradients, w.blocks.size() - 1);
  complete(gradients.block_unit(w.blocks.size() - 1));
  for (std::size_t l = w.blocks.size() - 1; l-- > 0;) {
    s.gather(s.block_unit(l), PassDirection::backward);
    block_backward(pass, pass.all, w.blocks[l], gradients.blocks[l], s.activations.block(l), all,
                   all, s.limits.recompute);
    if (observer) s.add_up_replicated(gradients, l);
    complete(gradients.block_unit(l));
  }
  if (gradients.are_adapters()) return;
  gather_rows_of(pass, all, all.d_x_parts);
  s.embedding.backward(gradients.embedding, all.d_x, pass.tokens,
                       s.config.tie_embeddings ? GradMode::accumulate : mode);
  complete(gradients.units().front());
}

}  // namespace lacuna
