#include "training/gradient_norm.h"

#include <cmath>

namespace lacuna {
namespace {

Plan scalar_plan(const std::string& kind) {
  Plan plan;
  plan.add(kind + "/sum_of_squares and check", {2}, DType::f64);
  plan.add(kind + "/clip_scale", {1}, DType::f32);
  plan.add(kind + "/clip_scale of the gradients alone", {1}, DType::f32);
  plan.add(kind + "/scale of the check", {1}, DType::f32);
  return plan;
}

}  // namespace

std::vector<FlatRange> counted_ranges(const ModelTensors& weights,
                                      const std::vector<FlatRange>& ranges) {
  if (weights.share().index == 0) return ranges;
  std::vector<FlatRange> counted;
  for (const WeightPiece& piece : pieces_within(weights, ranges))
    if (const NamedWeight& w = weights.named()[piece.weight]; !w.replicated())
      counted.push_back({w.flat + piece.first, piece.values.count()});
  return counted;
}

GradientNorm::GradientNorm(Ops& ops, double clip_norm, const std::string& kind)
    : ops_(ops), clip_norm_(float(clip_norm)), scalars_(ops.memory(), scalar_plan(kind)) {}

void GradientNorm::measure(const std::vector<Tensor>& gradients, double factor, Communicator* ranks,
                           Tensor check) {
  const Tensor sums = scalars_[Slot{0}];
  ops_.add_squares(squares(), gradients, factor, GradMode::overwrite);
  if (check.data) ops_.copy(sums.row_range(1, 1), check);
  if (ranks) {
    ranks->all_reduce(check.data ? sums : squares(), Reduce::sum);
    ranks->wait();
  }
  if (!check.data) return ops_.clip_scale(scale(), squares(), clip_norm_);
  const Tensor of_norm = scalars_[Slot{2}], of_check = scalars_[Slot{3}];  // 1 or NaN
  ops_.clip_scale(of_norm, squares(), clip_norm_);
  ops_.clip_scale(of_check, sums.row_range(1, 1), 0);
  ops_.axpby(scale(), 1, of_norm, 0, of_check);
}

bool GradientNorm::is_finite() const {
  float value = 0;
  ops_.copy(Tensor(&value, Shape{1}), scale());
  ops_.synchronize();
  return std::isfinite(value);
}

double GradientNorm::value() const {
  double sum = 0;
  ops_.copy(Tensor(&sum, {1}), squares());
  ops_.synchronize();
  return std::sqrt(sum);
}

}  // namespace lacuna
