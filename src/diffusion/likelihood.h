#pragma once
#include <cstdint>
#include <functional>
#include <vector>

#include "config/config.h"
#include "core/prompted_text.h"
#include "diffusion/objective.h"

namespace lacuna {

/// Of LLaDA's bound on -log p(response | prompt) (arXiv:2502.09992), or of block diffusion's. Both
/// forms have the same expectation, response by response.
struct LikelihoodOptions {
  MaskForm form = MaskForm::mask_count;
  std::int64_t samples = 128;  // masks per text
  bool stratified = true;      // the i-th of n masks takes its count or ratio from the i-th n-th
  std::uint64_t seed = 1;
};

struct Likelihood {
  double nats = 0;            // an upper bound on -log p(response | prompt), or that itself
  double standard_error = 0;  // of the estimate; 0: exact; NaN: one mask tells nothing about it
  std::int64_t tokens = 0;    // of the response
  std::int64_t samples = 0;   // masks that were evaluated
};

/// Called for text after text.
using LikelihoodObserver = std::function<void(std::size_t text, const Likelihood&)>;

/// One mask over a response of `tokens` tokens.
struct ResponseMask {
  std::vector<std::int32_t> positions;  // masked, increasing; of the ratio form perhaps none
  double weight = 0;                    // what the sum of their cross-entropies counts
};
/// Mask `sample` of text `text`: a function of the options, these two numbers and the length.
ResponseMask response_mask(const LikelihoodOptions& options, std::int64_t text, std::int64_t sample,
                           std::int64_t tokens);

/// The mean of independent estimates and its standard error. Stratified: by collapsed strata
/// (Cochran, Sampling Techniques, 5A.12), the squared differences of neighbours, which on average
/// is too large rather than too small.
Likelihood summarise(const std::vector<double>& estimates, bool stratified);
/// Of all texts together: they are independent, so that variances add up.
Likelihood sum_of(const std::vector<Likelihood>& texts);

/// Scores texts by the one forward pass. A causal model's likelihood is exact, in one pass per
/// text; without a prompt its first token follows the end token, as in training, and so does that
/// of a model with logits_shift. Of a block-causal model each block has a bound, of counts or
/// ratios of its own (diffusion/block_noise.h), and the masks of a text share its clean rows. Where
/// a block's 2^n - 1 subsets of n tokens are no more than the samples that are asked for, all of
/// them are computed instead, the same in every block, and the bound is exact: of blocks of one
/// token in one pass.
///
/// The ratio form's variance grows with log(1/t) of the smallest ratio, without end: its standard
/// errors are rough, and it needs some 1000 masks where the count form needs 128 (the paper's A.2).
class LikelihoodEstimator {
 public:
  /// Borrows `weights`. `rows`: tokens of one forward pass, so the longest text too. `shares` as in
  /// Model: all those ranks make the same calls. Throws UsageError when a diffusion model has no
  /// mask token.
  LikelihoodEstimator(Ops& ops, const ModelConfig& config, const ModelWeights& weights,
                      std::int64_t rows, Communicator* shares = nullptr);

  /// Called after each forward pass from now on. What it throws ends score().
  void on_pass(std::function<void()> after_pass) { after_pass_ = std::move(after_pass); }

  /// One result per text. Text i is number first_text + i, which names its masks, so that neither
  /// the other texts nor `rows` change a result but for rounding. Throws Error for a text that is
  /// longer than model.max_seq_length or `rows`, or has no response, and when logits are not
  /// finite; UsageError for a number of samples below 1, or a causal model without an end token and
  /// a text without a prompt. Passes are filled with several texts, and `observe` is called for
  /// text after text, as soon as the passes that it takes part in are done.
  ///
  /// `data`: ranks with copies of the model, which make the same call. They compute the passes in
  /// turn, the same passes that one rank computes, exchange estimates now and then, and all get all
  /// results. They differ in no bit from those of one rank with as many threads.
  std::vector<Likelihood> score(const std::vector<PromptedText>& texts,
                                const LikelihoodOptions& options, std::int64_t first_text = 0,
                                const LikelihoodObserver& observe = {},
                                Communicator* data = nullptr);

 private:
  struct Part {  // a sequence of the present batch
    std::size_t text, sample;
    double weight;
    std::int64_t rows;
  };
  void check(const PromptedText& text, std::int64_t number, const LikelihoodOptions& options) const;
  /// Whether the first token is predicted from a token before it, and there is none.
  bool needs_first_token(const PromptedText& text) const;
  /// The text, with the end token as its prompt if it needs one.
  PromptedText with_first_token(const PromptedText& text) const;
  // Of such texts:
  void add(const PromptedText& text, const ResponseMask& mask, std::size_t number,
           std::size_t sample);
  void add_causal(const PromptedText& text, std::size_t number);
  /// Masks [0, samples) of text `number` of this call, which is text `name` of all.
  void add_blocks(const PromptedText& text, const LikelihoodOptions& options, std::size_t number,
                  std::int64_t name);
  std::int64_t add_block_masks(const PromptedText& text, const LikelihoodOptions& options,
                               std::int64_t name, std::int64_t sample);
  void make_room(std::int64_t rows);
  /// Masks that give the bound itself; 0: only estimates of it are wanted.
  std::int64_t exact_masks(const PromptedText& text, const LikelihoodOptions& options) const;
  void run();
  bool computes_next_pass() const;
  void exchange();
  /// The first text some of whose estimates are missing, once text `added` is.
  std::size_t first_unfinished(std::size_t added) const;

  ModelConfig config_;
  std::int64_t longest_;  // text
  std::int64_t rows_;     // of a pass: of block diffusion a text's noisy and clean ones
  ObjectiveRunner runner_;
  LossBatch batch_;
  std::int64_t used_ = 0;  // rows of the present batch
  std::vector<Part> parts_;
  Communicator* data_ = nullptr;
  std::function<void()> after_pass_;
  std::int64_t passes_ = 0;                     // so far
  std::vector<Part> unshared_;                  // of passes whose estimates were not yet exchanged,
  std::vector<double> values_;                  // and what this rank knows of them: estimates, or 0
  std::vector<std::vector<double>> estimates_;  // per text, per mask
};

}  // namespace lacuna
