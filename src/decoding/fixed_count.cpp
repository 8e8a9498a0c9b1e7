#include "decoding/fixed_count.h"

#include <algorithm>

#include "decoding/unmasking.h"

namespace lacuna {

FixedCount::FixedCount(const DecodingRequest& request, std::int64_t first,
                       std::int64_t block_length, std::int64_t blocks, std::int64_t steps_per_block)
    : remasking_(request.options.remasking),
      seed_(request.options.seed),
      sample_(request.sample),
      first_(first),
      block_length_(block_length),
      blocks_(blocks),
      steps_per_block_(steps_per_block) {}

std::unique_ptr<FixedCount> FixedCount::after_prompt(const Canvas& canvas,
                                                     const DecodingRequest& request) {
  const DecodingOptions& o = request.options;
  std::unique_ptr<FixedCount> strategy(new FixedCount(request, canvas.rows() - o.gen_length,
                                                      o.tokens_per_block(), o.blocks(),
                                                      o.steps_per_block()));
  strategy->begin_block(canvas);
  strategy->progress_.of = o.blocks() * busy_steps(o.tokens_per_block(), o.steps_per_block());
  return strategy;
}

std::unique_ptr<FixedCount> FixedCount::infilling(const Canvas& canvas,
                                                  const DecodingRequest& request,
                                                  std::int32_t mask_token) {
  const auto masked = std::int64_t(std::count(canvas.masked.begin(), canvas.masked.end(), true));
  const std::int64_t asked = request.options.steps,
                     steps = asked ? std::min(asked, masked) : masked;
  std::unique_ptr<FixedCount> strategy(new FixedCount(request, 0, canvas.rows(), 1, steps));
  strategy->never_ = mask_token;
  strategy->begin_block(canvas);
  strategy->progress_.of = steps;
  return strategy;
}

void FixedCount::begin_block(const Canvas& canvas) {
  const auto begin = canvas.masked.begin() + first_ + progress_.block * block_length_;
  masked_ = std::count(begin, begin + block_length_, true);
  progress_.step = 0;
  progress_.finished = masked_ == 0;
}

std::int64_t FixedCount::count_of(std::int64_t step) const {
  return unmasked_in_step(masked_, steps_per_block_, step);
}

StepPlan FixedCount::plan(const Canvas& canvas) const {
  StepPlan plan;
  plan.rows = canvas.rows();
  plan.noise_step = std::uint64_t(noise_step());
  const std::int64_t end = first_ + (progress_.block + 1) * block_length_;
  for (std::int32_t i = 0; i < end; ++i)
    if (canvas.masked[std::size_t(i)]) plan.open.push_back(i);
  if (remasking_ == Remasking::random) {
    std::vector<double> confidence;
    confidence.reserve(plan.open.size());
    for (const std::int32_t i : plan.open)
      confidence.push_back(random_confidence(seed_, sample_, noise_step(), i));
    std::vector<std::int32_t> chosen;
    for (const std::int64_t c : most_confident(confidence, count_of(progress_.step)))
      chosen.push_back(plan.open[std::size_t(c)]);
    plan.open = std::move(chosen);
  }
  plan.logit_rows = plan.open;
  return plan;
}

std::vector<std::int32_t> FixedCount::known_counts() const {
  std::vector<std::int32_t> counts;
  if (remasking_ == Remasking::random || never_ >= 0) return counts;
  for (std::int64_t step = progress_.step; step < busy_steps(masked_, steps_per_block_); ++step)
    counts.push_back(std::int32_t(count_of(step)));
  return counts;
}

std::vector<std::int64_t> FixedCount::choose(const Draws& draws) {
  std::vector<double> confidence;
  std::vector<std::int64_t> eligible;
  for (std::size_t m = 0; m < draws.tokens.size(); ++m) {
    if (draws.tokens[m] == never_) continue;
    confidence.push_back(double(draws.confidence[m]));
    eligible.push_back(std::int64_t(m));
  }
  committed_ = !eligible.empty();
  std::vector<std::int64_t> chosen =
      most_confident(confidence, std::min(count_of(progress_.step), std::int64_t(eligible.size())));
  for (std::int64_t& c : chosen) c = eligible[std::size_t(c)];
  return chosen;
}

void FixedCount::advance(const Canvas& canvas) {
  ++progress_.done;
  if (!committed_) {
    progress_.finished = true;
  } else if (++progress_.step == busy_steps(masked_, steps_per_block_)) {
    if (++progress_.block == blocks_)
      progress_.finished = true;
    else
      begin_block(canvas);
  }
}

}  // namespace lacuna
