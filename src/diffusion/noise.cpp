#include "diffusion/noise.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "core/philox.h"
#include "diffusion/block_noise.h"

namespace lacuna {
namespace {

// Set in the index of a step's draw (the strata's common offset), clear in that of a sample's.
constexpr std::uint64_t kStratumBit = std::uint64_t{1} << 63;

/// Of sample `sample` alone.
double independent_level(const NoiseOptions& options, std::int64_t sample) {
  return CounterRng{options.seed, Purpose::mask_ratio, std::uint64_t(sample)}.uniform53(0);
}

void mask(const NoiseOptions& options, std::int64_t first_sample, std::int64_t sequences_in_step,
          const std::vector<float>& p, LossBatch& batch) {
  const std::int64_t T = batch.length;
  batch.shift = options.logits_shift;
  for (std::int64_t b = 0; b < batch.sequences; ++b) {
    const std::int64_t sample = first_sample + b;
    batch.p.push_back(p.empty() ? mask_probability(options, sample) : p[std::size_t(b)]);
    const float probability = batch.p.back();
    mask_sequence(
        options, {sample, b * T, b * T, (b + 1) * T}, probability,
        1.0 / (double(probability) * double(options.maskable(T)) * double(sequences_in_step)),
        batch);
  }
}

void predict_next(std::int64_t sequences_in_step, LossBatch& batch) {
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

void NoiseOptions::check_mask_token() const {
  CHECK(mask_token >= 0, "the ", word_of(objective), " objective needs model.mask_token, which is ",
        mask_token);
}

float mask_probability(double t, double eps) {
  CHECK(t >= 0 && t <= 1, "a mask ratio is ", t, "; it must lie in [0, 1]");
  CHECK(eps >= 0 && eps <= 1, "train.min_mask_probability is ", eps, "; it must lie in [0, 1]");
  return float(std::clamp(std::ceil(((1 - eps) * t + eps) * 0x1p24), 1.0, 0x1p24) * 0x1p-24);
}

std::int64_t rank_in_van_der_corput(std::int64_t i, std::int64_t n) {
  std::int64_t rank = 0;
  for (int digit = 0; i >> digit != 0; ++digit) {
    if ((i >> digit & 1) == 0) continue;
    // Those with i's lower digits and a 0 here come before it.
    const std::int64_t lower = i & ((std::int64_t{1} << digit) - 1),
                       apart = std::int64_t{2} << digit;
    rank += (n - lower + apart - 1) / apart;
  }
  return rank;
}

double noise_level(const NoiseOptions& options, std::int64_t sample) {
  const std::int64_t B = options.stratum;
  if (B == 0) return independent_level(options, sample);
  const CounterRng rng{options.seed, Purpose::mask_ratio, std::uint64_t(sample / B) | kStratumBit};
  return block_level(rng.uniform53(0), rank_in_van_der_corput(sample % B, B), B);
}

double first_noise_level(const NoiseOptions& options, std::int64_t sample, std::int64_t count) {
  const double u = independent_level(options, sample);
  if (options.stratum == 0) return u;
  return (std::floor(u * double(count)) + noise_level(options, sample)) / double(count);
}

float mask_probability(const NoiseOptions& options, std::int64_t sample) {
  return mask_probability(noise_level(options, sample), options.min_mask_probability);
}

std::int64_t step_length(const NoiseOptions& options, std::int64_t step, std::int64_t length,
                         double fraction) {
  const CounterRng rng{options.seed, Purpose::random_length, std::uint64_t(step)};
  const std::int64_t shortest = options.predicts_next() ? 2 : 1;
  if (length <= shortest || rng.uniform53(0) >= fraction) return length;
  const auto drawn = shortest + std::int64_t(rng.below(std::uint64_t(length - shortest + 1), 1));
  std::int64_t unit = 1;  // divides `length`, as each size does
  for (const std::int64_t size : options.blocks.sizes) unit = std::lcm(unit, size);
  return (drawn + unit - 1) / unit * unit;
}

void check_clean(const Tensor& clean, std::int64_t length, std::int64_t sequences_in_step) {
  CHECK(clean.shape.rank == 2 && clean.place == Place::host && clean.contiguous(),
        "clean tokens must be a contiguous [B,T] in main memory, not ", clean);
  CHECK(length >= 1 && length <= clean.cols(), "cannot cut ", clean, " to ", length, " tokens");
  CHECK(sequences_in_step >= 1, "a step of ", sequences_in_step, " sequences");
}

void mask_sequence(const NoiseOptions& options, const SequenceRows& sequence, float p,
                   double weight, LossBatch& batch) {
  options.check_mask_token();
  const CounterRng rng{options.seed, Purpose::mask, std::uint64_t(sequence.sample)};
  const std::int64_t shift = options.logits_shift,
                     given = std::max(shift, sequence.first - sequence.begin);
  std::array<std::uint32_t, 4> bits{};  // of four neighbouring positions
  for (std::int64_t i = given; i < sequence.end - sequence.begin; ++i) {
    if (i == given || i % 4 == 0) bits = rng.block(std::uint32_t(i / 4));
    if (CounterRng::uniform_of(bits[std::size_t(i % 4)]) >= p) continue;
    const auto row = std::size_t(sequence.begin + i);
    batch.masked[row] = 1;
    batch.rows.push_back(std::int32_t(row) - std::int32_t(shift));
    batch.targets.push_back(batch.tokens[row]);
    batch.weights.push_back(weight);
    batch.tokens[row] = options.mask_token;
  }
}

bool has_views(const NoiseOptions& options) {
  return options.objective == Objective::masked_diffusion &&
         (options.blocks.views > 1 || options.mask_form() == MaskForm::mask_count);
}

void add_masked_views(const NoiseOptions& options, const SampleTokens& sequence,
                      double token_weight, LossBatch& batch) {
  options.check_mask_token();
  const BlockNoise& noise = options.blocks;
  const std::int64_t shift = options.logits_shift, given = std::max(shift, sequence.prompt),
                     end = std::int64_t(sequence.tokens.size());
  const std::int64_t masks = noise.masks();
  const double u = first_noise_level(options, sequence.sample, masks);
  batch.views = noise.views;
  for (std::int64_t view = 0; view < noise.views; ++view) {
    const ViewMask mask_of = view_mask(options, sequence.sample, view);
    const std::int64_t begin = std::int64_t(batch.tokens.size());
    batch.tokens.insert(batch.tokens.end(), sequence.tokens.begin(), sequence.tokens.end());
    batch.masked.resize(batch.tokens.size());
    ++batch.sequences;
    const BlockMask mask =
        mask_of(given, std::max(given, end), block_level(u, mask_of.number, masks));
    batch.p.push_back(mask.p);
    for (std::size_t i = 0; i < mask.masked.size(); ++i) {
      if (!mask.masked[i]) continue;
      const std::size_t row = std::size_t(begin + given) + i;
      batch.masked[row] = 1;
      batch.rows.push_back(std::int32_t(row) - std::int32_t(shift));
      batch.targets.push_back(batch.tokens[row]);
      batch.weights.push_back(mask.weight * token_weight / double(noise.views));
      batch.tokens[row] = options.mask_token;
    }
  }
}

LossBatch make_noisy_batch(const NoiseOptions& options, Tensor clean, std::int64_t length,
                           std::int64_t first_sample, std::int64_t sequences_in_step,
                           const std::vector<float>& p) {
  if (options.objective == Objective::block_diffusion) {
    CHECK(p.empty(), "mask probabilities of block diffusion are each block's");
    return make_block_batch(options, clean, length, first_sample, sequences_in_step);
  }
  check_clean(clean, length, sequences_in_step);
  const std::int64_t B = clean.rows(), T = length;
  CHECK(p.empty() || std::int64_t(p.size()) == B, p.size(), " mask probabilities for ", B,
        " sequences");
  LossBatch batch;
  batch.length = T;
  if (has_views(options)) {
    CHECK(p.empty(), "mask probabilities of several views, or of counts, are each view's");
    batch.shift = options.logits_shift;
    const double weight = 1.0 / (double(options.maskable(T)) * double(sequences_in_step));
    for (std::int64_t b = 0; b < B; ++b)
      add_masked_views(
          options,
          {first_sample + b, {clean.as<std::int32_t>() + b * clean.cols(), std::size_t(T)}, 0},
          weight, batch);
    return batch;
  }
  batch.sequences = B;
  batch.masked.resize(std::size_t(B * T));
  batch.tokens.reserve(std::size_t(B * T));
  for (std::int64_t b = 0; b < B; ++b) {
    const std::int32_t* row = clean.as<std::int32_t>() + b * clean.cols();
    batch.tokens.insert(batch.tokens.end(), row, row + T);
  }
  if (options.objective == Objective::autoregressive)
    predict_next(sequences_in_step, batch);
  else
    mask(options, first_sample, sequences_in_step, p, batch);
  return batch;
}

}  // namespace lacuna
