#include "diffusion/preference.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/check.h"
#include "diffusion/block_noise.h"
#include "diffusion/likelihood.h"

namespace lacuna {
namespace {

/// Lays texts end to end, and begins a new batch where the next does not fit.
class ScoreBatches {
 public:
  ScoreBatches(const PreferenceNoise& noise, const ModelLimits& limits)
      : noise_(noise), limits_(limits), block_(with_views(noise)) {}

  void add(const ScoredText& text, std::int32_t index) {
    const auto length = std::int64_t(text.text.tokens.size());
    CHECK(text.text.prompt >= 1 && text.text.response() >= 1, "text ", text.number, ": ", length,
          " tokens with a prompt of ", text.text.prompt, " leave no response to a prompt");
    switch (noise_.noise.objective) {
      case Objective::autoregressive:
        make_room(length, 1);
        return add_causal(text, index);
      case Objective::masked_diffusion:
        for (std::int64_t sample = 0; sample < noise_.samples; ++sample) {
          make_room(length, 1);
          add_masked(text, sample, index);
        }
        return;
      case Objective::block_diffusion:
        make_room(length * (noise_.samples + 1), noise_.samples + 1);
        return add_blocks(text, index);
    }
  }

  std::vector<ScoreBatch> take() { return std::move(batches_); }

 private:
  static NoiseOptions with_views(const PreferenceNoise& noise) {
    NoiseOptions options = noise.noise;
    options.blocks.views = noise.samples;
    options.blocks.complementary = false;
    options.blocks.autoregressive_weight = 0;
    return options;
  }
  LossBatch& batch() { return batches_.back().losses; }

  void make_room(std::int64_t rows, std::int64_t sequences) {
    CHECK(rows <= limits_.rows && sequences <= limits_.sequences, "a response of ", rows,
          " rows where at most ", limits_.rows, " were announced");
    if (batches_.empty() || rows_ + rows > limits_.rows ||
        sequences_ + sequences > limits_.sequences) {
      batches_.emplace_back();
      batch().offsets.push_back(0);
      batch().shift =
          noise_.noise.objective != Objective::block_diffusion && noise_.noise.predicts_next();
      rows_ = sequences_ = 0;
    }
    rows_ += rows;
    sequences_ += sequences;
  }

  /// The response's tokens of the sequence that was added last.
  void end_sequence(const ScoredText& text) {
    LossBatch& b = batch();
    const auto length = std::int64_t(text.text.tokens.size());
    b.length = std::max(b.length, length);
    b.offsets.push_back(std::int32_t(b.offsets.back() + length));
    b.response.insert(b.response.end(), std::size_t(text.text.prompt), 0);
    b.response.resize(std::size_t(b.offsets.back()), 1);
    b.samples.push_back(text.number);
  }
  void predict(std::int64_t row, double weight, std::int32_t index) {
    LossBatch& b = batch();
    b.masked[std::size_t(row)] = 1;
    b.rows.push_back(std::int32_t(row - b.shift));
    b.targets.push_back(b.tokens[std::size_t(row)]);
    b.weights.push_back(weight);
    batches_.back().texts.push_back(index);
  }
  std::int64_t begin_sequence(const ScoredText& text, double p) {
    LossBatch& b = batch();
    const auto start = std::int64_t(b.tokens.size());
    b.tokens.insert(b.tokens.end(), text.text.tokens.begin(), text.text.tokens.end());
    b.masked.resize(b.tokens.size());
    b.p.push_back(float(p));
    ++b.sequences;
    return start + text.text.prompt;
  }

  void add_causal(const ScoredText& text, std::int32_t index) {
    const std::int64_t first = begin_sequence(text, 1);
    for (std::int64_t i = 0; i < text.text.response(); ++i) predict(first + i, 1, index);
    end_sequence(text);
  }

  void add_masked(const ScoredText& text, std::int64_t sample, std::int32_t index) {
    noise_.noise.check_mask_token();
    const LikelihoodOptions masks{.form = MaskForm::mask_count,
                                  .samples = noise_.samples,
                                  .stratified = true,
                                  .seed = noise_.noise.seed};
    const ResponseMask mask = response_mask(masks, text.number, sample, text.text.response());
    const std::int64_t first = begin_sequence(text, 1 / mask.weight);
    for (const std::int32_t position : mask.positions) {
      predict(first + position, mask.weight / double(noise_.samples), index);
      batch().tokens[std::size_t(first + position)] = noise_.noise.mask_token;
    }
    end_sequence(text);
  }

  void add_blocks(const ScoredText& text, std::int32_t index) {
    add_block_text(block_, {text.number, text.text.tokens, text.text.prompt}, 1, batch());
    for (std::int64_t view = 0; view < noise_.samples; ++view) end_sequence(text);
    batches_.back().texts.resize(batch().rows.size(), index);
  }

  const PreferenceNoise& noise_;
  const ModelLimits& limits_;
  const NoiseOptions block_;
  std::vector<ScoreBatch> batches_;
  std::int64_t rows_ = 0, sequences_ = 0;  // of the last batch
};

}  // namespace

void ScoreBatch::add_sums(std::span<const float> row_losses, std::span<double> sums) const {
  CHECK(row_losses.size() == texts.size(), row_losses.size(), " losses of ", texts.size(), " rows");
  for (std::size_t m = 0; m < texts.size(); ++m)
    sums[std::size_t(texts[m])] += losses.weights[m] * double(row_losses[m]);
}

std::vector<ScoreBatch> make_score_batches(const PreferenceNoise& noise,
                                           std::span<const ScoredText> texts,
                                           const ModelLimits& limits) {
  std::vector<std::int32_t> order(texts.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
    return texts[std::size_t(a)].text.tokens.size() > texts[std::size_t(b)].text.tokens.size();
  });
  ScoreBatches batches(noise, limits);
  for (const std::int32_t i : order) batches.add(texts[std::size_t(i)], i);
  return batches.take();
}

ModelLimits score_limits(const PreferenceNoise& noise, std::int64_t tokens, std::int64_t texts,
                         bool training) {
  if (noise.noise.objective != Objective::block_diffusion)
    return {tokens, std::min(tokens, texts), tokens, training};
  BlockNoise blocks;
  blocks.views = noise.samples;
  return block_limits(blocks, tokens, texts, training);
}

DpoLoss dpo_loss(double margin, double beta) {
  const double x = beta * margin, e = std::exp(-std::abs(x));  // in (0, 1]
  return {std::max(-x, 0.0) + std::log1p(e), beta * (x > 0 ? e : 1) / (1 + e)};
}

}  // namespace lacuna
