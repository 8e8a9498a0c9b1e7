#pragma once
#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "config/config.h"
#include "core/tensor.h"

namespace lacuna {

/// How the blocks of a sequence are masked (diffusion/block_noise.h); in masked diffusion a
/// sequence is one block, and sizes and autoregressive_weight are not used.
struct BlockNoise {
  std::vector<std::int64_t> sizes;    // tokens per block; of several, each sequence draws one
  std::optional<MaskForm> form = {};  // none: default_mask_form()
  std::int64_t views = 1;             // noisy views of each sequence
  bool complementary = false;         // of each two, one masks what the other does not
  double autoregressive_weight = 0;   // of the next-token loss on the clean tokens

  /// Draws of a mask for each token; complementary views share one.
  std::int64_t masks() const { return complementary ? views / 2 : views; }
};

/// What turns clean sequences into training examples. The same numbers on every layout and device.
struct NoiseOptions {
  Objective objective = Objective::masked_diffusion;
  double min_mask_probability = 1e-3;  // eps, in [0, 1]
  std::uint64_t seed = 1;
  std::int32_t mask_token = -1;  // needed for diffusion only
  bool logits_shift = false;     // of the model: a masked token is predicted at the row before it
  BlockNoise blocks = {};
  std::int64_t stratum = 0;  // samples among which noise levels are spread evenly, those of a step;
                             // 0: each sample's is drawn independently

  MaskForm mask_form() const { return blocks.form.value_or(default_mask_form(objective)); }

  /// Error when the mask token, which diffusion needs, is unknown.
  void check_mask_token() const;
  /// Whether a row predicts the token after it.
  bool predicts_next() const { return objective == Objective::autoregressive || logits_shift; }
  /// How many of `length` tokens can be masked: with logits_shift not the first. At least 1, as
  /// weights are divided by it.
  std::int64_t maskable(std::int64_t length) const {
    return logits_shift ? std::max<std::int64_t>(1, length - 1) : length;
  }
};

/// A micro-batch, ready for the model: what it sees, which rows it must predict, and what each
/// row's cross-entropy counts. All on the host. Row m of the last three is read at rows[m] of
/// [0, B*T) and predicts the token at rows[m] + shift. Sequences of unequal lengths lie end to end,
/// without padding; `offsets` then says where, and N = offsets.back() stands for B*T.
struct LossBatch {
  std::int64_t sequences = 0, length = 0;  // B, T (the longest)
  std::int64_t views = 1;                  // of masked diffusion: each so many sequences in a row
                                           // are noisy views of the same tokens; their documents
                                           // may be sequences of their own
  std::vector<std::int32_t> offsets;       // [B+1], or empty: all have T tokens
  std::int64_t shift = 0;                  // 0: a masked token itself; 1: the next. Of block
                                           // diffusion 0: BlockRows says where it is predicted
  std::vector<std::int32_t> tokens;        // [B*T], what the model sees
  std::vector<std::uint8_t> masked;        // [B*T], 1 where a token is in the loss
  std::vector<float> p;                    // [B], mask probabilities (1 for autoregressive)
  std::vector<std::int32_t> rows;          // [M], increasing; M may be 0
  std::vector<std::int32_t> targets;       // [M]
  std::vector<double> weights;             // [M]
  std::vector<std::int64_t> samples;       // [B], global numbers; only with offsets
  // Of fine-tuning alone (diffusion/responses.h):
  std::vector<std::uint8_t> response;  // [N], 1 where a token belongs to a response
  // Of block diffusion alone. The sequences above are noisy views, one after the other, of clean
  // texts; p is empty.
  struct CleanText {
    std::int64_t first;  // its tokens are clean[first] up to the next text's
    std::int64_t views;  // noisy views
    std::int64_t block_size;
  };
  std::vector<CleanText> texts;
  std::vector<std::int32_t> clean;
  std::vector<float> p_mask;             // [B*T], each token's own; 0 where it is given
  std::vector<std::int32_t> clean_rows;  // of `clean`, increasing: where the next is predicted
  std::vector<double> clean_weights;     // of those predictions

