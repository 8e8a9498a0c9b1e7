#include "diffusion/block_noise.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

#include "core/check.h"
#include "core/philox.h"

namespace lacuna {
namespace {

// Sample numbers are below: the bits above tell the masks of a sample's noisy views apart.
constexpr int kSampleBits = 48;

BlockMask mask_count(MaskPart part, double t, std::span<const std::uint32_t> bits) {
  const auto n = std::int64_t(bits.size());
  const bool alone = part == MaskPart::alone;
  const std::int64_t least = alone ? std::min(n, std::int64_t(t * double(n)) + 1)
                                   : std::min(n, std::int64_t(t * double(n + 1)));
  std::vector<std::int32_t> order(bits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
    return bits[std::size_t(a)] < bits[std::size_t(b)];
  });
  BlockMask mask;
  mask.masked.assign(bits.size(), part == MaskPart::second);
  for (std::int64_t i = 0; i < least; ++i)
    mask.masked[std::size_t(order[std::size_t(i)])] = part != MaskPart::second;
  const std::int64_t count = part == MaskPart::second ? n - least : least;
  mask.weight = double(alone ? n : n + 1) / double(count);
  mask.p = float(double(count) / double(n));
  return mask;
}

BlockMask mask_ratio(MaskPart part, double t, double eps, std::span<const std::uint32_t> bits) {
  BlockMask mask;
  float p = 0;
  if (part == MaskPart::alone) {
    p = mask_probability(t, eps);
  } else {  // on [eps, 1 - eps]
    const double e = std::min(eps, 0.5);
    p = mask_probability(t * (1 - 2 * e) / (1 - e), e);
  }
  const bool second = part == MaskPart::second;
  for (const std::uint32_t b : bits)
    mask.masked.push_back((CounterRng::uniform_of(b) < p) != second);
  mask.p = second ? 1 - p : p;
  mask.weight = 1 / double(mask.p);
  return mask;
}

}  // namespace

BlockMask block_mask(MaskForm form, MaskPart part, double t, double eps,
                     std::span<const std::uint32_t> bits) {
  return form == MaskForm::mask_count ? mask_count(part, t, bits) : mask_ratio(part, t, eps, bits);
}

ViewMask view_mask(const NoiseOptions& options, std::int64_t sample, std::int64_t view) {
  CHECK(sample >= 0 && sample < std::int64_t{1} << kSampleBits, "sample number ", sample);
  if (!options.blocks.complementary) return {options, sample, view, MaskPart::alone};
  return {options, sample, view / 2, view % 2 == 0 ? MaskPart::first : MaskPart::second};
}

BlockMask ViewMask::operator()(std::int64_t begin, std::int64_t end, double t) const {
  if (begin >= end) return {};
  const CounterRng rng{options.seed, Purpose::mask,
                       std::uint64_t(sample) | std::uint64_t(number) << kSampleBits};
  std::vector<std::uint32_t> bits;
  for (std::int64_t i = begin; i < end; ++i) bits.push_back(rng.bits(std::uint32_t(i)));
  return block_mask(options.mask_form(), part, t, options.min_mask_probability, bits);
}

BlockMask block_subset(std::uint64_t set, std::int64_t n) {
  BlockMask mask;
  mask.masked.assign(std::size_t(n), 0);
  if (set >> n != 0) return mask;
  const std::int64_t l = std::popcount(set);
  double choices = 1;  // C(n, l)
  for (std::int64_t i = 0; i < l; ++i) choices = choices * double(n - i) / double(i + 1);
  for (std::int64_t i = 0; i < n; ++i) mask.masked[std::size_t(i)] = set >> i & 1;
  mask.weight = 1 / (double(l) * choices);
  mask.p = float(double(l) / double(n));
  return mask;
}

double block_level(double u, std::int64_t i, std::int64_t count) {
  const double level = u + double(i) / double(count);
  return level - std::floor(level);
}

std::int64_t block_size_of(const NoiseOptions& options, std::int64_t sample) {
  const std::vector<std::int64_t>& sizes = options.blocks.sizes;
  CHECK(!sizes.empty(), "block diffusion without a block size");
  if (sizes.size() == 1) return sizes.front();
  const CounterRng rng{options.seed, Purpose::block_size, std::uint64_t(sample)};
  return sizes[rng.below(sizes.size())];
}

