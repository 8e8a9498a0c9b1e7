#include "training/muon.h"

#include <algorithm>
#include <cmath>

#include "model_io/tensor_io.h"

namespace lacuna {
namespace {

constexpr double kUpdateSize = 0.2;  // root mean square of AdamW's updates, in learning rates

// The slots of the plan, in its order.
constexpr Slot kOwn{0}, kOthers{1}, kPart{2};

double flops_of_matrix(const Shape& shape) {
  const auto most = double(std::max(shape[0], shape[1])),
             least = double(std::min(shape[0], shape[1]));
  return 5 * (4 * least * least * most + 2 * least * least * least);
}

}  // namespace

bool is_updated_by_muon(const WeightSpec& spec) { return spec.is_block_matrix(); }

double orthogonalisation_flops(const ModelConfig& config) {
  double flops = 0;
  for (const ModelWeight& w : model_weights(config))
    if (is_updated_by_muon(*w.spec)) flops += flops_of_matrix(w.shape);
  return flops;
}

/// What buffers depend on, over all matrices.
struct Muon::Sizes {
  std::int64_t elements = 0, side = 0;  // of whole matrices, at most
  std::int64_t part = 0;                // of what this rank updates of one at once, at most

  void add(const Shape& whole) {
    elements = std::max(elements, whole.count());
    side = std::max(side, std::min(whole[0], whole[1]));
  }
};

Plan Muon::buffers(const Sizes& sizes, bool alone, bool holds_parts) {
  Plan plan;
  plan.add("muon/own_matrix", {sizes.elements});
  plan.add("muon/others_matrix", {alone ? 0 : sizes.elements});
  plan.add("muon/part", {alone || !holds_parts ? 0 : sizes.part});
  return plan;
}

Muon::Muon(Ops& ops, const OptimizerConfig& config, const ModelTensors& weights,
           const OptimizerShard& momentum, MuonRanks ranks)
    : ops_(ops), config_(config), weights_(weights), momentum_(momentum), ranks_(ranks) {
  Sizes sizes;
  for (std::size_t i = 0; i < weights.named().size(); ++i) {
    const NamedWeight& w = weights.named()[i];
    if (!is_updated_by_muon(*w.spec)) continue;
    CHECK(!ranks.holders || !w.replicated() || weights.share().count == 1, w.name,
          ": ranks hold copies, not parts, of it");
    sizes.add(w.whole);
    jobs_.push_back({i, {}});
  }
  // By cost, so that ranks that compute at the same time have equal work.
  std::stable_sort(jobs_.begin(), jobs_.end(), [&](const Job& a, const Job& b) {
    return flops_of_matrix(weights.named()[a.weight].whole) >
           flops_of_matrix(weights.named()[b.weight].whole);
  });
  for (std::size_t p = 0; p < momentum.pieces().size(); ++p) {
    const WeightPiece& piece = momentum.pieces()[p];
    const auto job = std::find_if(jobs_.begin(), jobs_.end(),
                                  [&](const Job& j) { return j.weight == piece.weight; });
    if (job == jobs_.end()) continue;
    job->pieces.push_back(p);
    sizes.part = std::max(sizes.part, piece.values.count());
  }
  arena_ = std::make_unique<Arena>(ops.memory(), buffers(sizes, !ranks.all, ranks.holders));
  newton_schulz_ = std::make_unique<NewtonSchulz>(ops, sizes.elements, sizes.side, weights.dtype());
}

std::int64_t Muon::planned_bytes(const WeightLayout& weights, DType dtype, FlatLayout layout,
                                 const std::vector<FlatRange>& updated, bool alone,
                                 bool holds_parts) {
  Sizes sizes;
  for (const ModelWeight& w : weights.weights)
    if (is_updated_by_muon(*w.spec)) sizes.add(w.shape);
  for (const FlatRange& matrix : ModelTensors::ranges_of(weights, layout, is_updated_by_muon))
    for (const FlatRange& part : intersection(updated, {matrix}))
      sizes.part = std::max(sizes.part, part.size);
  return buffers(sizes, alone, holds_parts).bytes() +
         NewtonSchulz::plan(sizes.elements, sizes.side, dtype).bytes();
}

std::int64_t Muon::bytes() const { return arena_->plan().bytes() + newton_schulz_->bytes(); }

Tensor Muon::whole(Slot slot, const NamedWeight& w) const {
  return (*arena_)[slot].row_range(0, w.whole.count()).reshaped(w.whole);
}

/// u of the whole matrix: each holder's parts, and zeros elsewhere, added up.
void Muon::gather(const Job& job, Tensor into, const OptimizerShard& gradients, Tensor scale) {
  const NamedWeight& w = weights_.named()[job.weight];
  const auto mu = float(config_.muon_momentum);
  if (ranks_.holders) ops_.fill(into, 0);
  for (const std::size_t p : job.pieces) {
    WeightPiece piece = momentum_.pieces()[p];
    const Tensor part =
        ranks_.holders ? (*arena_)[kPart].row_range(0, piece.values.count())
                       : into.reshaped({into.count()}).row_range(piece.first, piece.values.count());
    ops_.axpby(part, mu, piece.values, 0);
    ops_.axpby(part, 1 - mu, gradients.elements(momentum_.place(p)), 1, scale);
    if (!ranks_.holders) continue;
    piece.values = part;
    for_boxes(w, piece, part.count(), [&](std::int64_t row, std::int64_t col, const Tensor& box) {
      ops_.copy(into.row_range(row, box.rows()).column_range(col, box.cols()), box);
    });
  }
  if (!ranks_.holders) return;
  ranks_.holders->all_reduce(into, Reduce::sum);
  ranks_.holders->wait();
}

void Muon::apply(const Job& job, Tensor orthogonal, const OptimizerShard& master,
                 double learning_rate) {
  const NamedWeight& w = weights_.named()[job.weight];
  const double size = kUpdateSize * std::sqrt(double(std::max(w.whole[0], w.whole[1])));
  const auto step = float(-learning_rate * size),
             kept = float(1 - learning_rate * config_.weight_decay);
  for (const std::size_t p : job.pieces) {
    const Tensor values = master.elements(momentum_.place(p));
    WeightPiece piece = momentum_.pieces()[p];
    if (!ranks_.holders) {
      ops_.axpby(values, step,
                 orthogonal.reshaped({orthogonal.count()}).row_range(piece.first, values.count()),
                 kept);
      continue;
    }
    piece.values = (*arena_)[kPart].row_range(0, values.count());
    for_boxes(w, piece, values.count(), [&](std::int64_t row, std::int64_t col, const Tensor& box) {
      ops_.copy(box, orthogonal.row_range(row, box.rows()).column_range(col, box.cols()));
    });
    ops_.axpby(values, step, piece.values, kept);
  }
}

void Muon::update(const OptimizerShard& gradients, const OptimizerShard& master, Tensor scale,
                  double learning_rate) {
  const auto mu = float(config_.muon_momentum);
  for (const Job& job : jobs_)
    for (const std::size_t p : job.pieces)
      ops_.axpby(momentum_.pieces()[p].values, 1 - mu, gradients.elements(momentum_.place(p)), mu,
                 scale);
  const std::size_t size = ranks_.all ? std::size_t(ranks_.all->size()) : 1,
                    rank = ranks_.all ? std::size_t(ranks_.all->rank()) : 0;
  for (std::size_t first = 0; first < jobs_.size(); first += size) {
    const std::size_t end = std::min(jobs_.size(), first + size), own = first + rank;
    const auto matrix = [&](std::size_t j) {
      return whole(j == own ? kOwn : kOthers, weights_.named()[jobs_[j].weight]);
    };
    for (std::size_t j = first; j < end; ++j)
      if (j == own || ranks_.holders) gather(jobs_[j], matrix(j), gradients, scale);
    if (own < end) newton_schulz_->orthogonalise(matrix(own));
    for (std::size_t j = first; j < end; ++j) {
      if (ranks_.all) {
        ranks_.all->broadcast(matrix(j), int(j - first));
        ranks_.all->wait();
      }
      apply(jobs_[j], matrix(j), master, learning_rate);
    }
  }
}

}  // namespace lacuna
