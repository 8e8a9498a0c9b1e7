#include "server/engine.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <thread>

#include "core/check.h"
#include "core/log.h"
#include "core/stopwatch.h"
#include "decoding/make_strategy.h"
#include "server/api_error.h"
#include "server/fair_queue.h"

namespace lacuna {
namespace {

constexpr const char* kStopping = "the server is stopping";

struct RunningJob {
  Job job;
  Stopwatch since_arrival{}, since_first_step{};
  std::size_t admitted = 0;                     // texts that the decoder has or had
  std::map<std::int64_t, std::size_t> texts{};  // of the decoder: request to text
  JobTimes times = {};
};

/// A text that the decoder has.
struct AdmittedText {
  std::int64_t job, rows;
};

struct WaitingTask {
  std::int64_t id;
  EngineTask task;
  Stopwatch since_arrival{};
};

/// Tokens of the prompt, of those that a text is given.
std::int64_t prompt_tokens_of(const DecodingRequest& text) {
  return text.infill ? text.answer : std::int64_t(text.tokens.size());
}

/// Ends a task that nobody waits for.
struct TaskCancelled : std::exception {};

/// Tokens of a decoder that serves any text of the model.
DecoderLimits limits_of_decoder(const ModelConfig& config, const EngineLimits& l) {
  // Strategy wino needs up to a block of rows more than the text has.
  const std::int64_t tokens = l.batch_tokens > 0
                                  ? l.batch_tokens
                                  : std::max<std::int64_t>(kBatchTokens, 2 * config.max_seq_length);
  return {.tokens = tokens,
          .sequences = l.sequences,
          .guidance = l.guidance,
          .cache = true,
          .prefixes = l.prefixes};
}

}  // namespace

struct Engine::State {
  State(const LoadedModel& m, const EngineLimits& l, ServerMetrics& counts)
      : model(m),
        limits(l),
        decoder_limits(limits_of_decoder(m.config(), l)),
        metrics(counts),
        decoder(*m.ops, m.config(), m.weights, decoder_limits) {}

  struct Inbox {
    std::vector<std::pair<std::int64_t, Job>> jobs;
    std::vector<std::int64_t> cancelled;
    std::deque<WaitingTask> tasks;
    bool empty() const { return jobs.empty() && cancelled.empty() && tasks.empty(); }
  };

  void loop();
  void run_task();
  void step();
  void take_messages();
  void expire();
  void admit();
  bool admit_text(std::int64_t id, RunningJob& job);
  void check_task() const;
  void fail_task(const EngineTask& task, const std::exception& error);
  ApiError too_late() const;
  std::int64_t rows_in_progress() const;
  bool observe(const DecodingStep& seen);
  void count_reused(RunningJob& job, const DecodingRequest& text, std::int64_t reused);
  void finish_texts(const std::vector<std::int64_t>& enough);
  void end_text(std::int64_t request);
  void complete(std::int64_t id);
  void fail_job(std::int64_t id, const std::exception& error);
  void remove(std::int64_t id);
  void count();

  const LoadedModel& model;
  const EngineLimits limits;
  const DecoderLimits decoder_limits;
  ServerMetrics& metrics;

  // Shared by threads.
  mutable std::mutex mutex;
  std::condition_variable wake;
  Inbox inbox;
  std::int64_t next_id = 0;
  std::size_t present = 0;  // jobs in the inbox, waiting or in progress
  std::size_t waiting = 0;  // of them, those whose first text is not in progress
  std::optional<std::int64_t> running_task;
  Stopwatch task_since;  // its arrival
  bool drained = false, stopped = false, task_cancelled = false;
  std::atomic<double> mean_seconds{1};
  std::thread thread;

