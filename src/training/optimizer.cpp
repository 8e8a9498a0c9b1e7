#include "training/optimizer.h"

#include "config/dtype.h"

namespace lacuna {
namespace {

/// Of the elements of pieces among those of all weights, whole, in their order.
std::vector<ElementNumbers> numbers_of(const ModelTensors& weights,
                                       const std::vector<WeightPiece>& pieces) {
  std::vector<std::uint64_t> begins = {0};  // of each whole weight
  for (const NamedWeight& w : weights.named())
    begins.push_back(begins.back() + std::uint64_t(w.whole.count()));
  std::vector<ElementNumbers> numbers;
  for (const WeightPiece& piece : pieces) {
    const NamedWeight& w = weights.named()[piece.weight];
    const std::int64_t stride = w.whole[w.whole.rank - 1];
    numbers.push_back({.begin = begins[piece.weight] + std::uint64_t(w.row * stride + w.col),
                       .first = piece.first,
                       .width = w.tensor.cols(),
                       .stride = stride});
  }
  return numbers;
}

}  // namespace

bool decays(WeightKind kind, const OptimizerConfig& config) {
  switch (kind) {
    case WeightKind::matrix:
      return true;
    case WeightKind::bias:
      return false;
    case WeightKind::norm:
      return config.decay_norms;
    case WeightKind::embedding:
      return config.decay_embeddings;
  }
  fail("unknown kind of weight");
}

Optimizer::Optimizer(Ops& ops, const OptimizerConfig& config, const ModelTensors& weights)
    : Optimizer(ops, config, weights,
                {{{0, weights.flat().count()}}, {{0, weights.flat().count()}}, nullptr}) {}

Optimizer::Optimizer(Ops& ops, const OptimizerConfig& config, const ModelTensors& weights,
                     ShardRanges share, std::uint64_t seed)
    : ops_(ops),
      config_(config),
      weights_(weights),
      share_(std::move(share)),
      seed_(seed),
      own_weights_(weights, share_.updated),
      first_(ops.memory(), weights, share_.updated, "first moment", type_of(config.moments_dtype)),
      second_(ops.memory(), weights, share_.updated, "second moment",
              type_of(config.moments_dtype)),
      numbers_(numbers_of(weights, first_.pieces())),
      norm_(ops, config.clip_norm, "optimizer") {
  if (weights.embedding.dtype != DType::f32)
    master_.emplace(ops.memory(), weights, share_.updated, "master weights");
}

void Optimizer::cast_master_weights() {
  if (!master_) return;
  for (std::size_t i = 0; i < own_weights_.pieces().size(); ++i)
    ops_.copy(own_weights_.pieces()[i].values, master_->pieces()[i].values);
}

std::int64_t Optimizer::bytes() const {
  return first_.flat().bytes() + second_.flat().bytes() + (master_ ? master_->flat().bytes() : 0);
}

void Optimizer::measure(const OptimizerShard& gradients) {
  norm_.begin();
  for (const FlatRange& range : share_.counted) norm_.add(gradients.elements(range), 1);
  norm_.end(share_.ranks);
}

void Optimizer::update(const OptimizerShard& gradients, double learning_rate, std::int64_t number) {
  std::vector<AdamWPiece> pieces;
  for (std::size_t i = 0; i < master().pieces().size(); ++i) {
    const WeightPiece& w = master().pieces()[i];
    pieces.push_back({.w = w.values,
                      .m = first_.pieces()[i].values,
                      .v = second_.pieces()[i].values,
                      .g = gradients.elements(master().place(i)),
                      .rounded = master_ ? own_weights_.pieces()[i].values : Tensor(),
                      .decays = decays(weights_.named()[w.weight].kind(), config_),
                      .numbers = numbers_[i]});
  }
  ops_.adamw(pieces, norm_.scale(),
             {.learning_rate = learning_rate,
              .beta1 = config_.beta1,
              .beta2 = config_.beta2,
              .eps = config_.eps,
              .weight_decay = config_.weight_decay,
              .step = number,
              .seed = seed_});
}

}  // namespace lacuna
