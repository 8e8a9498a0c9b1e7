#include "diffusion/likelihood.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "core/machine.h"
#include "core/philox.h"
#include "diffusion/block_noise.h"

namespace lacuna {
namespace {

// Passes of each rank between two exchanges of estimates: rarely enough that ranks hardly wait for
// each other, often enough that results come soon and little is held.
constexpr std::int64_t kPassesPerExchange = 16;

/// t on (0,1) of the given mask.
double ratio(const LikelihoodOptions& options, const CounterRng& rng, std::int64_t sample) {
  const double u = rng.uniform53(0);
  return options.stratified ? (double(sample) + u) / double(options.samples) : u;
}

/// `count` of `tokens` positions, each set equally likely (Fisher and Yates). Block 0 is the
/// ratio's.
std::vector<std::int32_t> choose(const CounterRng& rng, std::int64_t count, std::int64_t tokens) {
  std::vector<std::int32_t> order(static_cast<std::size_t>(tokens));
  std::iota(order.begin(), order.end(), 0);
  for (std::int64_t i = 0; i < count; ++i) {
    const auto j = i + std::int64_t(rng.below(std::uint64_t(tokens - i), std::uint32_t(i + 1)));
    std::swap(order[std::size_t(i)], order[std::size_t(j)]);
  }
  order.resize(std::size_t(count));
  std::sort(order.begin(), order.end());
  return order;
}

/// (g / (g - 1)) sum (x - mean)^2 over a group of g: n^2 times what it adds to the variance of the
/// mean of n.
double spread(const double* x, std::size_t g) {
  const double mean = std::accumulate(x, x + g, 0.0) / double(g);
  double sum = 0;
  for (std::size_t i = 0; i < g; ++i) sum += (x[i] - mean) * (x[i] - mean);
  return sum * double(g) / double(g - 1);
}

}  // namespace

ResponseMask response_mask(const LikelihoodOptions& options, std::int64_t text, std::int64_t sample,
                           std::int64_t tokens) {
  const CounterRng rng{options.seed, Purpose::likelihood,
                       std::uint64_t(text) << 32 | std::uint64_t(sample)};
  const double t = ratio(options, rng, sample);
  if (options.form == MaskForm::mask_count) {
    const std::int64_t count = std::min(tokens, std::int64_t(t * double(tokens)) + 1);
    return {choose(rng, count, tokens), double(tokens) / double(count)};
  }
  const float p = mask_probability(t, 0);
  ResponseMask mask{{}, 1 / double(p)};
  for (std::int64_t i = 0; i < tokens; ++i)
    if (rng.uniform(std::uint32_t(i + 4)) < p) mask.positions.push_back(std::int32_t(i));
  return mask;
}

Likelihood summarise(const std::vector<double>& estimates, bool stratified) {
  const std::size_t n = estimates.size();
  CHECK(n >= 1, "no estimates to average");
  Likelihood result;
  result.samples = std::int64_t(n);
  result.nats = std::accumulate(estimates.begin(), estimates.end(), 0.0) / double(n);
  if (n == 1) {
    result.standard_error = std::numeric_limits<double>::quiet_NaN();
    return result;
  }
  double sum = 0;
  if (!stratified) {
    sum = spread(estimates.data(), n);
  } else {
    for (std::size_t i = 0; i < n;) {  // neighbours in pairs, the last three together
      const std::size_t g = n - i == 3 ? 3 : 2;
      sum += spread(estimates.data() + i, g);
      i += g;
    }
  }
  result.standard_error = std::sqrt(sum) / double(n);
  return result;
}

Likelihood sum_of(const std::vector<Likelihood>& texts) {
  Likelihood sum;
  double variance = 0;
  for (const Likelihood& l : texts) {
    sum.nats += l.nats;
    variance += l.standard_error * l.standard_error;
    sum.tokens += l.tokens;
    sum.samples += l.samples;
  }
  sum.standard_error = std::sqrt(variance);
  return sum;
}

LikelihoodEstimator::LikelihoodEstimator(Ops& ops, const ModelConfig& config,
                                         const ModelWeights& weights, std::int64_t rows,
                                         Communicator* shares)
    : config_(config),
      longest_(rows),
      rows_(config.attention == Attention::block_causal ? 2 * rows : rows),
      runner_(ops, config, weights, ModelLimits{rows_, rows_, rows_, false}, shares) {
  if (config.attention != Attention::causal &&
      (config.mask_token < 0 || config.mask_token >= config.vocab_size))
    fail_usage(str("model.mask_token is ", config.mask_token,
                   ", which is no token of the model; the bound needs one"));
}

bool LikelihoodEstimator::needs_first_token(const PromptedText& text) const {
  return config_.predicts_next() && text.prompt == 0;
}

PromptedText LikelihoodEstimator::with_first_token(const PromptedText& text) const {
  PromptedText result;
  if (needs_first_token(text)) result.tokens.push_back(std::int32_t(config_.eos_token));
  result.prompt = text.prompt + std::int64_t(result.tokens.size());
  result.tokens.insert(result.tokens.end(), text.tokens.begin(), text.tokens.end());
  return result;
}

void LikelihoodEstimator::check(const PromptedText& text, std::int64_t number,
                                const LikelihoodOptions& options) const {
  const auto tokens = std::int64_t(text.tokens.size());
  CHECK(text.prompt >= 0 && text.prompt < tokens, "text ", number, ": ", tokens,
        " tokens with a prompt of ", text.prompt, " leave nothing to score");
  const bool first = needs_first_token(text);
  if (first && config_.eos_token < 0)
    fail_usage(
        "a model that predicts the next token, without an end token, scores only what follows a "
        "prompt");
  const std::int64_t most = std::min(config_.max_seq_length, longest_);
  CHECK(tokens + int(first) <= most, "text ", number, ": ", tokens, " tokens are more than the ",
        most, " that can be scored (model.max_seq_length is ", config_.max_seq_length, ")");
  for (const std::int32_t id : text.tokens)
    CHECK(id >= 0 && id < config_.vocab_size, "text ", number, ": token ", id,
          " is not one of the model's ", config_.vocab_size);
  if (options.samples < 1 || options.samples >= std::int64_t{1} << 32)
    fail_usage(str("--samples is ", options.samples, "; it must be from 1 to 2^32 - 1"));
  check_memory_for(options.samples, sizeof(double),
                   str("an estimate for each of ", options.samples, " samples"));
}

void LikelihoodEstimator::make_room(std::int64_t rows) {
  if (used_ + rows > rows_) run();
  used_ += rows;
}

void LikelihoodEstimator::add(const PromptedText& text, const ResponseMask& mask,
                              std::size_t number, std::size_t sample) {
  if (mask.positions.empty()) return;  // its estimate is 0
  make_room(std::int64_t(text.tokens.size()));
  const auto start = std::int32_t(batch_.tokens.size());
  batch_.tokens.insert(batch_.tokens.end(), text.tokens.begin(), text.tokens.end());
  for (const std::int32_t position : mask.positions) {
    const std::int32_t row = start + std::int32_t(text.prompt) + position;
    batch_.rows.push_back(row - std::int32_t(config_.logits_shift));
    batch_.targets.push_back(batch_.tokens[std::size_t(row)]);
    batch_.tokens[std::size_t(row)] = std::int32_t(config_.mask_token);
  }
  batch_.offsets.push_back(std::int32_t(batch_.tokens.size()));
  parts_.push_back({number, sample, mask.weight, std::int64_t(mask.positions.size())});
}

void LikelihoodEstimator::add_causal(const PromptedText& text, std::size_t number) {
  const std::size_t n = text.tokens.size();
  make_room(std::int64_t(n));
  const auto start = std::int32_t(batch_.tokens.size());
  batch_.tokens.insert(batch_.tokens.end(), text.tokens.begin(), text.tokens.end());
  for (auto i = std::size_t(text.prompt); i < n; ++i) {
    batch_.rows.push_back(start + std::int32_t(i) - 1);
    batch_.targets.push_back(text.tokens[i]);
  }
  batch_.offsets.push_back(std::int32_t(batch_.tokens.size()));
  parts_.push_back({number, 0, 1, std::int64_t(n) - text.prompt});
}

void LikelihoodEstimator::add_blocks(const PromptedText& text, const LikelihoodOptions& options,
                                     std::size_t number, std::int64_t name) {
  const auto tokens = std::int64_t(text.tokens.size()),
             noisy = tokens - text.prompt / config_.block_size * config_.block_size;
  const auto samples = std::int64_t(estimates_[number].size());
  for (std::int64_t sample = 0; sample < samples;) {
    make_room(tokens + noisy);
    add_clean_text(text.tokens, config_.block_size, batch_);
    const std::int64_t more = std::min(samples - sample - 1, (rows_ - used_) / noisy);
    used_ += more * noisy;
    for (const std::int64_t end = sample + 1 + more; sample < end; ++sample)
      parts_.push_back(
          {number, std::size_t(sample), 1, add_block_masks(text, options, name, sample)});
  }
}

/// How many tokens are masked.
std::int64_t LikelihoodEstimator::add_block_masks(const PromptedText& text,
                                                  const LikelihoodOptions& options,
                                                  std::int64_t name, std::int64_t sample) {
  const CounterRng rng{options.seed, Purpose::likelihood,
                       std::uint64_t(name) << 32 | std::uint64_t(sample)};
  const auto tokens = std::int64_t(text.tokens.size());
  const std::int64_t size = config_.block_size, first_block = text.prompt / size,
                     blocks = (tokens + size - 1) / size - first_block;
  const double t = ratio(options, rng, sample);
  const std::int64_t subsets = exact_masks(text, options);
  const std::size_t before = batch_.rows.size();
  std::vector<std::uint32_t> bits;
  add_noisy_view(batch_);
  for (std::int64_t b = 0; b < blocks; ++b) {
    const std::int64_t begin = std::max((first_block + b) * size, text.prompt),
                       end = std::min((first_block + b + 1) * size, tokens);
    if (subsets > 0) {  // of which the mean is taken
      mask_tokens(std::int32_t(config_.mask_token), begin,
                  block_subset(std::uint64_t(sample) + 1, end - begin), double(subsets), batch_);
      continue;
    }
    bits.clear();
    for (std::int64_t i = begin; i < end; ++i)
      bits.push_back(rng.bits(std::uint32_t(i - text.prompt + 4)));  // the first four are t's
    mask_tokens(std::int32_t(config_.mask_token), begin,
                block_mask(options.form, MaskPart::alone, block_level(t, b, blocks), 0, bits), 1,
                batch_);
  }
  return std::int64_t(batch_.rows.size() - before);
}

std::int64_t LikelihoodEstimator::exact_masks(const PromptedText& text,
                                              const LikelihoodOptions& options) const {
  if (config_.attention == Attention::causal) return 1;
  if (options.form != MaskForm::mask_count) return 0;
  if (config_.attention == Attention::bidirectional) return text.response() == 1 ? 1 : 0;
  // The first block may have fewer tokens to mask, and the last.
  const std::int64_t size = config_.block_size, tokens = std::int64_t(text.tokens.size());
  std::int64_t most = 0;
  for (std::int64_t begin = text.prompt; begin < tokens;) {
    const std::int64_t end = std::min(tokens, (begin / size + 1) * size);
    most = std::max(most, end - begin);
    begin = end;
  }
  const std::int64_t subsets = most < 32 ? (std::int64_t{1} << most) - 1 : 0;
  return subsets <= options.samples ? subsets : 0;
}

bool LikelihoodEstimator::computes_next_pass() const {
  return !data_ || passes_ % data_->size() == data_->rank();
}

void LikelihoodEstimator::run() {
  batch_.sequences = std::int64_t(parts_.size());
  if (batch_.texts.empty()) batch_.weights.assign(batch_.rows.size(), 1);
  const bool computes = computes_next_pass();
  if (computes) runner_.loss(batch_);
  const std::vector<float>& losses = runner_.row_losses();
  std::size_t row = 0;
  for (const Part& part : parts_) {
    double sum = 0;
    for (std::int64_t i = 0; computes && i < part.rows; ++i, ++row)
      sum += batch_.weights[row] * double(losses[row]);
    CHECK(std::isfinite(sum), kNotFinite);
    unshared_.push_back(part);
    values_.push_back(part.weight * sum);
  }
  batch_ = {};
  batch_.offsets = {0};
  used_ = 0;
  parts_.clear();
  ++passes_;
  if (!data_ || passes_ % (kPassesPerExchange * data_->size()) == 0) exchange();
  if (after_pass_) after_pass_();
}

void LikelihoodEstimator::exchange() {
  if (data_ && !values_.empty()) {
    // One rank knows each, the others add 0.
    data_->all_reduce(Tensor(values_.data(), Shape{std::int64_t(values_.size())}), Reduce::sum);
    data_->wait();
  }
  for (std::size_t i = 0; i < unshared_.size(); ++i)
    estimates_[unshared_[i].text][unshared_[i].sample] = values_[i];
  unshared_.clear();
  values_.clear();
}

std::size_t LikelihoodEstimator::first_unfinished(std::size_t added) const {
  if (!unshared_.empty()) return unshared_.front().text;
  return parts_.empty() ? added + 1 : parts_.front().text;
}

std::vector<Likelihood> LikelihoodEstimator::score(const std::vector<PromptedText>& texts,
                                                   const LikelihoodOptions& options,
                                                   std::int64_t first_text,
                                                   const LikelihoodObserver& observe,
                                                   Communicator* data) {
  const bool causal = config_.attention == Attention::causal;
  batch_ = {};
  batch_.offsets = {0};
  used_ = 0;
  parts_.clear();
  data_ = data && data->size() > 1 ? data : nullptr;
  passes_ = 0;
  unshared_.clear();
  values_.clear();
  estimates_.assign(texts.size(), {});
  const auto response = [&](std::size_t i) {
    return std::int64_t(texts[i].tokens.size()) - texts[i].prompt;
  };
  std::vector<Likelihood> results;
  const auto tell_before = [&](std::size_t end) {
    for (std::size_t i = results.size(); i < end; ++i) {
      Likelihood result = summarise(std::exchange(estimates_[i], {}), options.stratified);
      result.tokens = response(i);
      if (exact_masks(with_first_token(texts[i]), options) > 0) result.standard_error = 0;
      results.push_back(result);
      if (observe) observe(i, result);
    }
  };
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const std::int64_t number = first_text + std::int64_t(i);
    check(texts[i], number, options);
    const PromptedText text = with_first_token(texts[i]);
    const std::int64_t exact = exact_masks(text, options);
    estimates_[i].assign(std::size_t(exact > 0 ? exact : options.samples), 0);
    if (causal) {
      add_causal(text, i);
    } else if (config_.attention == Attention::block_causal) {
      add_blocks(text, options, i, number);
    } else {
      for (std::size_t s = 0; s < estimates_[i].size(); ++s)
        add(text, response_mask(options, number, std::int64_t(s), response(i)), i, s);
    }
    tell_before(first_unfinished(i));
  }
  if (!parts_.empty()) run();
  exchange();
  tell_before(texts.size());
  return results;
}

}  // namespace lacuna
