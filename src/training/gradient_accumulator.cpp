#include "training/gradient_accumulator.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "core/stopwatch.h"
#include "diffusion/block_rows.h"
#include "training/flops.h"

namespace lacuna {

namespace {

PassWork work_of(const ModelConfig& model, const LossBatch& batch) {
  if (!batch.texts.empty()) {
    const BlockRows rows(batch, model.causal_context, model.logits_shift);
    return {double(rows.tokens.size()), double(rows.losses.size()), double(rows.attended_pairs()),
            double(rows.attended_pairs_of_logit_rows())};
  }
  if (batch.offsets.empty())
    return lacuna::work_of(model, batch.sequences, batch.length, std::int64_t(batch.rows.size()));
  PassWork sum;
  auto row = batch.rows.begin();
  for (std::size_t b = 0; b + 1 < batch.offsets.size(); ++b) {
    const auto end = std::lower_bound(row, batch.rows.end(), batch.offsets[b + 1]);
    sum += lacuna::work_of(model, 1, batch.offsets[b + 1] - batch.offsets[b], end - row);
    row = end;
  }
  return sum;
}

}  // namespace

SampleRange share_of_samples(std::int64_t count, int index, int parts) {
  const std::int64_t first = count * index / parts;
  return {first, count * (index + 1) / parts - first};
}

GradientAccumulator::GradientAccumulator(Ops& ops, const Config& config,
                                         const ModelWeights& weights, const Task& task,
                                         SampleRange share, Communicator* tensor_parallel)
    : config_(config),
      source_(task.source()),
      share_(share),
      objective_(task.objective(ops, weights, share.count, tensor_parallel)) {}

BatchResult GradientAccumulator::run(std::int64_t step, std::int64_t first_sample,
                                     ModelTensors& gradients, const BatchObserver& observer,
                                     DataParallel* data_parallel,
                                     const FirstGradientsObserver& first_gradients,
                                     StepReadback* readback) {
  BatchResult result;
  source_.begin(step, first_sample + share_.first, share_.count);
  const std::optional<double> loss = source_.weigh(objective_);
  result.loss_is_queued = readback && !loss;
  if (result.loss_is_queued) readback->begin();
  LossBatch batch, following;  // the last one is known by there being none after it
  const auto next = [&](LossBatch& into) {
    const Stopwatch wait;
    const bool any = source_.next(into);
    result.wait_seconds += wait.seconds();
    return any;
  };
  const bool each = data_parallel && data_parallel->each_micro_batch();
  const GradientObserver complete = [&](std::int64_t from) {
    data_parallel->gradients_complete(gradients, from);
  };
  const GradientObserver nobody;
  if (data_parallel) data_parallel->begin(step);
  const bool windows = data_parallel && data_parallel->has_windows();
  bool first = bool(first_gradients);  // and still to come
  GradMode mode = GradMode::overwrite;
  // No two ranks' micro-batches of their own have the same number: each has a sample.
  std::int64_t number = each ? 0 : share_.first;
  for (bool any = next(batch); each ? data_parallel->any_rank(any) : any;
       std::swap(batch, following)) {
    const bool here = std::exchange(any, any && next(following));
    const bool reduce = data_parallel && (each || !any);
    // While they are reduced, this rank's own gradients are no longer there.
    const bool own_first = first && !each;
    if (data_parallel) data_parallel->begin_micro_batch(number++, reduce && !own_first);
    if (here) {
      const GradientObserver& observed = windows || reduce ? complete : nobody;
      if (result.loss_is_queued)
        readback->add(objective_.queue_loss_and_gradients(batch, gradients, observed, mode));
      else
        result.loss += objective_.loss_and_gradients(batch, gradients, observed, mode);
      if (!windows) mode = GradMode::accumulate;  // what is in a window has been taken
      result.tokens += batch.texts.empty() ? std::int64_t(batch.tokens.size()) / batch.views
                                           : std::int64_t(batch.clean.size());
      const PassWork work = work_of(config_.model, batch);
      result.flops += gradients.are_adapters() ? adapter_training_flops(config_.model, work)
                                               : training_flops(config_.model, work);
      if (observer) observer(batch);
    }
    if (data_parallel) data_parallel->end_micro_batch(gradients);
    if (own_first) {
      if (data_parallel) data_parallel->join_forward_pass();
      first_gradients(batch);
    }
    if (reduce) data_parallel->finish(gradients);
    if (first && each) first_gradients(batch);
    first = false;
  }
  if (loss) result.loss = *loss;
  result.figures = source_.figures();
  return result;
}

}  // namespace lacuna
