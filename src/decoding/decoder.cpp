#include "decoding/decoder.h"

#include <algorithm>
#include <deque>
#include <optional>
#include <utility>

#include "core/check.h"
#include "core/text.h"
#include "decoding/device_rounds.h"
#include "decoding/fixed_count.h"
#include "decoding/left_to_right.h"
#include "decoding/token_predictor.h"

namespace lacuna {
namespace {

/// A request in the queue or in progress.
struct Text {
  std::int64_t id, sample;
  std::int64_t room;  // rows it may come to have
  DecodingOptions options;
  Canvas canvas;
  std::unique_ptr<Strategy> strategy;

  bool guided() const { return options.cfg_scale > 0; }
};

ModelLimits model_limits(const ModelConfig& config, const DecoderLimits& l) {
  // Of a causal model each text's last row gets logits. Rows for the end token before an empty
  // prompt are there: the last token is never fed back.
  if (config.attention == Attention::causal) return {l.tokens, l.sequences, l.sequences, false};
  const std::int64_t branches = l.guidance ? 2 : 1;
  return {l.tokens * branches, l.sequences * branches, l.tokens * branches, false};
}

bool runs_rounds(const ModelConfig& config, Place place, TensorParallelShard share) {
  // Ranks of a tensor parallel group wait for each other in every block, which no device can
  // record.
  return config.attention != Attention::causal && place == Place::device && share.count == 1;
}

DecodingStep step_of(const Text& text, const StepPlan& plan, std::int64_t logit_rows) {
  const DecodingProgress& p = text.strategy->progress();
  const std::span<const std::int32_t> rows = text.canvas.tokens;
  return {.id = text.id,
          .block = p.block,
          .step = p.step,
          .done = p.done,
          .of = p.of,
          .rows = plan.rows,
          .logit_rows = logit_rows,
          .tokens = rows.subspan(std::size_t(text.canvas.hidden)),
          .committed = {}};
}

}  // namespace

struct Decoder::State {
  State(Ops& ops, const ModelConfig& c, const ModelWeights& weights, const DecoderLimits& l,
        Communicator* shares)
      : config(c),
        causal(c.attention == Attention::causal),
        mask(causal ? -1 : std::int32_t(c.mask_token)),
        limits(l),
        predictor(ops, c, weights, model_limits(c, l), shares) {
    if (runs_rounds(c, ops.place(), weights.share))
      device.emplace(ops, predictor, mask, model_limits(c, l));
  }

  void check(const DecodingRequest& request, std::int64_t room) const;
  Canvas canvas_of(const DecodingRequest& request) const;
  std::unique_ptr<Strategy> strategy_of(const DecodingRequest& request, const Canvas& canvas) const;
  const Text* find(std::int64_t id) const;

  void admit();
  void retire();
  std::vector<PlannedStep> plans() const;
  /// Fills a row; whether it is masked no longer.
  bool commit(Canvas& canvas, std::int32_t row, std::int32_t token) const;
  void run_step(const DecodingObserver& observer);
  /// [steps, texts], when every text in progress knows what its coming steps commit.
  std::vector<std::int32_t> known_counts() const;
  void run_round(const std::vector<std::int32_t>& counts, const DecodingObserver& observer);