void add_clean_text(std::span<const std::int32_t> tokens, std::int64_t block_size,
                    LossBatch& batch) {
  batch.texts.push_back({std::int64_t(batch.clean.size()), 0, block_size});
  batch.clean.insert(batch.clean.end(), tokens.begin(), tokens.end());
}

void add_noisy_view(LossBatch& batch) {
  LossBatch::CleanText& text = batch.texts.back();
  batch.tokens.insert(batch.tokens.end(), batch.clean.begin() + text.first, batch.clean.end());
  batch.masked.resize(batch.tokens.size());
  batch.p_mask.resize(batch.tokens.size());
  batch.length = std::max(batch.length, std::int64_t(batch.clean.size()) - text.first);
  ++batch.sequences;
  ++text.views;
}

void mask_tokens(std::int32_t mask_token, std::int64_t begin, const BlockMask& mask, double scale,
                 LossBatch& batch) {
  const std::int64_t first = std::int64_t(batch.tokens.size()) -
                             (std::int64_t(batch.clean.size()) - batch.texts.back().first) + begin;
  for (std::size_t i = 0; i < mask.masked.size(); ++i) {
    const std::size_t row = std::size_t(first) + i;
    batch.p_mask[row] = mask.p;
    if (!mask.masked[i]) continue;
    batch.masked[row] = 1;
    batch.rows.push_back(std::int32_t(row));
    batch.targets.push_back(batch.tokens[row]);
    batch.weights.push_back(mask.weight * scale);
    batch.tokens[row] = mask_token;
  }
}

void add_block_text(const NoiseOptions& options, const SampleTokens& text, double token_weight,
                    LossBatch& batch, double level) {
  options.check_mask_token();
  const BlockNoise& noise = options.blocks;
  const std::int64_t size = block_size_of(options, text.sample),
                     length = std::int64_t(text.tokens.size()),
                     given = std::max(text.prompt, std::int64_t{options.logits_shift}),
                     first_block = given / size, blocks = (length + size - 1) / size - first_block,
                     masks = noise.masks();
  const std::int64_t first_clean = std::int64_t(batch.clean.size());
  const double u = level >= 0 ? level : first_noise_level(options, text.sample, blocks * masks);
  add_clean_text(text.tokens, size, batch);
  for (std::int64_t view = 0; view < noise.views; ++view) {
    const ViewMask mask_of = view_mask(options, text.sample, view);
    add_noisy_view(batch);
    for (std::int64_t b = 0; b < blocks; ++b) {
      const std::int64_t begin = std::max((first_block + b) * size, given),
                         end = std::min((first_block + b + 1) * size, length);
      const double t = block_level(u, b * masks + mask_of.number, blocks * masks);
      mask_tokens(options.mask_token, begin, mask_of(begin, end, t),
                  token_weight / double(noise.views), batch);
    }
  }
  if (noise.autoregressive_weight == 0) return;
  for (std::int64_t i = std::max<std::int64_t>(1, text.prompt); i < length; ++i) {
    batch.clean_rows.push_back(std::int32_t(first_clean + i - 1));
    batch.clean_weights.push_back(noise.autoregressive_weight * token_weight);
  }
}

LossBatch make_block_batch(const NoiseOptions& options, Tensor clean, std::int64_t length,
                           std::int64_t first_sample, std::int64_t sequences_in_step,
                           std::span<const double> levels) {
  const std::int64_t B = clean.rows();
  check_clean(clean, length, sequences_in_step);
  CHECK(levels.empty() || std::int64_t(levels.size()) == B, levels.size(), " noise levels for ", B,
        " sequences");
  LossBatch batch;
  for (std::int64_t b = 0; b < B; ++b) {
    const std::span tokens(clean.as<std::int32_t>() + b * clean.cols(), std::size_t(length));
    add_block_text(options, {first_sample + b, tokens, 0},
                   1.0 / (double(options.maskable(length)) * double(sequences_in_step)), batch,
                   levels.empty() ? -1 : levels[std::size_t(b)]);
  }
  return batch;
}

ModelLimits block_limits(const BlockNoise& noise, std::int64_t tokens, std::int64_t texts,
                         bool training) {
  const std::int64_t rows_per_token = noise.views + 1,
                     predicted = noise.masks() + (noise.autoregressive_weight > 0 ? 1 : 0);
  return {tokens * rows_per_token, texts * rows_per_token, tokens * predicted, training};
}

}  // namespace lacuna
