#include "training/gradient_norm.h"

#include <cmath>

namespace lacuna {
namespace {

Plan scalar_plan(const std::string& kind) {
  Plan plan;
  plan.add(kind + "/sum_of_squares", {1}, DType::f64);
  plan.add(kind + "/clip_scale", {1}, DType::f32);
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

void GradientNorm::measure(const std::vector<Tensor>& gradients, double factor,
                           Communicator* ranks) {
  ops_.add_squares(sum(), gradients, factor, GradMode::overwrite);
  if (ranks) {
    ranks->all_reduce(sum(), Reduce::sum);
    ranks->wait();
  }
  ops_.clip_scale(scale(), sum(), clip_norm_);
}

double GradientNorm::value() const {
  double squares = 0;
  ops_.copy(Tensor(&squares, {1}), sum());
  ops_.synchronize();
  return std::sqrt(squares);
}

}  // namespace lacuna