  bool has_loss() const { return !rows.empty() || !clean_rows.empty(); }
};

/// p = (1 - eps) t + eps for t in [0,1] (LLaDA's GUIDELINES.md; arXiv:2502.09992, algorithm 1),
/// rounded up to a multiple of 2^-24. Masks compare uniform multiples of 2^-24 with p, so a token
/// is masked with probability p exactly, and 1/p is the exact weight. In (0,1] for any eps.
float mask_probability(double t, double eps);

/// The noise level t of global sample `sample`, uniform on [0,1). With options.stratum = B the
/// levels of samples [sB, (s+1)B) are t = (u_s + r / B) mod 1, u_s drawn once for them, where r
/// runs over [0, B) in van der Corput's order (rank_in_van_der_corput()): one level in each stratum
/// of width 1/B, and nearly evenly spread levels in every part that a rank or micro-batch takes.
double noise_level(const NoiseOptions& options, std::int64_t sample);
/// The first of `count` levels of a sample, the others of which are block_level() of it: u, uniform
/// on [0,1). With options.stratum, u = (floor(u' count) + t) / count, u' independent and t the
/// sample's level above, so that all levels of all samples are spread evenly.
double first_noise_level(const NoiseOptions& options, std::int64_t sample, std::int64_t count);
/// The rank of i among 0, 1, …, n - 1 ordered by their binary digits in reverse (van der Corput).
std::int64_t rank_in_van_der_corput(std::int64_t i, std::int64_t n);
/// mask_probability() of noise_level().
float mask_probability(const NoiseOptions& options, std::int64_t sample);

/// How many tokens of each sequence step `step` uses: `length`, or, for a share `fraction` of the
/// steps, uniform on [1, length] ([2, length] where the next token is predicted; of block diffusion
/// rounded up to whole blocks of every size). One draw per step, so that every rank and micro-batch
/// agrees.
std::int64_t step_length(const NoiseOptions& options, std::int64_t step, std::int64_t length,
                         double fraction);

/// Error unless clean tokens are a contiguous [B,T] in main memory that can be cut to `length`.
void check_clean(const Tensor& clean, std::int64_t length, std::int64_t sequences_in_step);

/// Where a sequence lies in a batch: at rows [begin, end), of which those before `first` are given
/// and never masked. `sample` is its global number.
struct SequenceRows {
  std::int64_t sample = 0, begin = 0, first = 0, end = 0;
};

/// The forward process of LLaDA (arXiv:2502.09992, eq. 7 and algorithm 1) on one sequence: the
/// token at row begin + i is masked iff CounterRng{seed, Purpose::mask, sample}.uniform(i) < p.
/// Those become the mask token, and are appended to the batch's rows, targets and weights. With
/// logits_shift the first token is given. On the
/// host whatever the device: a micro-batch's mask is needed there, and costs a nanosecond or two a
/// token. Throws Error when the mask token is unknown.
void mask_sequence(const NoiseOptions& options, const SequenceRows& sequence, float p,
                   double weight, LossBatch& batch);

/// A sequence of tokens, of which the first `prompt` are given and never masked. `sample` is its
/// global number, which names its noise.
struct SampleTokens {
  std::int64_t sample = 0;
  std::span<const std::int32_t> tokens;
  std::int64_t prompt = 0;
};
/// Whether masked diffusion needs more than mask_sequence(): counts, or several views.
bool has_views(const NoiseOptions& options);
/// Appends options.blocks.views noisy views of a sequence, masked as one block by block_mask()
/// (diffusion/block_noise.h). `token_weight`: what a token's cross-entropy would count if all were
/// masked in one view. Throws Error when the mask token is unknown.
void add_masked_views(const NoiseOptions& options, const SampleTokens& sequence,
                      double token_weight, LossBatch& batch);

/// Examples from clean i32 [B,T0] (host), cut to their first `length` tokens. Row b is global
/// sample first_sample + b. `sequences_in_step` is the number of sequences over which the step's
/// loss is a mean, so that weights of all its micro-batches add up:
///   masked diffusion: weight = 1 / (p_b length sequences_in_step), on masked rows; with
///                     logits_shift of length - 1 tokens, the first being given; where has_views(),
///                     those of add_masked_views(), and the batch has B views sequences
///   autoregressive:   weight = 1 / ((length - 1) sequences_in_step), row i predicts token i + 1;
///                     the first token of a sequence is given
///   block diffusion:  make_block_batch() (diffusion/block_noise.h); with logits_shift as above
/// `p` overrides the drawn mask probabilities when not empty (validation's fixed ones); those
/// should come from mask_probability(t, eps). Throws Error when lengths disagree or the mask token
/// is unknown.
LossBatch make_noisy_batch(const NoiseOptions& options, Tensor clean, std::int64_t length,
                           std::int64_t first_sample, std::int64_t sequences_in_step,
                           const std::vector<float>& p = {});

}  // namespace lacuna