  // Of the engine's thread.
  Decoder decoder;
  std::map<std::int64_t, RunningJob> jobs;
  std::map<std::int64_t, AdmittedText> admitted;  // by request of the decoder
  FairQueue queue;
};

// --- called by any thread

Engine::Engine(const LoadedModel& model, const EngineLimits& limits, ServerMetrics& metrics)
    : state_(std::make_unique<State>(model, limits, metrics)) {
  state_->thread = std::thread([this] { state_->loop(); });
}

Engine::~Engine() { stop(); }

std::optional<std::int64_t> Engine::submit(Job job, bool goes_on) {
  State& s = *state_;
  const std::lock_guard lock(s.mutex);
  if (!goes_on && (s.drained || s.waiting >= s.limits.queue)) return std::nullopt;
  const std::int64_t id = s.next_id++;
  job.observer->on_queued();
  s.inbox.jobs.emplace_back(id, std::move(job));
  ++s.present;
  ++s.waiting;
  s.wake.notify_one();
  return id;
}

void Engine::cancel(std::int64_t id) {
  State& s = *state_;
  std::deque<WaitingTask> dropped;  // destroyed without the lock
  const std::lock_guard lock(s.mutex);
  if (s.running_task == id) {
    s.task_cancelled = true;
    return;
  }
  auto& tasks = s.inbox.tasks;
  const auto task = std::find_if(tasks.begin(), tasks.end(),
                                 [id](const WaitingTask& waiting) { return waiting.id == id; });
  if (task != tasks.end()) {
    ++s.metrics.cancelled;
    dropped.push_back(std::move(*task));
    tasks.erase(task);
    s.count();
    return;
  }
  s.inbox.cancelled.push_back(id);
  s.wake.notify_one();
}

std::optional<std::int64_t> Engine::run(EngineTask task) {
  State& s = *state_;
  const std::lock_guard lock(s.mutex);
  if (s.drained || s.inbox.tasks.size() >= s.limits.queue) return std::nullopt;
  s.inbox.tasks.push_back({s.next_id, std::move(task)});
  s.count();
  s.wake.notify_one();
  return s.next_id++;
}

void Engine::between_passes() {
  State& s = *state_;
  s.check_task();
  s.step();
  s.check_task();
}

void Engine::drain() {
  const std::lock_guard lock(state_->mutex);
  state_->drained = true;
}

bool Engine::draining() const {
  const std::lock_guard lock(state_->mutex);
  return state_->drained;
}

bool Engine::idle() const {
  const std::lock_guard lock(state_->mutex);
  return state_->present == 0 && state_->inbox.tasks.empty() && !state_->running_task;
}

void Engine::stop() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->drained = state_->stopped = true;
    state_->wake.notify_one();
  }
  if (state_->thread.joinable()) state_->thread.join();
}

int Engine::retry_after() const {
  const State& s = *state_;
  const std::lock_guard lock(s.mutex);
  const double at_once = std::max<double>(1, double(s.present) - double(s.waiting));
  return int(std::clamp(std::ceil(s.mean_seconds * double(s.waiting) / at_once), 1.0, 60.0));
}

const DecoderLimits& Engine::decoder_limits() const { return state_->decoder_limits; }

// --- the engine's thread

void Engine::State::loop() {
  for (;;) {
    {
      std::unique_lock lock(mutex);
      // Time limits matter to those who wait alone: then there are others in progress.
      wake.wait(lock, [&] { return stopped || !inbox.empty() || !jobs.empty(); });
      if (stopped) break;
    }
    run_task();
    try {
      step();
    } catch (const std::exception& e) {  // for want of memory
      log_warning(std::string("a step of the server failed: ") + e.what());
    }
  }
  take_messages();
  const ApiError stopping(503, kStopping);
  while (!jobs.empty()) fail_job(jobs.begin()->first, stopping);
  std::deque<WaitingTask> tasks;
  {
    const std::lock_guard lock(mutex);
    tasks.swap(inbox.tasks);
    count();
  }
  for (const WaitingTask& left : tasks) fail_task(left.task, stopping);
}

/// The task that has waited for longest.
void Engine::State::run_task() {
  EngineTask task;
  {
    const std::lock_guard lock(mutex);
    if (inbox.tasks.empty()) return;
    task = std::move(inbox.tasks.front().task);
    running_task = inbox.tasks.front().id;
    task_since = inbox.tasks.front().since_arrival;
    task_cancelled = false;
    inbox.tasks.pop_front();
    count();
  }
  try {
    task.run();
    ++metrics.succeeded;
  } catch (const TaskCancelled&) {
    ++metrics.cancelled;
  } catch (const std::exception& e) {
    fail_task(task, e);
  }
  task = {};
  const std::lock_guard lock(mutex);
  running_task.reset();
  count();
}

