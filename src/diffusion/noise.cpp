#include "diffusion/noise.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/arena.h"
#include "core/philox.h"

namespace lacuna {
namespace {

/// The operation corrupt(), on host tensors whatever the device.
void corrupt_on_host(Ops& ops, NoisyBatch& batch, std::vector<std::int32_t>& clean,
                     std::vector<std::int64_t>& samples, const NoiseOptions& options) {
  const std::int64_t B = batch.sequences, T = batch.length;
  const Tensor noisy(batch.tokens.data(), {B, T}), masked(batch.masked.data(), {B, T});
  const Tensor from(clean.data(), {B, T}), p(batch.p.data(), {B}), keys(samples.data(), {B});
  if (ops.place() == Place::host) {
    ops.corrupt(noisy, masked, from, p, keys, options.seed, options.mask_token);
    return;
  }
  Plan plan;
  const Slot noisy_slot = plan.add("noise/noisy", {B, T}, DType::i32);
  const Slot masked_slot = plan.add("noise/masked", {B, T}, DType::u8);
  const Slot clean_slot = plan.add("noise/clean", {B, T}, DType::i32);
  const Slot p_slot = plan.add("noise/p", {B});
  const Slot keys_slot = plan.add("noise/samples", {B}, DType::i64);
  const Arena arena(ops.memory(), plan);
  ops.copy(arena[clean_slot], from);
  ops.copy(arena[p_slot], p);
  ops.copy(arena[keys_slot], keys);
  ops.corrupt(arena[noisy_slot], arena[masked_slot], arena[clean_slot], arena[p_slot],
              arena[keys_slot], options.seed, options.mask_token);
  ops.copy(noisy, arena[noisy_slot]);
  ops.copy(masked, arena[masked_slot]);
  ops.synchronize();
}

void mask(Ops& ops, const NoiseOptions& options, std::int64_t first_sample,
          std::int64_t sequences_in_step, const std::vector<float>& p, NoisyBatch& batch) {
  CHECK(options.mask_token >= 0, "the masked_diffusion objective needs model.mask_token, which is ",
        options.mask_token);
  const std::int64_t B = batch.sequences, T = batch.length;
  std::vector<std::int64_t> samples(static_cast<std::size_t>(B));
  std::iota(samples.begin(), samples.end(), first_sample);
  batch.p = p;
  if (p.empty())
    for (const std::int64_t sample : samples) batch.p.push_back(mask_probability(options, sample));
  std::vector<std::int32_t> clean = batch.tokens;
  corrupt_on_host(ops, batch, clean, samples, options);
  for (std::int64_t i = 0; i < B * T; ++i) {
    if (!batch.masked[std::size_t(i)]) continue;
    batch.rows.push_back(std::int32_t(i));
    batch.targets.push_back(clean[std::size_t(i)]);
    batch.weights.push_back(
        1.0 / (double(batch.p[std::size_t(i / T)]) * double(T) * double(sequences_in_step)));
  }
}

void predict_next(std::int64_t sequences_in_step, NoisyBatch& batch) {
  const std::int64_t B = batch.sequences, T = batch.length;
  CHECK(T >= 2, "the autoregressive objective needs sequences of at least 2 tokens, not ", T);
  batch.shift = 1;
  batch.p.assign(std::size_t(B), 1.0f);
  for (std::int64_t i = 0; i < B * T; ++i) {
    batch.masked[std::size_t(i)] = i % T != 0;
    if (i % T == T - 1) continue;
    batch.rows.push_back(std::int32_t(i));
    batch.targets.push_back(batch.tokens[std::size_t(i + 1)]);
  }
  batch.weights.assign(batch.rows.size(), 1.0 / (double(T - 1) * double(sequences_in_step)));
}

}  // namespace

float mask_probability(double t, double eps) {
  CHECK(t >= 0 && t <= 1, "a mask ratio is ", t, "; it must lie in [0, 1]");
  CHECK(eps >= 0 && eps <= 1, "train.min_mask_probability is ", eps, "; it must lie in [0, 1]");
  return float(std::clamp(std::ceil(((1 - eps) * t + eps) * 0x1p24), 1.0, 0x1p24) * 0x1p-24);
}

float mask_probability(const NoiseOptions& options, std::int64_t sample) {
  const CounterRng rng{options.seed, Purpose::mask_ratio, std::uint64_t(sample)};
  return mask_probability(rng.uniform53(0), options.min_mask_probability);
}

std::int64_t step_length(const NoiseOptions& options, std::int64_t step, std::int64_t length,
                         double fraction) {
  const CounterRng rng{options.seed, Purpose::random_length, std::uint64_t(step)};
  const std::int64_t shortest = options.objective == Objective::autoregressive ? 2 : 1;
  if (length <= shortest || rng.uniform53(0) >= fraction) return length;
  return shortest + std::int64_t(rng.below(std::uint64_t(length - shortest + 1), 1));
}

NoisyBatch make_noisy_batch(Ops& ops, const NoiseOptions& options, Tensor clean,
                            std::int64_t length, std::int64_t first_sample,
                            std::int64_t sequences_in_step, const std::vector<float>& p) {
  CHECK(clean.shape.rank == 2 && clean.place == Place::host && clean.contiguous(),
        "clean tokens must be a contiguous [B,T] in main memory, not ", clean);
  CHECK(length >= 1 && length <= clean.cols(), "cannot cut ", clean, " to ", length, " tokens");
  CHECK(sequences_in_step >= 1, "a step of ", sequences_in_step, " sequences");
  const std::int64_t B = clean.rows(), T = length;
  CHECK(p.empty() || std::int64_t(p.size()) == B, p.size(), " mask probabilities for ", B,
        " sequences");
  NoisyBatch batch;
  batch.sequences = B;
  batch.length = T;
  batch.masked.resize(std::size_t(B * T));
  batch.tokens.reserve(std::size_t(B * T));
  for (std::int64_t b = 0; b < B; ++b) {
    const std::int32_t* row = clean.as<std::int32_t>() + b * clean.cols();
    batch.tokens.insert(batch.tokens.end(), row, row + T);
  }
  if (options.objective == Objective::autoregressive)
    predict_next(sequences_in_step, batch);
  else
    mask(ops, options, first_sample, sequences_in_step, p, batch);
  return batch;
}

}  // namespace lacuna