  const ModelConfig config;
  const bool causal;
  const std::int32_t mask;  // -1 of a causal model, which fills none
  const DecoderLimits limits;
  TokenPredictor predictor;
  std::optional<DeviceRounds> device;  // where a device decides what is committed
  std::int64_t next_id = 0;
  std::deque<Text> queue;
  std::vector<Text> live;  // guided ones first
  std::vector<DecodingResult> results;
};

// --- requests

void Decoder::State::check(const DecodingRequest& request, std::int64_t room) const {
  const DecodingOptions& o = request.options;
  CHECK(request.sample >= 0, "sample number ", request.sample);
  CHECK(o.cfg_scale == 0 || causal || limits.guidance,
        "guidance of a decoder that was made without it");
  const auto length = std::int64_t(request.tokens.size());
  if (request.infill) {
    if (causal) fail_usage("a causal model cannot fill gaps: it does not see what follows them");
    validate_values(o);
    CHECK(room <= config.max_seq_length, "a text with gaps of ", counted(room, "token"),
          "; model.max_seq_length is ", config.max_seq_length);
  } else {
    if (causal)
      validate_values(o);
    else
      validate(o);
    CHECK(room <= config.max_seq_length, "a prompt of ", counted(length, "token"), " and ",
          o.gen_length, " generated ones make ", room, ", more than model.max_seq_length ",
          config.max_seq_length);
    if (causal && length == 0 && config.eos_token < 0)
      fail_usage("an autoregressive model without an end token needs a prompt");
  }
  CHECK(room <= limits.tokens, "a text of ", room, " tokens where at most ", limits.tokens,
        " were announced");
}

Canvas Decoder::State::canvas_of(const DecodingRequest& request) const {
  Canvas canvas;
  if (causal && request.tokens.empty()) {
    canvas.append(std::int32_t(config.eos_token), false, true);
    canvas.hidden = 1;
  }
  for (const std::int32_t token : request.tokens) {
    const bool masked = !causal && token == mask;
    canvas.append(token, masked, !masked);
  }
  if (!causal && !request.infill)
    for (std::int64_t i = 0; i < request.options.gen_length; ++i) canvas.append(mask, true, false);
  return canvas;
}

std::unique_ptr<Strategy> Decoder::State::strategy_of(const DecodingRequest& request,
                                                      const Canvas& canvas) const {
  if (causal) return std::make_unique<LeftToRight>(request.options.gen_length, config.eos_token);
  if (request.infill) return FixedCount::infilling(canvas, request, mask);
  return FixedCount::after_prompt(canvas, request);
}

std::int64_t Decoder::add(DecodingRequest request) {
  State& s = *state_;
  if (s.causal) request.options.cfg_scale = 0;
  const auto length = std::int64_t(request.tokens.size());
  const std::int64_t room = length + (request.infill ? 0 : request.options.gen_length);
  s.check(request, room);
  Text text{.id = s.next_id,
            .sample = request.sample,
            .room = room,
            .options = request.options,
            .canvas = s.canvas_of(request),
            .strategy = nullptr};
  text.strategy = s.strategy_of(request, text.canvas);
  s.queue.push_back(std::move(text));
  return s.next_id++;
}

const Text* Decoder::State::find(std::int64_t id) const {
  for (const Text& text : live)
    if (text.id == id) return &text;
  for (const Text& text : queue)
    if (text.id == id) return &text;
  return nullptr;
}

DecodingStep Decoder::state(std::int64_t id) const {
  const Text* text = state_->find(id);
  CHECK(text, "request ", id, " is neither queued nor in progress");
  return step_of(*text, {}, 0);
}

void Decoder::cancel(std::int64_t id) {
  const auto is_it = [id](const Text& text) { return text.id == id; };
  std::erase_if(state_->queue, is_it);
  std::erase_if(state_->live, is_it);
}

bool Decoder::idle() const { return state_->queue.empty() && state_->live.empty(); }

std::vector<DecodingResult> Decoder::collect() { return std::exchange(state_->results, {}); }

// --- the loop

/// In the order of the queue: none overtakes another.
void Decoder::State::admit() {
  std::int64_t tokens = 0;
  for (const Text& text : live) tokens += text.room;
  while (!queue.empty() && std::int64_t(live.size()) < limits.sequences &&
         tokens + queue.front().room <= limits.tokens) {
    tokens += queue.front().room;
    live.push_back(std::move(queue.front()));
    queue.pop_front();
  }
  std::stable_partition(live.begin(), live.end(), [](const Text& text) { return text.guided(); });
}

void Decoder::State::retire() {
  for (Text& text : live) {
    if (!text.strategy->progress().finished) continue;
    std::vector<std::int32_t>& tokens = text.canvas.tokens;
    tokens.erase(tokens.begin(), tokens.begin() + text.canvas.hidden);
    results.push_back({text.id, std::move(tokens)});
  }
  std::erase_if(live, [](const Text& text) { return text.strategy->progress().finished; });
}

void Decoder::step(const DecodingObserver& observer) {
  State& s = *state_;
  s.admit();
  s.retire();  // what there was nothing to do for
  if (s.live.empty()) return;
  try {
    const std::vector<std::int32_t> counts =
        s.device ? s.known_counts() : std::vector<std::int32_t>();
    if (counts.empty())
      s.run_step(observer);
    else
      s.run_round(counts, observer);
  } catch (...) {
    s.live.clear();
    throw;
  }
  s.retire();
}

std::vector<PlannedStep> Decoder::State::plans() const {
  std::vector<PlannedStep> steps;
  steps.reserve(live.size());
  for (const Text& text : live)
    steps.push_back({&text.canvas, &text.options, text.sample, text.strategy->plan(text.canvas)});
  return steps;
}

bool Decoder::State::commit(Canvas& canvas, std::int32_t row, std::int32_t token) const {
  const bool masked = token == mask;
  if (row == canvas.rows()) {
    canvas.append(token, masked, false);
  } else {
    canvas.tokens[std::size_t(row)] = token;
    canvas.masked[std::size_t(row)] = masked;
  }
  return !masked;
}

void Decoder::State::run_step(const DecodingObserver& observer) {
  const std::vector<PlannedStep> steps = plans();
  const DecodingBatch batch = batch_of(steps, mask);
  const Draws all = predictor.predict(batch);
  for (std::size_t i = 0; i < live.size(); ++i) {
    Text& text = live[i];
    const StepPlan& plan = steps[i].plan;
    const auto first = std::size_t(batch.draw_offsets[i]), count = plan.open.size();
    const Draws draws{all.tokens.subspan(first, count), all.confidence.subspan(first, count)};
    std::vector<std::int32_t> committed;
    for (const std::int64_t m : text.strategy->choose(draws))
      if (commit(text.canvas, plan.open[std::size_t(m)], draws.tokens[std::size_t(m)]))
        committed.push_back(plan.open[std::size_t(m)] - std::int32_t(text.canvas.hidden));
    if (observer) {
      DecodingStep seen = step_of(text, plan, std::int64_t(count));
      ++seen.done;
      seen.committed = committed;
      observer(seen);
    }
    text.strategy->advance(text.canvas);
  }
}

std::vector<std::int32_t> Decoder::State::known_counts() const {
  std::vector<std::vector<std::int32_t>> of_text;
  for (const Text& text : live) of_text.push_back(text.strategy->known_counts());
  std::size_t steps = of_text.front().size();
  for (const auto& counts : of_text) steps = std::min(steps, counts.size());
  std::vector<std::int32_t> counts;
  for (std::size_t step = 0; step < steps; ++step)
    for (const auto& own : of_text) counts.push_back(own[step]);
  return counts;
}

/// The steps of `counts` as run_step() would take them one by one. The canvases come back after the
/// last or, for an observer, after each.
void Decoder::State::run_round(const std::vector<std::int32_t>& counts,
                               const DecodingObserver& observer) {
  const std::vector<PlannedStep> steps = plans();
  const DecodingBatch batch = batch_of(steps, mask);
  const auto rounds = std::int64_t(counts.size() / live.size());
  device->begin(batch, counts);
  for (std::int64_t step = 0; step < rounds; ++step) {
    device->step(step);
    if (!observer && step + 1 < rounds) continue;
    const std::vector<std::int32_t>& tokens = device->tokens();
    for (std::size_t i = 0; i < live.size(); ++i) {
      Canvas& canvas = live[i].canvas;
      const auto first = std::size_t(batch.sequences.offsets[i]);
      std::int64_t open = 0;
      std::vector<std::int32_t> committed;
      for (const std::int32_t row : steps[i].plan.open) {
        if (!canvas.masked[std::size_t(row)]) continue;
        ++open;
        if (commit(canvas, row, tokens[first + std::size_t(row)])) committed.push_back(row);
      }
      if (!observer) continue;
      DecodingStep seen = step_of(live[i], steps[i].plan, open);
      ++seen.done;
      seen.committed = committed;
      observer(seen);
      live[i].strategy->advance(canvas);
    }
  }
  if (observer) return;
  for (Text& text : live)
    for (std::int64_t step = 0; step < rounds; ++step) text.strategy->advance(text.canvas);
}

// --- construction

Decoder::Decoder(Ops& ops, const ModelConfig& config, const ModelWeights& weights,
                 const DecoderLimits& limits, Communicator* shares) {
  if (config.attention == Attention::block_causal)
    fail_usage(
        "text generation is not implemented for a model with attention = block_causal; train, sft, "
        "score, forward and tasks of likelihoods are");
  if (config.attention != Attention::causal &&
      (config.mask_token < 0 || config.mask_token >= config.vocab_size))
    fail_usage(str("model.mask_token is ", config.mask_token,
                   "; to fill masks it must be a token, from 0 to ", config.vocab_size - 1));
  state_ = std::make_unique<State>(ops, config, weights, limits, shares);
}

Decoder::~Decoder() = default;

std::int64_t Decoder::bytes(const ModelConfig& config, DType dtype, Place place,
                            TensorParallelShard share, const DecoderLimits& limits) {
  const ModelLimits model = model_limits(config, limits);
  return TokenPredictor::bytes(config, model, dtype, place, share) +
         (runs_rounds(config, place, share) ? DeviceRounds::plan(model).bytes() : 0);
}

}  // namespace lacuna
