#include "training/step_readback.h"

#include <cmath>
#include <utility>

namespace lacuna {
namespace {

Plan check_plan() {
  Plan plan;
  plan.add("loss check/largest", {1}, DType::f32);
  plan.add("loss check/sum", {1}, DType::f64);
  return plan;
}

}  // namespace

StepReadback::StepReadback(Ops& ops, std::shared_ptr<const Arena> check,
                           std::unique_ptr<DeferredReads> reads)
    : ops_(ops), check_(std::move(check)), reads_(std::move(reads)) {}

std::vector<std::unique_ptr<StepReadback>> StepReadback::make(Ops& ops, int count) {
  std::vector<std::unique_ptr<StepReadback>> all;
  if (ops.place() == Place::host) return all;
  const auto check = std::make_shared<const Arena>(ops.memory(), check_plan());
  for (int i = 0; i < count; ++i)
    all.push_back(
        std::unique_ptr<StepReadback>(new StepReadback(ops, check, make_deferred_reads(ops))));
  return all;
}

void StepReadback::begin() {
  micro_batches_.clear();
  reads_->begin();
  ops_.add_squares(check(), {}, 0, GradMode::overwrite);
}

/// 0 x^2 is 0, or NaN when x is not finite.
void StepReadback::add(QueuedLosses losses) {
  if (losses.places.empty()) return;
  const Tensor largest = (*check_)[Slot{0}];
  ops_.absolute_maximum(largest, losses.values);
  ops_.add_squares(check(), {largest}, 0, GradMode::accumulate);
  const float* const values = reads_->add<float>(losses.values);
  micro_batches_.push_back({std::move(losses), values});
}

void StepReadback::end(Tensor squares, Tensor scale) {
  squares_ = reads_->add<double>(squares);
  scale_ = reads_->add<float>(scale);
  reads_->end();
}

double StepReadback::loss() const {
  double sum = 0;
  for (const MicroBatch& m : micro_batches_) sum += m.losses.weighted_sum(m.values);
  return sum;
}

double StepReadback::gradient_norm() const { return std::sqrt(*squares_); }
bool StepReadback::updated() const { return std::isfinite(*scale_); }

}  // namespace lacuna
