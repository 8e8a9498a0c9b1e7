#include "training/gradient_noise.h"

#include <limits>

#include "core/check.h"

namespace lacuna {

double GradientNoise::scale() const {
  return squared_norm > 0 ? variance / squared_norm : std::numeric_limits<double>::quiet_NaN();
}

GradientNoise estimated_gradient_noise(double parts, double counts, double counts_squared,
                                       double whole, double batch) {
  // Of |G|^2 and of tr S in the expectation of `parts`.
  const double of_square = counts_squared / (batch * batch), of_variance = counts / (batch * batch),
               determinant = of_variance - of_square / batch;
  GradientNoise noise;
  noise.variance = determinant > 0 ? (parts - of_square * whole) / determinant
                                   : std::numeric_limits<double>::quiet_NaN();
  noise.squared_norm = whole - noise.variance / batch;
  return noise;
}

std::int64_t samples_in(const LossBatch& batch) {
  return batch.texts.empty() ? batch.sequences / batch.views : std::int64_t(batch.texts.size());
}

GradientNoiseProbe::GradientNoiseProbe(Ops& ops, const Config& config, const DeviceMesh& grid,
                                       const ModelReplica& replica)
    : grid_(grid),
      replica_(replica),
      batch_(double(config.train.batch_size)),
      norm_(ops, 0, "gradient noise") {
  // Of ranks with one micro-batch each, ZeRO-2 knows the sum alone.
  const std::int64_t ranks = grid.data().size(),
                     parts = replica.data_parallel.each_micro_batch() ? ranks : 1,
                     most = config.train.micro_batch_size * parts;
  if ((ranks == 1 || parts > 1) && most >= config.train.batch_size)
    fail_usage(
        str("train.log_gradient_noise = true compares a part of the batch with all of it, but "
            "train.micro_batch_size = ",
            config.train.micro_batch_size, parts > 1 ? str(" on ", ranks, " ranks") : "",
            " takes all of train.batch_size = ", config.train.batch_size,
            "; halve train.micro_batch_size"));
  const std::int64_t share = (config.train.batch_size + ranks - 1) / ranks;
  if (grid.tensor().size() > 1 && parts == 1 && config.train.micro_batch_size < share)
    fail_usage(str(
        "train.log_gradient_noise = true with parallel.tensor_parallel = ", grid.tensor().size(),
        " needs one micro-batch per rank, or "
        "parallel.zero_stage = 2: set train.micro_batch_size = ",
        share));
}

void GradientNoiseProbe::measure_part(std::int64_t samples) {
  std::vector<Tensor> counted;
  for (const FlatRange& range : counted_ranges(replica_.weights, replica_.reduced.owned()))
    counted.push_back(replica_.reduced.elements(range));
  norm_.measure(counted, 1, grid_.world().size() > 1 ? &grid_.world() : nullptr);
  parts_ = norm_.value() * norm_.value();
  const auto n = double(samples);
  double sums[] = {n, n * n};  // over copies of the model
  grid_.data().all_reduce(Tensor(sums, Shape{2}), Reduce::sum);
  grid_.data().wait();
  counts_ = sums[0];
  counts_squared_ = replica_.data_parallel.each_micro_batch() ? sums[0] * sums[0] : sums[1];
}

std::vector<Figure> GradientNoiseProbe::figures(double gradient_norm) const {
  const GradientNoise noise = estimated_gradient_noise(parts_, counts_, counts_squared_,
                                                       gradient_norm * gradient_norm, batch_);
  return {{"gradient_noise_scale", noise.scale()},
          {"gradient_variance", noise.variance},
          {"gradient_squared_norm", noise.squared_norm}};
}

}  // namespace lacuna