void Engine::State::check_task() const {
  const std::lock_guard lock(mutex);
  if (task_cancelled) throw TaskCancelled();
  if (stopped) throw ApiError(503, kStopping);
  if (task_since.seconds() > limits.timeout_seconds) throw too_late();
}

void Engine::State::fail_task(const EngineTask& task, const std::exception& error) {
  ++metrics.failed;
  try {
    task.fail(error);
  } catch (const std::exception& e) {
    log_warning(std::string("a failure was not reported: ") + e.what());
  }
}

void Engine::State::step() {
  take_messages();
  expire();
  admit();
  if (decoder.idle()) return;
  const Stopwatch watch;
  const DecodingStats before = decoder.stats();
  std::vector<std::int64_t> enough;  // requests that are needed no further
  try {
    decoder.step([&](const DecodingStep& seen) {
      if (observe(seen)) enough.push_back(seen.id);
    });
  } catch (const std::exception& e) {
    log_warning(std::string("a decoding step failed: ") + e.what());
    std::vector<std::int64_t> lost;
    for (const auto& [id, job] : jobs)
      if (!job.texts.empty()) lost.push_back(id);
    for (const std::int64_t id : lost) fail_job(id, e);
    return;
  }
  const DecodingStats made = decoder.stats() - before;
  metrics.passes += made.passes;
  metrics.rows += made.rows;
  metrics.committed_tokens += made.tokens;
  metrics.observe_step(watch.seconds());
  finish_texts(enough);
}

void Engine::State::take_messages() {
  Inbox taken;
  {
    const std::lock_guard lock(mutex);
    taken.jobs.swap(inbox.jobs);
    taken.cancelled.swap(inbox.cancelled);
    count();
  }
  for (auto& [id, job] : taken.jobs) {
    queue.push(job.client, id);
    jobs.emplace(id, RunningJob{std::move(job)});
  }
  for (const std::int64_t id : taken.cancelled) {
    if (!jobs.contains(id)) continue;
    ++metrics.cancelled;
    remove(id);
  }
}

void Engine::State::expire() {
  std::vector<std::int64_t> late;
  for (const auto& [id, job] : jobs)
    if (job.since_arrival.seconds() > limits.timeout_seconds) late.push_back(id);
  for (const std::int64_t id : late) fail_job(id, too_late());
  std::deque<WaitingTask> late_tasks;
  {
    const std::lock_guard lock(mutex);
    auto& tasks = inbox.tasks;  // in the order of their arrival
    while (!tasks.empty() && tasks.front().since_arrival.seconds() > limits.timeout_seconds) {
      late_tasks.push_back(std::move(tasks.front()));
      tasks.pop_front();
    }
    count();
  }
  for (const WaitingTask& late_one : late_tasks) fail_task(late_one.task, too_late());
}

ApiError Engine::State::too_late() const {
  return {500, str("the request took longer than ", limits.timeout_seconds, " seconds"), "",
          "timeout"};
}

std::int64_t Engine::State::rows_in_progress() const {
  std::int64_t rows = 0;
  for (const auto& [request, text] : admitted) rows += text.rows;
  return rows;
}

/// Texts wait here rather than in the decoder, whose queue has no turns.
void Engine::State::admit() {
  while (const std::optional<std::int64_t> id = queue.front()) {
    RunningJob& job = jobs.at(*id);
    try {
      if (!admit_text(*id, job)) return;
    } catch (const std::exception& e) {
      fail_job(*id, e);
      continue;
    }
    if (job.admitted == job.job.texts.size()) queue.remove(*id);
  }
}

