#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "core/prompted_text.h"
#include "core/tensor.h"
#include "diffusion/noise.h"
#include "model/sequences.h"

namespace lacuna {

// The forward process of block diffusion (arXiv:2503.09573): in each block of a text some tokens
// are masked, and predicted from the rest of the block and the clean tokens of earlier blocks. The
// sum over blocks of weighted cross-entropies is an unbiased estimate of a bound on -log p(text).
// With one block it is masked diffusion; with blocks of one token it is -log p(text) itself.

/// Which part of a complementary pair of masks a mask is: what one masks the other does not.
enum class MaskPart : std::uint8_t { alone, first, second };

/// A mask over n tokens of one block, drawn at noise level t.
struct BlockMask {
  std::vector<std::uint8_t> masked;  // [n]
  double weight = 0;                 // of each masked token's cross-entropy; infinite for none
  float p = 0;                       // the probability of a token to be masked, given p or l
};
/// `bits` [n]: 32 random bits per token. With t ~ U(0,1) the sum of weight times cross-entropy over
/// the masked tokens is unbiased, and so is the mean of it over the two parts of a pair.
///   mask_count, alone: l = floor(t n) + 1 tokens, those of the least bits; weight n / l
///     pair: l = floor(t (n + 1)) tokens and the other n - l; weights (n + 1) / l, (n + 1) / (n -
///     l)
///   mask_ratio, alone: each with p = mask_probability(t, eps); weight 1 / p
///     pair: p and 1 - p, both at least eps; weights 1 / p, 1 / (1 - p)
BlockMask block_mask(MaskForm form, MaskPart part, double t, double eps,
                     std::span<const std::uint32_t> bits);

/// The masks of noisy view number `view` of a sample: with complementary masks each two views share
/// a number.
struct ViewMask {
  const NoiseOptions& options;
  std::int64_t sample, number;
  MaskPart part;
  /// Over its tokens [begin, end), at noise level t. No token: no mask.
  BlockMask operator()(std::int64_t begin, std::int64_t end, double t) const;
};
ViewMask view_mask(const NoiseOptions& options, std::int64_t sample, std::int64_t view);

/// The mask of the tokens in `set` (bit i: token i) of n, with the weight 1 / (l C(n, l)), l their
/// number: summed over all 2^n - 1 of them, weighted cross-entropies are the bound itself. Nothing
/// is masked when the set has tokens beyond n.
BlockMask block_subset(std::uint64_t set, std::int64_t n);

/// The noise levels of `count` blocks (or blocks times masks), spread evenly over [0, 1): level i
/// is u + i / count, modulo 1. Each is uniform where u is, and their sums vary little.
double block_level(double u, std::int64_t i, std::int64_t count);

/// The block size of a sample: the only one, or one of several, drawn by its number.
std::int64_t block_size_of(const NoiseOptions& options, std::int64_t sample);

/// Appends to the batch a clean text, of which masks are added with add_noisy_view().
void add_clean_text(std::span<const std::int32_t> tokens, std::int64_t block_size,
                    LossBatch& batch);
/// A noisy view of the last clean text: its tokens at `begin` + i are masked as `mask` says, with
/// its weight times `scale`. masks of one view are added in the order of the text.
void add_noisy_view(LossBatch& batch);
void mask_tokens(std::int32_t mask_token, std::int64_t begin, const BlockMask& mask, double scale,
                 LossBatch& batch);

/// Appends the text with options.blocks.views noisy views. `token_weight`: what a token's
/// cross-entropy would count if all were masked in one view. `level` replaces the drawn level of
/// the sample, unless negative. With options.logits_shift a text's first token is given. Throws
/// Error when the mask token is unknown.
void add_block_text(const NoiseOptions& options, const SampleTokens& text, double token_weight,
                    LossBatch& batch, double level = -1);

/// make_noisy_batch() of block diffusion, where `levels` [B] replace the drawn ones when not empty.
LossBatch make_block_batch(const NoiseOptions& options, Tensor clean, std::int64_t length,
                           std::int64_t first_sample, std::int64_t sequences_in_step,
                           std::span<const double> levels = {});

/// The most that passes over `texts` texts of `tokens` tokens in all may have: their noisy views
/// and the clean tokens.
ModelLimits block_limits(const BlockNoise& noise, std::int64_t tokens, std::int64_t texts,
                         bool training);

}  // namespace lacuna
