#include "decoding/decoder.h"

#include <algorithm>
#include <array>
#include <utility>

#include "core/check.h"
#include "core/text.h"
#include "decoding/decoder_state.h"

namespace lacuna {
namespace {

/// Of the KV cache, behind those of texts in progress.
std::int64_t prefix_rows(const ModelConfig& config, const DecoderLimits& l) {
  return l.cache && config.attention != Attention::bidirectional ? l.prefixes : 0;
}

ModelLimits model_limits(const ModelConfig& config, const DecoderLimits& l) {
  const std::int64_t branches = l.guidance ? 2 : 1,
                     cache = l.cache ? l.tokens * branches + prefix_rows(config, l) : 0;
  // Of a causal model each text's last row gets logits. Rows for the end token before an empty
  // prompt are there: the last token is never fed back.
  if (config.attention == Attention::causal)
    return {l.tokens, l.sequences, l.sequences, false, cache};
  return {l.tokens * branches, l.sequences * branches, l.tokens * branches, false, cache};
}

bool runs_rounds(const ModelConfig& config, Place place, TensorParallelShard share) {
  // Ranks of a tensor parallel group wait for each other in every block, which no device can
  // record.
  return config.attention != Attention::causal && place == Place::device && share.count == 1;
}

/// The tokens of a constrained answer, as its constraint takes them.
std::vector<std::int32_t> answer_of(const DecodingText& text) {
  std::vector<std::int32_t> answer;
  for (std::int64_t i = text.answer; i < text.length; ++i)
    answer.push_back(text.canvas.masked[std::size_t(i)] ? TokenConstraint::kMasked
                                                        : text.canvas.tokens[std::size_t(i)]);
  return answer;
}

/// Of the plan's open rows; none where any token may be drawn.
std::vector<TokenBias> biases_of(const DecodingText& text, const StepPlan& plan) {
  if (!text.constraint) return {};
  std::vector<std::int32_t> rows;
  for (const std::int32_t row : plan.open) rows.push_back(row - std::int32_t(text.answer));
  return text.constraint->biases(answer_of(text), rows);
}

DecodingStep step_of(const DecodingText& text, std::int64_t rows, std::int64_t logit_rows) {
  const DecodingProgress& p = text.strategy->progress();
  const auto shown = std::size_t(std::min(text.canvas.rows() - text.canvas.hidden, text.length));
  const std::span<const std::int32_t> tokens = text.canvas.tokens;
  return {.id = text.id,
          .block = p.block,
          .step = p.step,
          .done = p.done,
          .of = p.of,
          .rows = rows,
          .logit_rows = logit_rows,
          .tokens = tokens.subspan(std::size_t(text.canvas.hidden), shown),
          .committed = {},
          .revoked = {},
          .probability = std::span<const float>(text.canvas.probability)
                             .subspan(std::size_t(text.canvas.hidden), shown),
          .reused = std::max<std::int64_t>(0, text.reused - text.canvas.hidden)};
}

}  // namespace

Decoder::State::State(Ops& ops, const ModelConfig& c, const ModelWeights& weights,
                      const DecoderLimits& l, Communicator* shares)
    : config(c),
      causal(c.attention == Attention::causal),
      mask(causal ? -1 : std::int32_t(c.mask_token)),
      limits(l),
      batch_model{AttentionMask(c), mask, l.tokens},
      predictor(ops, c, weights, model_limits(c, l), shares),
      slabs(l.tokens) {
  if (runs_rounds(c, ops.place(), weights.share))
    device.emplace(ops, predictor, mask, model_limits(c, l));
  if (const std::int64_t rows = prefix_rows(c, l); rows > 0)
    prefixes.emplace(model_limits(c, l).cache_rows - rows, rows);
}

DecoderLimits limits_for(const ModelConfig& config, const DecodingOptions& options,
                         std::int64_t prompt, std::int64_t sequences) {
  const DecodingOptions o = resolved(options, config);
  return {.tokens = sequences * rows_of(prompt, o, config).all(),
          .sequences = sequences,
          .guidance = o.cfg_scale > 0,
          .cache = o.cache != CacheKind::none};
}

DecodingStats sum_over(Communicator& data, const DecodingStats& own) {
  std::array<std::int64_t, 6> n = {own.passes, own.rows,      own.logit_rows,
                                   own.tokens, own.refreshes, own.steps};
  data.all_reduce(Tensor(n.data(), Shape{std::int64_t(n.size())}), Reduce::sum);
  data.wait();
  return {n[0], n[1], n[2], n[3], n[4], n[5]};
}

// --- requests

void Decoder::State::check(const DecodingRequest& request, const RequestRows& rows) const {
  const DecodingOptions& o = request.options;
  CHECK(request.sample >= 0, "sample number ", request.sample);
  CHECK(o.cfg_scale == 0 || causal || limits.guidance,
        "guidance of a decoder that was made without it");
  CHECK(o.cache == CacheKind::none || limits.cache, "a cache (", word_of(o.cache),
        ") of a decoder that was made without one");
  const auto length = std::int64_t(request.tokens.size());
  if (request.infill) {
    CHECK(rows.canvas <= config.max_seq_length, "a text with gaps of ",
          counted(rows.canvas, "token"), "; model.max_seq_length is ", config.max_seq_length);
  } else {
    CHECK(rows.canvas <= config.max_seq_length, "a prompt of ", counted(length, "token"), " and ",
          o.gen_length, " generated ones make ", length + o.gen_length,
          rows.canvas > length + o.gen_length ? str(", in whole blocks ", rows.canvas) : "",
          ", more than model.max_seq_length ", config.max_seq_length);
    if (config.predicts_next() && length == 0 && config.eos_token < 0)
      fail_usage("a model that predicts the next token, without an end token, needs a prompt");
  }
  if (config.logits_shift && length > 0 && request.tokens.front() == config.mask_token)
    fail_usage("a model with logits_shift cannot fill a text's first token, which is masked");
  CHECK(rows.all() <= limits.tokens, "a text of ", rows.all(), " tokens where at most ",
        limits.tokens, " were announced");
}

std::int64_t Decoder::add(DecodingRequest request) {
  State& s = *state_;
  const auto length = std::int64_t(request.tokens.size());
  if (s.causal) request.options.cfg_scale = 0;
  if (!s.limits.cache && request.options.cache == CacheKind::automatic)
    request.options.cache = CacheKind::none;
  if (request.infill && s.config.attention != Attention::bidirectional &&
      (s.causal || !request.constraint))
    fail_usage(str("a model with ", word_of(s.config.attention),
                   " attention cannot fill gaps: it does not see what follows them"));
  request = resolved_request(std::move(request), s.config);
  const RequestRows rows = rows_of(request, s.config);
  s.check(request, rows);
  DecodingText text{.id = s.next_id,
                    .sample = request.sample,
                    .room = rows.all(),
                    .length = length,
                    .options = request.options,
                    .canvas = make_canvas(request, s.config),
                    .strategy = nullptr,
                    .cached = CachedRows(s.config.attention, request.options),
                    .constraint = request.constraint,
                    .answer = request.answer};
  const DecodingOptions& o = request.options;
  if (!request.infill) text.length += o.initial_length > 0 ? o.initial_length : o.gen_length;
  text.strategy = make_strategy(request, text.canvas, s.config);
  s.queue.push_back(std::move(text));
  return s.next_id++;
}

const DecodingText* Decoder::State::find(std::int64_t id) const {
  for (const DecodingText& text : live)
    if (text.id == id) return &text;
  for (const DecodingText& text : queue)
    if (text.id == id) return &text;
  return nullptr;
}

DecodingStep Decoder::state(std::int64_t id) const {
  const DecodingText* text = state_->find(id);
  CHECK(text, "request ", id, " is neither queued nor in progress");
  return step_of(*text, 0, 0);
}

void Decoder::cancel(std::int64_t id) {
  const auto is_it = [id](const DecodingText& text) { return text.id == id; };
  std::erase_if(state_->queue, is_it);
  for (DecodingText& text : state_->live)
    if (is_it(text)) {
      state_->keep_prefix(text);
      state_->release(text);
    }
  std::erase_if(state_->live, is_it);
}

bool Decoder::idle() const { return state_->queue.empty() && state_->live.empty(); }

const DecodingStats& Decoder::stats() const { return state_->stats; }

std::vector<DecodingResult> Decoder::collect() { return std::exchange(state_->results, {}); }

// --- the loop

/// Whether there is room for it beside texts that may come to `tokens`.
bool Decoder::State::admit(DecodingText& text, std::int64_t tokens) {
  if (std::int64_t(live.size()) >= limits.sequences) return false;
  if (!limits.cache) return tokens + text.room <= limits.tokens;
  text.slab = slabs.take(text.room);
  if (!text.slab) return false;
  reuse_prefix(text);
  return true;
}

/// Takes over keys and values of rows before the text's first block.
void Decoder::State::reuse_prefix(DecodingText& text) {
  if (!prefixes || !text.cached.is_exact() || text.guided() || text.strategy->progress().finished)
    return;
  const std::int64_t begin = text.strategy->plan(text.canvas).block.begin,
                     unit = causal ? 1 : config.block_size;
  const PrefixCache::Found found =
      prefixes->find(std::span(text.canvas.tokens).first(std::size_t(begin)));
  // Rows of a block see all of it.
  const auto rows = std::int32_t(found.count / unit * unit);
  if (rows == 0) return;
  const auto to = text.slab->begin, from = std::int32_t(found.row);
  predictor.model().copy_cache_rows({to, to + rows}, {from, from + rows});
  text.cached.keep(rows);
  text.reused = rows;
}

/// Leaves keys and values of a text to others.
void Decoder::State::keep_prefix(const DecodingText& text) {
  if (!prefixes || !text.slab || text.guided()) return;
  const auto kept = std::size_t(text.cached.kept());
  const std::optional<CacheRows> to = prefixes->add(std::span(text.canvas.tokens).first(kept));
  if (!to) return;
  const auto from = text.slab->begin;
  predictor.model().copy_cache_rows(*to, {from, from + to->end - to->begin});
}

/// In the order of the queue: none overtakes another.
void Decoder::State::admit() {
  std::int64_t tokens = 0;
  for (const DecodingText& text : live) tokens += text.room;
  while (!queue.empty() && admit(queue.front(), tokens)) {
    tokens += queue.front().room;
    live.push_back(std::move(queue.front()));
    queue.pop_front();
  }
  if (limits.cache)
    std::sort(live.begin(), live.end(), [](const DecodingText& a, const DecodingText& b) {
      return a.slab->begin < b.slab->begin;
    });
  else
    std::stable_partition(live.begin(), live.end(),
                          [](const DecodingText& text) { return text.guided(); });
}

void Decoder::State::release(DecodingText& text) {
  if (text.slab) slabs.give_back(*text.slab);
  text.slab.reset();
}

/// The text as it was asked for: without the row before an empty prompt, without what whole blocks
/// come to beyond it, and, where it ends early, up to its end token.
void Decoder::State::finish(DecodingText& text) {
  Canvas& c = text.canvas;
  std::int64_t end = std::min(c.rows(), c.hidden + text.length);
  if (!causal && text.options.stop_at_end) {
    for (std::int64_t i = 0; i < end; ++i)
      if (!c.fixed[std::size_t(i)] && c.tokens[std::size_t(i)] == config.eos_token) end = i + 1;
  }
  const auto part = [&](const auto& all) {
    return std::vector(all.begin() + c.hidden, all.begin() + end);
  };
  results.push_back({text.id, part(c.tokens), part(c.committed_at), part(c.probability)});
}

void Decoder::State::retire() {
  for (DecodingText& text : live) {
    if (!text.strategy->progress().finished) continue;
    finish(text);
    keep_prefix(text);
    release(text);
  }
  std::erase_if(live, [](const DecodingText& text) { return text.strategy->progress().finished; });
}

void Decoder::step(const DecodingObserver& observer) {
  State& s = *state_;
  s.admit();
  s.retire();  // what there was nothing to do for
  if (s.live.empty()) return;
  try {
    std::vector<PlannedStep> steps = s.plans();
    const std::vector<CommitSchedule> schedules = s.schedules();
    const std::int64_t passes = s.passes_of_round(steps, schedules);
    if (passes == 0)
      s.run_step(steps, observer);
    else
      s.run_round(std::move(steps), schedules, passes, observer);
  } catch (...) {
    for (DecodingText& text : s.live) s.release(text);
    s.live.clear();
    throw;
  }
  s.retire();
}

std::vector<PlannedStep> Decoder::State::plans() const {
  std::vector<PlannedStep> steps;
  steps.reserve(live.size());
  for (const DecodingText& text : live) {
    const StepPlan plan = text.strategy->plan(text.canvas);
    steps.push_back({&text.canvas, &text.options, text.strategy.get(), text.sample, text.slab, plan,
                     text.cached.pass(plan), biases_of(text, plan)});
  }
  return steps;
}

/// What a strategy commits in one step, as far as it fits together, the most probable first. One of
/// them always does: each fits what is there.
std::vector<Change> Decoder::State::fitting(const DecodingText& text,
                                            std::vector<Change> changes) const {
  if (!text.constraint) return changes;
  std::sort(changes.begin(), changes.end(), [](const Change& a, const Change& b) {
    return a.probability != b.probability ? a.probability > b.probability : a.row < b.row;
  });
  std::vector<std::int32_t> answer = answer_of(text);
  std::erase_if(changes, [&](const Change& change) {
    std::int32_t& token = answer[std::size_t(change.row - text.answer)];
    token = change.token;
    if (text.constraint->fits(answer, change.row - text.answer)) return false;
    token = TokenConstraint::kMasked;
    return true;
  });
  std::sort(changes.begin(), changes.end(),
            [](const Change& a, const Change& b) { return a.row < b.row; });
  return changes;
}

/// Fills a row; whether it is masked no longer. (LLaDA's generate() may predict the mask token.)
bool Decoder::State::commit(DecodingText& text, std::int32_t row, std::int32_t token,
                            float probability) {
  Canvas& canvas = text.canvas;
  const bool masked = token == mask;
  if (row == canvas.rows()) canvas.append(token, masked, false);
  const auto i = std::size_t(row);
  if (row < canvas.hidden + text.length)
    stats.tokens += int(!masked) - int(canvas.committed_at[i] >= 0);
  canvas.tokens[i] = token;
  canvas.masked[i] = masked;
  canvas.committed_at[i] = masked ? -1 : std::int32_t(text.strategy->progress().done);
  canvas.probability[i] = masked ? 0 : probability;
  return !masked;
}

/// Adds rows; the positions of committed rows behind them move.
void Decoder::State::grow(DecodingText& text, std::vector<std::int32_t>& committed) {
  const Growth growth = text.strategy->growth();
  Canvas& canvas = text.canvas;
  if (growth.masks + growth.ends == 0) return;
  canvas.insert(growth.row, growth.masks, mask, true);
  canvas.insert(canvas.rows(), growth.ends, std::int32_t(config.eos_token), false);
  text.length += growth.masks + growth.ends;
  text.cached.forget();
  for (std::int32_t& position : committed)
    if (position >= growth.row - canvas.hidden) position += std::int32_t(growth.masks);
}

/// What a step changed in one text.
void Decoder::State::take(DecodingText& text, const PlannedStep& step,
                          std::span<const Change> changes, std::int64_t logit_rows,
                          const DecodingObserver& observer) {
  ++stats.steps;
  std::vector<std::int32_t> committed, revoked;
  for (const Change& change : changes) {
    const auto position = std::int32_t(change.row - text.canvas.hidden);
    const bool again = change.token == kMaskAgain;
    if (commit(text, change.row, again ? mask : change.token, change.probability))
      committed.push_back(position);
    else if (again)
      revoked.push_back(position);
  }
  text.cached.made(step.plan, step.pass);
  grow(text, committed);
  if (observer) {
    DecodingStep seen =
        step_of(text, std::int64_t(step.pass.rows.size() + step.plan.shadows.size()), logit_rows);
    ++seen.done;
    const auto shown = [&](std::vector<std::int32_t>& positions) {
      std::erase_if(positions, [&](std::int32_t p) { return p >= text.length; });
      return std::span<const std::int32_t>(positions);
    };
    seen.committed = shown(committed);
    seen.revoked = shown(revoked);
    observer(seen);
  }
  text.strategy->advance(text.canvas);
}

void Decoder::State::count_pass(std::span<const PlannedStep> steps, const DecodingBatch& batch) {
  ++stats.passes;
  stats.rows += std::int64_t(batch.tokens.size());
  stats.logit_rows += std::int64_t(batch.sequences.logit_rows.size());
  for (const PlannedStep& step : steps) stats.refreshes += limits.cache && step.pass.refresh;
}

void Decoder::State::run_step(std::span<const PlannedStep> steps,
                              const DecodingObserver& observer) {
  const DecodingBatch batch = batch_of(steps, batch_model);
  const RowStatistics all = predictor.predict(batch);
  count_pass(steps, batch);
  for (std::size_t i = 0; i < live.size(); ++i) {
    const StepPlan& plan = steps[i].plan;
    const RowStatistics found =
        all.part(std::size_t(batch.draw_offsets[i]), std::size_t(plan.draws()));
    take(live[i], steps[i], fitting(live[i], live[i].strategy->decide(live[i].canvas, plan, found)),
         plan.draws(), observer);
  }
}

// --- construction

Decoder::Decoder(Ops& ops, const ModelConfig& config, const ModelWeights& weights,
                 const DecoderLimits& limits, Communicator* shares) {
  if (config.attention != Attention::causal &&
      (config.mask_token < 0 || config.mask_token >= config.vocab_size))
    fail_usage(str("model.mask_token is ", config.mask_token,
                   "; to fill masks it must be a token, from 0 to ", config.vocab_size - 1));
  state_ = std::make_unique<State>(ops, config, weights, limits, shares);
}

Decoder::~Decoder() = default;

std::int64_t Decoder::bytes(const ModelConfig& config, DType dtype, Place place,
                            TensorParallelShard share, const DecoderLimits& limits,
                            const WeightScratch& weights) {
  ModelLimits model = model_limits(config, limits);
  model.weights = weights;
  return TokenPredictor::bytes(config, model, dtype, place, share) +
         (runs_rounds(config, place, share) ? DeviceRounds::plan(model).bytes() : 0);
}

}  // namespace lacuna