/// Hands the job's next text to the decoder where there is room.
bool Engine::State::admit_text(std::int64_t id, RunningJob& job) {
  if (std::int64_t(admitted.size()) >= decoder_limits.sequences) return false;
  const DecodingRequest& text = job.job.texts[job.admitted];
  const RequestRows of_text = rows_of(resolved_request(text, model.config()), model.config());
  const std::int64_t rows = of_text.all();
  if (!admitted.empty() && rows_in_progress() + rows > decoder_limits.tokens) return false;
  const std::int64_t request = decoder.add(text);
  if (job.admitted == 0) {
    job.since_first_step = Stopwatch();
    job.times.queued_seconds = job.since_arrival.seconds();
    const std::lock_guard lock(mutex);
    --waiting;
  }
  job.texts[request] = job.admitted++;
  job.times.canvas_tokens += of_text.canvas - prompt_tokens_of(text);
  admitted[request] = {id, rows};
  return true;
}

bool Engine::State::observe(const DecodingStep& seen) {
  RunningJob& job = jobs.at(admitted.at(seen.id).job);
  job.times.passes = std::max(job.times.passes, seen.done);
  queue.charge(job.job.client, seen.rows);
  if (seen.done == 1) count_reused(job, job.job.texts[job.texts.at(seen.id)], seen.reused);
  return job.job.observer->on_step(job.texts.at(seen.id), seen);
}

void Engine::State::count_reused(RunningJob& job, const DecodingRequest& text,
                                 std::int64_t reused) {
  const std::int64_t cached = std::min(reused, prompt_tokens_of(text));
  metrics.cached_tokens += cached;
  if (text.sample == 0) job.times.cached_tokens += cached;  // prompts count once
}

void Engine::State::finish_texts(const std::vector<std::int64_t>& enough) {
  for (const DecodingResult& result : decoder.collect()) {
    const auto text = admitted.find(result.id);
    if (text == admitted.end()) continue;
    const std::int64_t id = text->second.job;
    RunningJob& job = jobs.at(id);
    try {
      job.job.observer->on_result(job.texts.at(result.id), result);
    } catch (const std::exception& e) {
      fail_job(id, e);
      continue;
    }
    end_text(result.id);
  }
  for (const std::int64_t request : enough)
    if (admitted.contains(request)) {
      decoder.cancel(request);
      end_text(request);
    }
}

void Engine::State::end_text(std::int64_t request) {
  const std::int64_t id = admitted.at(request).job;
  RunningJob& job = jobs.at(id);
  job.texts.erase(request);
  admitted.erase(request);
  if (job.texts.empty() && job.admitted == job.job.texts.size()) complete(id);
}

void Engine::State::complete(std::int64_t id) {
  RunningJob& job = jobs.at(id);
  job.times.seconds = job.since_first_step.seconds();
  mean_seconds = 0.8 * mean_seconds + 0.2 * job.times.seconds;
  try {
    job.job.observer->on_complete(job.times);
    metrics.succeeded += !job.job.is_part;
  } catch (const std::exception& e) {
    return fail_job(id, e);
  }
  remove(id);
}

void Engine::State::fail_job(std::int64_t id, const std::exception& error) {
  ++metrics.failed;
  try {
    jobs.at(id).job.observer->on_failure(error);
  } catch (const std::exception& e) {
    log_warning(std::string("a failure was not reported: ") + e.what());
  }
  remove(id);
}

void Engine::State::remove(std::int64_t id) {
  const auto at = jobs.find(id);
  for (const auto& [request, text] : at->second.texts) {
    decoder.cancel(request);
    admitted.erase(request);
  }
  queue.remove(id);
  const bool was_waiting = at->second.admitted == 0;
  jobs.erase(at);
  std::vector<std::string> busy;
  for (const auto& [other, job] : jobs) busy.push_back(job.job.client);
  queue.forget_idle(busy);
  const std::lock_guard lock(mutex);
  --present;
  if (was_waiting) --waiting;
  count();
}

/// Called with the mutex held.
void Engine::State::count() {
  metrics.queued = std::int64_t(waiting + inbox.tasks.size());
  metrics.active = std::int64_t(present - waiting) + int(running_task.has_value());
}

}  // namespace lacuna
