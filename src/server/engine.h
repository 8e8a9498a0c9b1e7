#pragma once
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "decoding/decoder.h"
#include "model_io/loaded_model.h"
#include "server/server_metrics.h"

namespace lacuna {

/// What a job took.
struct JobTimes {
  double queued_seconds = 0, seconds = 0;  // until its first step, and from then on
  std::int64_t passes = 0;                 // that computed rows of it
  std::int64_t canvas_tokens = 0;          // of all its texts, prompts excluded
  std::int64_t cached_tokens = 0;          // of its prompts: keys and values were there
};

/// What happens to a job: called by the engine's thread, which waits meanwhile.
class JobObserver {
 public:
  virtual ~JobObserver() = default;
  /// The job is queued. Called by the thread that submits it, before any other.
  virtual void on_queued() {}
  /// A step was made on a text, by its index in the job. Returns whether the text is needed no
  /// further.
  virtual bool on_step(std::size_t /*text*/, const DecodingStep& /*step*/) { return false; }
  /// The text is done.
  virtual void on_result(std::size_t text, const DecodingResult& result) = 0;
  /// All texts are.
  virtual void on_complete(const JobTimes& times) = 0;
  /// The job is at an end without a result.
  virtual void on_failure(const std::exception& error) = 0;
};

/// Texts to generate for a client, and the observer that is notified of their progress.
struct Job {
  std::vector<DecodingRequest> texts;
  std::string client;
  std::shared_ptr<JobObserver> observer;
  bool is_part = false;  // of a request whose other parts are still to come: not counted
};

/// Passes that are no steps of the decoder. The engine's thread runs task after task, each between
/// two steps.
struct EngineTask {
  std::function<void()> run;                        // calls Engine::between_passes()
  std::function<void(const std::exception&)> fail;  // what ended it, but for its being cancelled
};

struct EngineLimits {
  std::int64_t batch_tokens = 0;  // rows of all texts in progress; 0: kBatchTokens, or the model's
                                  // longest text where that is more
  std::int64_t sequences = 64;    // texts in progress
  std::size_t queue = 64;         // jobs that wait, and tasks
  double timeout_seconds = 600;   // from the arrival of a job or a task to its end
  bool guidance = false;          // DecoderLimits::guidance
  std::int64_t prefixes = 4096;   // DecoderLimits::prefixes
};

/// Owns the decoder and runs it in a thread of its own: continuous batching. Jobs of any options
/// share the passes; texts are admitted between two steps as rows become free, by turns of the
/// clients (server/fair_queue.h). The members may be called by any thread.
class Engine {
 public:
  /// Borrows both.
  Engine(const LoadedModel& model, const EngineLimits& limits, ServerMetrics& metrics);
  /// stop().
  ~Engine();

  /// Queues a job; returns its id. Nothing when the queue is full, or after drain(), but for one
  /// that `goes_on` with what another began.
  std::optional<std::int64_t> submit(Job job, bool goes_on = false);
  /// Ends a job or a task wherever it is, within one step or one pass of the task, and forgets its
  /// observer.
  void cancel(std::int64_t id);
  /// Queues a task; returns its id. Nothing when as many tasks wait as may jobs, or after drain().
  std::optional<std::int64_t> run(EngineTask task);
  /// Called by a task after each of its passes: generation makes a step. What it throws ends the
  /// task: it was cancelled or took too long, or the server stops.
  void between_passes();

  /// Takes no further jobs; those there are go on.
  void drain();
  bool draining() const;
  /// Whether no job and no task is queued or in progress.
  bool idle() const;
  /// Fails the jobs there are and ends the thread.
  void stop();

  /// Seconds after which a client may find room in the queue.
  int retry_after() const;
  const DecoderLimits& decoder_limits() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lacuna
